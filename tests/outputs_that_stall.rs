//! Platforms that read too slowly, or not at all, or drop the connection.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Authority, Encode, Ended, Feed, Ingest, Origin, Record, Script, Track, judge};

use crate::stage::{failover, input_of, output, output_of, pull, relay, resident, setup, start};

/// About 6 Mbit/s, so that buffers of the system fill within a second or two.
fn heavy(name: &str) -> Encode {
    Encode::live(name).frame_bytes(120_000, 28_000)
}

#[tokio::test]
async fn an_output_that_stops_reading_disturbs_no_other() {
    let (origin, encode) = (Origin::start().await, heavy("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let (good, deaf) = (Ingest::start().await, Ingest::scripted(Script::new().stop_reading_after(300)).await);
    let outputs = [
        output("good", &good.url("key"), ""),
        output("deaf", &deaf.url("key"), "write_timeout = \"1s\"\nmax_lag = \"2s\""),
    ];
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;

    deaf.connected(1).await;
    relayd
        .until("r", "the stall is told", |status| {
            let deaf = output_of(status, "deaf");
            !deaf["last_error"].is_null() && deaf["reconnects"].as_u64() >= Some(1)
        })
        .await;
    deaf.behave(Script::new());
    // Connections that stopped reading before the change stay deaf; the next one reads.
    let back =
        deaf.newest("a session that reads", |record| record.frames().count() >= 60 && record.ended.is_none()).await;
    judge::starts_with_keyframe_at_zero(&back);
    judge::monotonic(&back);
    judge::genuine(&back, &[&encode]);

    let record = good.published(150).await;
    judge::clean(&record, &encode);
    judge::in_time(&record, &encode, Duration::from_millis(700));
    assert_eq!(good.records().len(), 1, "the good output reconnected");
    assert_eq!(output_of(&relayd.status("r").await, "good")["skipped_tags"], 0);
}

/// Neither the rest of a programme that has ended nor the goodbye waits for a platform that takes nothing.
#[tokio::test]
async fn an_ended_programme_leaves_a_deaf_platform_in_time() {
    let (origin, encode) = (Origin::start().await, heavy("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let deaf = Ingest::scripted(Script::new().stop_reading_after(100)).await;
    let patient = output("deaf", &deaf.url("key"), "write_timeout = \"60s\"\nmax_lag = \"1h\"");
    let parts = [pull("primary", feed.url(), ""), patient, failover("hold = \"100ms\"")];
    let relayd = start(&relay("r", &parts)).await;
    relayd.until("r", "the output lags", |status| output_of(status, "deaf")["lag_ms"].as_u64() > Some(500)).await;

    feed.set_status(404);
    feed.kill();
    relayd.logs("the hold is over").await;
    let over = Instant::now();
    relayd.until("r", "the output has left", |status| output_of(status, "deaf")["state"] == "idle").await;
    assert!(over.elapsed() < Duration::from_secs(5), "{:?}", over.elapsed());
    assert_eq!(deaf.records().len(), 1, "the output came back without media");
}

#[tokio::test]
async fn an_output_that_reads_slowly_loses_video_and_keeps_audio() {
    let (origin, encode) = (Origin::start().await, heavy("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let slow = Ingest::scripted(Script::new().read_bytes_per_sec(250_000)).await;
    let parts = [pull("primary", feed.url(), ""), output("slow", &slow.url("key"), "max_lag = \"1500ms\"")];
    let relayd = start(&relay("r", &parts)).await;

    let skipped = |status: &Value| output_of(status, "slow")["skipped_tags"].as_u64() > Some(20);
    relayd.until("r", "tags are skipped", skipped).await;
    let record = slow
        .newest("a gap in the video", |record| {
            record.ids(Track::Video).windows(2).any(|pair| pair[1].index > pair[0].index + 1)
        })
        .await;
    judge::starts_with_keyframe_at_zero(&record);
    judge::monotonic(&record);
    judge::genuine(&record, &[&encode]);
    judge::gaps_end_with_keyframes(&record);
    judge::one_offset(&record, 1);
    for pair in record.ids(Track::Audio).windows(2) {
        assert_eq!(pair[1].index, pair[0].index + 1, "audio is missing");
    }
}

#[tokio::test]
async fn frames_that_no_frame_needs_go_first() {
    let (origin, encode) = (Origin::start().await, heavy("main").disposable());
    let feed = origin.serve("main", Feed::of(&encode));
    // Half the frames are disposable: without them the stream just fits.
    let slow = Ingest::scripted(Script::new().read_bytes_per_sec(600_000)).await;
    let parts = [pull("primary", feed.url(), ""), output("slow", &slow.url("key"), "max_lag = \"5s\"")];
    let relayd = start(&relay("r", &parts)).await;

    let skipped = |status: &Value| output_of(status, "slow")["skipped_tags"].as_u64() > Some(5);
    relayd.until("r", "tags are skipped", skipped).await;
    let gap = |record: &Record| record.ids(Track::Video).windows(2).any(|pair| pair[1].index > pair[0].index + 1);
    let record = slow.newest("a gap in the video", gap).await;
    for pair in record.ids(Track::Video).windows(2) {
        for missing in pair[0].index + 1..pair[1].index {
            let id = testkit::Id { index: missing, ..pair[0].clone() };
            let tag = encode.tag_of(&id).unwrap();
            assert_eq!(tag.class(), flv::Class::Disposable, "{id:?} is missing");
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_starts_at_zero() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let (good, reset) = (Ingest::start().await, Ingest::scripted(Script::new().reset_after(500)).await);
    let outputs = [output("good", &good.url("key"), ""), output("reset", &reset.url("key"), "")];
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;

    assert_eq!(reset.ended(0).await.ended, Some(Ended::Dropped));
    reset.behave(Script::new());
    let record = reset.newest("a session that lasts", |record| record.frames().count() >= 100).await;
    judge::clean(&record, &encode);
    let status = relayd.until("r", "it is live", |status| output_of(status, "reset")["state"] == "live").await;
    assert!(output_of(&status, "reset")["reconnects"].as_u64() >= Some(1), "{status}");
    judge::clean(&good.published(100).await, &encode);
    assert_eq!(good.records().len(), 1, "the good output reconnected");
}

#[tokio::test]
async fn a_byte_a_second_is_no_progress() {
    let (origin, encode) = (Origin::start().await, heavy("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let (good, slow) = (Ingest::start().await, Ingest::scripted(Script::new().read_bytes_per_sec(1)).await);
    let outputs = [
        output("good", &good.url("key"), ""),
        output("slow", &slow.url("key"), "write_timeout = \"1s\"\nmax_lag = \"1m\"\nmax_lag_bytes = \"1GiB\""),
    ];
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;

    let stalled = |status: &Value| output_of(status, "slow")["last_error"]["kind"] == "stalled";
    relayd.until("r", "the stall is told", stalled).await;
    // Tried again, too.
    slow.connected(2).await;
    let record = good.published(120).await;
    judge::clean(&record, &encode);
    judge::in_time(&record, &encode, Duration::from_millis(700));
    assert_eq!(good.records().len(), 1, "the good output reconnected");
}

#[tokio::test]
async fn an_output_that_is_to_reconnect_when_it_lags_skips_nothing() {
    let (origin, encode) = (Origin::start().await, heavy("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let slow = Ingest::scripted(Script::new().read_bytes_per_sec(250_000)).await;
    let parts =
        [pull("primary", feed.url(), ""), output("slow", &slow.url("key"), "on_lag = \"reconnect\"\nmax_lag = \"1s\"")];
    let relayd = start(&relay("r", &parts)).await;

    let lagged = |status: &Value| output_of(status, "slow")["last_error"]["kind"] == "lagged";
    relayd.until("r", "the lag ends the session", lagged).await;
    slow.behave(Script::new());
    let first = slow.ended(0).await;
    judge::starts_with_keyframe_at_zero(&first);
    judge::contiguous(&first);
    let second =
        slow.newest("a session that keeps up", |record| record.ended.is_none() && record.frames().count() >= 60);
    judge::clean(&second.await, &encode);
    let status = relayd.status("r").await;
    assert_eq!(output_of(&status, "slow")["skipped_tags"], 0, "{status}");
}

#[tokio::test]
async fn servers_that_read_nothing_hold_no_more_memory_than_is_configured() {
    // 12 MB/s, each frame a place to begin.
    let encode = Encode::live("main").gop(1).frame_bytes(500_000, 0);
    let (origin, authority) = (Origin::start().await, Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    let plain = Ingest::scripted(Script::new().stop_reading_after(0)).await;
    let secure = Ingest::secure(authority.certify("localhost"), Script::new().stop_reading_after(0)).await;
    let patient = "write_timeout = \"1h\"\nmax_lag = \"1h\"\nmax_lag_bytes = \"64GiB\"";
    let mut outputs = String::new();
    for n in 0..DEAF / 2 {
        outputs += &output(&format!("plain-{n}"), &plain.url(&n.to_string()), patient);
        outputs +=
            &output(&format!("secure-{n}"), &secure.url(&n.to_string()), &format!("{patient}\nca_file = \"ca.pem\""));
    }
    let log = format!("[relay.log]\nmax_bytes = \"{}KiB\"\n", LOG >> 10);
    let config = relay("r", &[pull("primary", feed.url(), ""), log, outputs]);
    let relayd = setup(&config).file("ca.pem", authority.pem()).start().await;
    let before = resident(&relayd).await;

    let bound = 2 * LOG + DEAF * SHARE;
    let relayed = |status: &Value| input_of(status, "primary")["bytes"].as_u64().unwrap() as usize;
    let status = relayd.until("r", "media has passed", |status| relayed(status) > 3 * bound).await;
    let grown = resident(&relayd).await.saturating_sub(before);
    assert!(grown < bound, "{grown} bytes more, for {} relayed", relayed(&status));
    assert_eq!((plain.records().len(), secure.records().len()), (DEAF / 2, DEAF / 2), "an output reconnected");
    let outputs = status["outputs"].as_array().unwrap();
    assert!(outputs.iter().all(|output| output["lag_ms"].as_u64() > Some(1000)), "an output is not stuck: {status:#}");
}

/// Outputs whose servers read nothing.
const DEAF: usize = 50;
/// `log.max_bytes`. The input's own ring takes as much again.
const LOG: usize = 2 << 20;
/// What an output may hold beside the log: what is being written, what TLS has encrypted of it, its own state.
const SHARE: usize = 384 << 10;
