//! Files as inputs.

use std::{io, time::Duration};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use testkit::{Encode, Ended, Feed, Ingest, Origin, Track, eventually, judge};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::interval,
};

use crate::stage::{failover, flows_on, input_of, output, output_of, pull, relay, setup, start, vod};

const CLIP_MS: u64 = 1920;
/// A few frames.
const SHORT_MS: u64 = 120;

#[tokio::test]
async fn a_file_is_played_once_in_real_time_and_ends_the_relay() {
    let (encode, ingest) = (Encode::live("clip"), Ingest::start().await);
    let parts = [vod("clip", &["file:clip.flv"], 0), output("1", &ingest.url("key"), "")];
    let relayd = setup(&relay("r", &parts)).file("clip.flv", encode.file(CLIP_MS)).start().await;

    let record = ingest.ended(0).await;
    assert_eq!(record.ended, Some(Ended::Closed));
    assert!(record.command_names().ends_with(&["FCUnpublish", "deleteStream"]), "{record:?}");
    judge::clean(&record, &encode);
    assert_eq!(record.ids(Track::Video).len(), 48);
    assert_eq!(record.ids(Track::Audio).len(), 90);
    let (first, last) = (record.frames().next().unwrap(), record.frames().last().unwrap());
    let took = (last.at - first.at).as_millis();
    assert!((1200..4000).contains(&took), "{CLIP_MS} ms of media took {took} ms");
    let ended = |status: &Value| status["state"] == "stopped" && status["inputs"][0]["state"] == "ended";
    let status = relayd.until("r", "the relay has stopped", ended).await;
    assert_eq!(output_of(&status, "1")["state"], "idle", "{status}");
}

#[tokio::test]
async fn files_and_loops_follow_each_other_without_a_seam() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let (first, second) = (Encode::live("first"), Encode::live("second").header_variant(1));
    let served = origin.serve("second", Feed::file(second.file(CLIP_MS)));
    let parts = [vod("clips", &["file:first.flv", served.url()], 1), output("1", &ingest.url("key"), "")];
    let _relayd = setup(&relay("r", &parts)).file("first.flv", first.file(CLIP_MS)).start().await;

    let record = ingest.ended(0).await;
    judge::starts_with_keyframe_at_zero(&record);
    judge::monotonic(&record);
    judge::genuine(&record, &[&first, &second]);
    judge::headers_once(&record);
    let video = record.ids(Track::Video);
    let expected: Vec<_> = ["first", "second", "first", "second"]
        .iter()
        .flat_map(|name| (0..48).map(move |index| (name.to_string(), index)))
        .collect();
    assert_eq!(video.into_iter().map(|id| (id.encode, id.index)).collect::<Vec<_>>(), expected);
    assert_eq!(record.ids(Track::Audio).len(), 4 * 90);
    let times: Vec<_> = record.frames().filter(|m| m.kind == flv::Kind::Video).map(|m| m.timestamp).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest <= Some(90), "a gap of {longest:?} ms");
}

#[tokio::test]
async fn the_demo_file_plays_for_ever() {
    let ingest = Ingest::start().await;
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/demo.flv");
    let parts = [vod("demo", &[&format!("file:{demo}")], -1), output("1", &ingest.url("key"), "")];
    let relayd = start(&relay("r", &parts)).await;

    let record = ingest.published(100).await;
    judge::monotonic(&record);
    judge::headers_once(&record);
    judge::well_formed(&record);
    assert_eq!(record.frames().next().map(|first| first.timestamp), Some(0));
    assert_eq!(relayd.status("r").await["inputs"][0]["type"], "vod");
}

#[tokio::test]
async fn a_standby_file_starts_at_its_beginning_when_it_is_needed() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let (main, clip) = (Encode::live("main"), Encode::live("clip"));
    let feed = origin.serve("main", Feed::of(&main));
    let parts = [
        pull("primary", feed.url(), ""),
        vod("filler", &["file:clip.flv"], -1),
        failover(""),
        output("1", &ingest.url("key"), ""),
    ];
    let relayd = setup(&relay("r", &parts)).file("clip.flv", clip.file(CLIP_MS)).start().await;
    ingest.published(60).await;

    feed.set_status(404);
    feed.kill();
    relayd.until("r", "the filler is active", |status| status["active_input"] == "filler").await;
    let record = ingest
        .newest("frames of the filler", |record| {
            record.ids(Track::Video).iter().filter(|id| id.encode == "clip").count() > 60
        })
        .await;
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    judge::monotonic(&record);
    judge::genuine(&record, &[&main, &clip]);
    judge::gaps_end_with_keyframes(&record);
    let filler: Vec<_> = record.ids(Track::Video).into_iter().filter(|id| id.encode == "clip").collect();
    assert_eq!(filler[0].index, 0, "the filler starts at {:?}", filler[0]);
}

/// Nobody writes to the pipe: opening it as a file is opened would never end.
#[tokio::test]
async fn a_pipe_in_the_list_is_left_out_and_told() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let (clip, spare) = (Encode::live("clip"), Encode::live("spare"));
    let feed = origin.serve("spare", Feed::of(&spare));
    let parts = [
        vod("clips", &["file:clip.flv", "file:pipe"], 0),
        pull("backup", feed.url(), ""),
        output("1", &ingest.url("key"), ""),
    ];
    let setup = setup(&relay("r", &parts)).file("clip.flv", clip.file(CLIP_MS));
    mknodat(CWD, setup.folder().join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let relayd = setup.start().await;

    let status = relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    let clips = input_of(&status, "clips");
    assert_eq!((&clips["state"], &clips["last_error"]["kind"]), (&"ended".into(), &"connect".into()), "{clips}");
    assert!(clips["last_error"]["message"].as_str().unwrap().contains("no regular file"), "{clips}");
    relayd.logs("the item is left out").await;
    assert_eq!(relayd.metric("relayd_input_lost_total{input=\"clips\",reason=\"connect\",relay=\"r\"}").await, 1.0);
    assert_eq!(relayd.series("relayd_splices_total{reason=\"eof\",relay=\"r\"}").await, Some(1.0));
    let record = flows_on(&ingest).await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&clip, &spare]);
    assert_eq!(record.ids(Track::Video).iter().filter(|id| id.encode == "clip").count(), 48);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

/// Serves a file, its rest once the gate is open, and behind it, if it `drips`, a tag that comes a byte at a time.
async fn serve(content: [Vec<u8>; 2], gate: watch::Receiver<bool>, drips: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.flv", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, content.clone(), gate.clone(), drips));
        }
    });
    url
}

async fn answer(
    mut stream: TcpStream,
    [content, rest]: [Vec<u8>; 2],
    mut gate: watch::Receiver<bool>,
    drips: bool,
) -> io::Result<()> {
    let _request = stream.read(&mut [0; 4_096]).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n").await?;
    stream.write_all(&content).await?;
    gate.wait_for(|is_open| *is_open).await.map_err(io::Error::other)?;
    stream.write_all(&rest).await?;
    if !drips {
        return stream.shutdown().await;
    }
    // A frame of 100 KB at 1.92 s.
    stream.write_all(b"\x09\x01\x86\xa0\0\x07\x80\0\0\0\0\x27").await?;
    let mut pace = interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        stream.write_all(b"\0").await?;
    }
}

#[tokio::test]
async fn an_item_that_drips_is_left_for_the_backup() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let (clip, spare) = (Encode::live("clip"), Encode::live("spare"));
    let feed = origin.serve("spare", Feed::of(&spare));
    let (_gate, open) = watch::channel(true);
    let url = serve([clip.file(CLIP_MS).to_vec(), Vec::new()], open, true).await;
    let parts = [
        vod("drip", &[&url], -1),
        pull("backup", feed.url(), ""),
        failover("stall_timeout = \"1s\""),
        output("1", &ingest.url("key"), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;

    relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    relayd.logs("the input was lost reason=\"no_bytes\"").await;
    let lost = "relayd_input_lost_total{input=\"drip\",reason=\"no_bytes\",relay=\"r\"}";
    eventually("it is counted", testkit::DEADLINE, async || {
        let seen = relayd.series(lost).await;
        if seen == Some(1.0) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(relayd.series("relayd_splices_total{reason=\"no_bytes\",relay=\"r\"}").await, Some(1.0));
    let record = flows_on(&ingest).await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&clip, &spare]);
    assert_eq!(record.ids(Track::Video).iter().filter(|id| id.encode == "clip").count(), 48);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

/// The status is asked for more often than the detectors look: that puts nothing off.
#[tokio::test]
async fn an_item_that_hangs_without_a_backup_is_told_and_goes_on() {
    let (ingest, clip) = (Ingest::start().await, Encode::live("clip"));
    let file = clip.file(CLIP_MS);
    let (before, behind) = file.split_at(file.len() / 2);
    let (gate, closed) = watch::channel(false);
    let url = serve([before.to_vec(), behind.to_vec()], closed, false).await;
    let parts = [vod("clip", &[&url], 0), failover("stall_timeout = \"1s\""), output("1", &ingest.url("key"), "")];
    let relayd = start(&relay("r", &parts)).await;

    let is = |status: &Value, state: &str| input_of(status, "clip")["state"] == state;
    relayd.until("r", "it feeds", |status| is(status, "live")).await;
    let hangs = |status: &Value| is(status, "stalled") && input_of(status, "clip")["bitrate_bps"] == 0;
    let status = relayd.until("r", "it is told to hang", hangs).await;
    assert_eq!((&status["state"], &status["active_input"]), (&"running".into(), &"clip".into()), "{status}");
    gate.send_replace(true);
    relayd.until("r", "it feeds again", |status| is(status, "live")).await;
    let record = ingest.ended(0).await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&clip]);
    assert_eq!(record.ids(Track::Video).len(), 48);
}

#[tokio::test]
async fn an_item_that_comes_late_is_played_in_real_time_all_the_same() {
    let (origin, ingest, pace) = (Origin::start().await, Ingest::start().await, Ingest::start().await);
    let live = Encode::live("live");
    let feed = origin.serve("live", Feed::of(&live));
    let (first, late) = (Encode::live("first"), Encode::live("late").header_variant(1));
    let (gate, closed) = watch::channel(false);
    let url = serve([Vec::new(), late.file(CLIP_MS).to_vec()], closed, false).await;
    let parts = [vod("clips", &["file:first.flv", &url], 0), output("1", &ingest.url("key"), "")];
    let clock = relay("clock", &[pull("live", feed.url(), ""), output("2", &pace.url("key"), "")]);
    let _relayd = setup(&format!("{}{clock}", relay("r", &parts))).file("first.flv", first.file(CLIP_MS)).start().await;

    // Another relay is the clock: 200 frames of it are more than two seconds.
    ingest.newest("the first file", |record| record.ids(Track::Video).len() == 48).await;
    let passed = pace.records()[0].frames().count();
    pace.published(passed + 200).await;
    gate.send_replace(true);
    let record = ingest.ended(0).await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&first, &late]);
    assert_eq!(record.ids(Track::Video).len(), 2 * 48);
    let late: Vec<_> = record.frames().filter(|m| m.kind == flv::Kind::Video).skip(48).collect();
    let took = (late[47].at - late[0].at).as_millis();
    assert!((1200..4000).contains(&took), "{CLIP_MS} ms of media took {took} ms");
}

#[tokio::test]
async fn a_list_that_is_over_at_once_is_asked_for_once_a_second() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let clip = Encode::live("clip");
    let served = origin.serve("clip", Feed::file(clip.file(SHORT_MS)));
    let parts = [vod("clip", &[served.url()], -1), output("1", &ingest.url("key"), "")];
    let relayd = start(&relay("r", &parts)).await;

    // The first is the validation's.
    served.requested(6).await;
    let asked: Vec<_> = served.requests()[1..].iter().map(|request| request.at).collect();
    let (span, rounds) = (*asked.last().unwrap() - asked[0], asked.len() as u32 - 1);
    assert!(span >= Duration::from_millis(900) * rounds, "{rounds} rounds in {span:?}");
    let lines = relayd.stderr().lines().filter(|line| line.contains("plays")).count();
    assert!(lines <= asked.len() + 1, "{}", relayd.stderr());
    let record = ingest.newest("a third round", |record| record.ids(Track::Video).len() >= 9).await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&clip]);
    let keys: Vec<_> = record.frames().filter(|m| m.kind == flv::Kind::Video).map(|m| m.timestamp).collect();
    assert!(keys.last() > Some(&1_500), "the line stands behind the clock: {keys:?}");
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}
