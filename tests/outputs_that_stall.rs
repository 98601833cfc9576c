//! Platforms that read too slowly, or not at all, or drop the connection.

use std::time::Duration;

use testkit::{Encode, Ended, Feed, Ingest, Origin, Record, Script, Track, judge};

use crate::stage::{output, output_of, pull, relay, start};

/// About 6 Mbit/s, so that buffers of the system fill within a second or two.
fn heavy(name: &str) -> Encode {
    Encode::live(name).frame_bytes(120_000, 28_000)
}

/// No frame came later than `limit` after it was due at the source.
fn in_time(record: &Record, encode: &Encode, limit: Duration) {
    let joined = record.frames().next().map(|message| message.at).unwrap();
    for message in record.frames() {
        let due = encode.clock().at(message.id().unwrap().position()).max(joined);
        let late = message.at.saturating_duration_since(due);
        assert!(late < limit, "{message:?} came {late:?} late");
    }
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
    in_time(&record, &encode, Duration::from_millis(700));
    assert_eq!(good.records().len(), 1, "the good output reconnected");
    assert_eq!(output_of(&relayd.status("r").await, "good")["skipped_tags"], 0);
}

#[tokio::test]
async fn an_output_that_reads_slowly_loses_video_and_keeps_audio() {
    let (origin, encode) = (Origin::start().await, heavy("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let slow = Ingest::scripted(Script::new().read_bytes_per_sec(250_000)).await;
    let parts = [pull("primary", feed.url(), ""), output("slow", &slow.url("key"), "max_lag = \"1500ms\"")];
    let relayd = start(&relay("r", &parts)).await;

    let skipped = |status: &serde_json::Value| output_of(status, "slow")["skipped_tags"].as_u64() > Some(20);
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

    let skipped = |status: &serde_json::Value| output_of(status, "slow")["skipped_tags"].as_u64() > Some(5);
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
