//! Faults within a stream: what can be kept is kept, what is lost ends at a keyframe, and no output notices a reconnect.

use serde_json::Value;
use testkit::{Encode, Feed, Ingest, Origin, Record, Relayd, Served, Track, eventually, judge};

use crate::stage::{failover, input_of, output, pull, relay, resident, start};

/// One fault, in a relay of its own.
struct Case {
    name: &'static str,
    fault: fn(Feed) -> Feed,
    /// Nothing may be lost.
    lossless: bool,
    /// The key of `dts_faults` that counts it once.
    counted: Option<&'static str>,
    /// Requests that the origin sees.
    requests: usize,
}

impl Case {
    const fn lossless(name: &'static str, fault: fn(Feed) -> Feed) -> Self {
        Self { name, fault, lossless: true, counted: None, requests: 1 }
    }

    const fn lossy(name: &'static str, fault: fn(Feed) -> Feed, requests: usize) -> Self {
        Self { name, fault, lossless: false, counted: None, requests }
    }

    const fn counted(self, kind: &'static str) -> Self {
        Self { counted: Some(kind), ..self }
    }
}

const FRAMING: [Case; 8] = [
    Case::lossless("chunked", Feed::chunked),
    Case::lossless("dribble", Feed::dribble),
    Case::lossless("chunked-dribble", |feed| feed.chunked().dribble()),
    Case::lossless("wrong-trailers", Feed::wrong_trailers),
    Case::lossless("second-header", |feed| feed.second_header_at(1000)),
    Case::lossless("empty-tags", |feed| feed.empty_tags_at(1000)),
    Case::lossless("nested-metadata", |feed| feed.nested_metadata_at(1000, 100_000)),
    Case::lossless("repeated-headers", |feed| feed.repeat_headers_every(400)),
];

const TIMES: [Case; 5] = [
    Case::lossless("rollback", |feed| feed.rollback_at(1000, 5000)).counted("rollback"),
    Case::lossless("small-rollback", |feed| feed.rollback_at(1000, 200)).counted("rollback"),
    Case::lossless("jump", |feed| feed.jump_at(1000, 10_000)).counted("jump"),
    Case::lossless("jump-of-a-day", |feed| feed.jump_at(1000, 86_400_000)).counted("jump"),
    Case::lossless("tracks-step-apart", |feed| {
        feed.shift_track_at(1000, Track::Video, -5000).shift_track_at(1200, Track::Audio, -5000)
    })
    .counted("rollback"),
];

const LOSSES: [Case; 6] = [
    Case::lossy("garbage", |feed| feed.garbage_at(1000, 500), 1),
    Case::lossy("huge-claim", |feed| feed.huge_claim_at(1000), 2),
    Case::lossy("cut", |feed| feed.cut_at(60_000), 2),
    Case::lossy("end", |feed| feed.eof_after(1000), 2),
    Case::lossy("stall", |feed| feed.stall_after(1000), 2),
    Case::lossy("chunked-end", |feed| feed.eof_after(1000).chunked(), 2),
];

#[tokio::test]
async fn odd_framing_costs_nothing() {
    run(&FRAMING).await;
}

#[tokio::test]
async fn steps_of_the_clock_are_repaired() {
    run(&TIMES).await;
}

#[tokio::test]
async fn losses_end_at_a_keyframe() {
    run(&LOSSES).await;
}

async fn run(cases: &[Case]) {
    let origin = Origin::start().await;
    let (mut config, mut stages) = (String::new(), Vec::new());
    for case in cases {
        let (encode, ingest) = (Encode::live(case.name), Ingest::start().await);
        let feed = origin.serve(case.name, (case.fault)(Feed::of(&encode)));
        let parts =
            [pull("primary", feed.url(), ""), failover("stall_timeout = \"1s\""), output("1", &ingest.url("key"), "")];
        config += &relay(case.name, &parts);
        stages.push((case, encode, feed, ingest));
    }
    let relayd = start(&config).await;

    for (_, _, feed, _) in &stages {
        feed.requested(1).await;
    }
    for (case, encode, feed, ingest) in &stages {
        // Two seconds beyond the fault, which comes one second after the request.
        let requested = encode.clock().position_at(feed.requests()[0].at);
        let enough = requested + 3000;
        let record = ingest
            .newest(&format!("{}: frames beyond the fault", case.name), |record| {
                record.frames().filter_map(testkit::Received::id).any(|id| id.position() >= enough)
            })
            .await;
        judge_case(case, encode, &record);
        assert_eq!(ingest.records().len(), 1, "{}: the output reconnected", case.name);
        check_input(&relayd, case, feed).await;
    }
}

fn judge_case(case: &Case, encode: &Encode, record: &Record) {
    judge::starts_with_keyframe_at_zero(record);
    judge::monotonic(record);
    judge::genuine(record, &[encode]);
    judge::headers_once(record);
    judge::well_formed(record);
    judge::gaps_end_with_keyframes(record);
    let largest =
        record.messages.iter().filter(|message| message.kind == flv::Kind::Script).map(|m| m.body.len()).max();
    assert!(largest < Some(10_000), "{}: script data of {largest:?} bytes was handed on", case.name);
    if case.lossless {
        judge::contiguous(record);
    }
    match case.counted {
        // Between the steps of the two tracks they are apart on purpose.
        Some(_) if case.name == "tracks-step-apart" => {}
        Some(_) => judge::in_step(record, 40),
        None if case.lossless => judge::one_offset(record, 1),
        None => judge::in_step(record, 1),
    }
}

async fn check_input(relayd: &Relayd, case: &Case, feed: &Served) {
    assert_eq!(feed.requests().len(), case.requests, "{}: requests", case.name);
    let status = relayd.status(case.name).await;
    let faults = &input_of(&status, "primary")["dts_faults"];
    for kind in ["rollback", "jump"] {
        let expected = u64::from(case.counted == Some(kind));
        assert_eq!(faults[kind], expected, "{}: {faults}", case.name);
    }
    let dropped = &input_of(&status, "primary")["dropped_by_cause"];
    for (cause, name, count) in [("empty", "empty-tags", 3), ("script", "nested-metadata", 1)] {
        let expected = if case.name == name { count } else { 0 };
        assert_eq!(dropped[cause], expected, "{}: {dropped}", case.name);
        if expected > 0 {
            relayd.logs(&format!("tags were not relayed input=\"primary\" cause=\"{cause}\"")).await;
        }
    }
}

#[tokio::test]
async fn what_is_no_flv_is_told_and_no_platform_is_bothered() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let good = origin.serve("good", Feed::of(&encode));
    let cases = [
        ("page", Feed::html(), "not_flv"),
        ("gone", Feed::status(404), "http_status"),
        ("down", Feed::status(503), "http_status"),
    ];
    let (mut config, mut ingests) = (String::new(), Vec::new());
    for (name, feed, _) in &cases {
        let (feed, ingest) = (origin.serve(name, feed.clone()), Ingest::start().await);
        config += &relay(name, &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")]);
        ingests.push(ingest);
    }
    let (moved, there) = (origin.serve("moved", Feed::redirect_to(good.url())), Ingest::start().await);
    config += &relay("moved", &[pull("primary", moved.url(), ""), output("1", &there.url("key"), "")]);
    let relayd = start(&config).await;

    for (name, _, kind) in &cases {
        let status =
            relayd.until(name, "an input error", |status| input_of(status, "primary")["last_error"]["kind"] == *kind);
        let status = status.await;
        assert_eq!(status["outputs"][0]["state"], "idle", "{status}");
        assert!(status["active_input"].is_null(), "{status}");
    }
    judge::clean(&there.published(50).await, &encode);
    assert!(ingests.iter().all(|ingest| ingest.records().is_empty()), "a platform was connected without media");
}

#[tokio::test]
async fn changed_headers_go_out_before_the_frames_they_are_for() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let first = Encode::live("first");
    let second = Encode::live("second").on(first.clock()).header_variant(1);
    let feed = origin.serve("main", Feed::of(&first).become_at(1000, &second));
    let _relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])).await;

    let record = ingest
        .newest("frames of the second encode", |record| {
            record.ids(Track::Video).iter().filter(|id| id.encode == "second").count() > 20
        })
        .await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&first, &second]);
    judge::headers_once(&record);
    judge::one_offset(&record, 1);
    let headers: Vec<_> = record.messages.iter().filter(|message| message.tag().is_sequence_header()).collect();
    assert_eq!(headers.len(), 3, "video twice and audio once, of which it has {headers:?}");
    let of_second = |message: &&testkit::Received| message.id().is_some_and(|id| id.encode == "second");
    let video = record.frames().find(|message| message.kind == flv::Kind::Video && of_second(message)).unwrap();
    assert_eq!(headers[2].timestamp, video.timestamp, "the new header is stamped with the keyframe that follows");
    assert_eq!(video.class(), flv::Class::Key);
}

#[tokio::test]
async fn headers_without_end_take_no_more_memory_than_is_configured() {
    let (origin, ingest, encode) = (Origin::start().await, Ingest::start().await, Encode::live("main"));
    let (large, too_large) = (LOG / 16, LOG / 8 + 1);
    let large = origin.serve("large", Feed::of(&encode).new_headers_of(large));
    let too_large = origin.serve("too-large", Feed::of(&encode).new_headers_of(too_large));
    let log = format!("[relay.log]\nmax_bytes = \"{}KiB\"\n", LOG >> 10);
    let parts = [pull("primary", large.url(), ""), pull("backup", too_large.url(), ""), log];
    let config = relay("r", &[&parts[..], &[output("1", &ingest.url("key"), "")]].concat());
    let relayd = start(&config).await;
    let before = resident(&relayd).await;

    let bound = 3 * LOG;
    let enough = |status: &Value| {
        ["primary", "backup"]
            .into_iter()
            .all(|input| input_of(status, input)["bytes"].as_u64() > Some(3 * bound as u64))
    };
    let status = relayd.until("r", "headers have come", enough).await;
    let grown = resident(&relayd).await.saturating_sub(before);
    assert!(grown < bound, "{grown} bytes more: {status:#}");

    assert_eq!(status["active_input"], "primary", "{status:#}");
    assert_eq!(input_of(&status, "primary")["dropped_by_cause"]["oversized"], 0, "{status:#}");
    assert!(input_of(&status, "backup")["dropped_by_cause"]["oversized"].as_u64() > Some(20), "{status:#}");
    relayd.logs("tags were not relayed input=\"backup\" cause=\"oversized\"").await;
    judge::starts_with_keyframe_at_zero(&ingest.published(50).await);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

#[tokio::test]
async fn a_slow_trickle_of_garbage_does_not_end_the_daemon() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed =
        origin.serve("main", Feed::of(&encode).garbage_at(300, 100).garbage_at(1300, 300_000).garbage_at(2300, 50));
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])).await;

    feed.requested(1).await;
    let enough = encode.clock().position() + 4500;
    eventually("frames after the garbage", testkit::DEADLINE, async || {
        let records = ingest.records();
        let ids = records.last().map(|record| record.ids(Track::Video)).unwrap_or_default();
        if ids.iter().any(|id| id.position() >= enough) {
            Ok(())
        } else {
            Err(format!("{records:?} {}", relayd.stderr()))
        }
    })
    .await;
    let record = ingest.published(1).await;
    judge::monotonic(&record);
    judge::genuine(&record, &[&encode]);
    judge::gaps_end_with_keyframes(&record);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

/// `log.max_bytes` where memory is measured.
const LOG: usize = 4 << 20;
