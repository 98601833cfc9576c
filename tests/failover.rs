//! A standby takes over, and gives back.

use serde_json::Value;
use testkit::{Encode, Feed, Ingest, Origin, Record, Relayd, Served, Track, judge};

use crate::stage::{failover, input_of, output, pull, relay, start};

struct Stage {
    relayd: Relayd,
    primary: Served,
    ingest: Ingest,
    _origin: Origin,
}

/// Two inputs and an output; both inputs are healthy.
async fn stage(primary: Feed, backup: Feed, keys: &str) -> Stage {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let (primary, backup) = (origin.serve("primary", primary), origin.serve("backup", backup));
    let parts = [
        pull("primary", primary.url(), ""),
        pull("backup", backup.url(), ""),
        failover(keys),
        output("1", &ingest.url("key"), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;
    relayd
        .until("r", "both inputs", |status| {
            status["active_input"] == "primary" && input_of(status, "backup")["state"] == "standby"
        })
        .await;
    Stage { relayd, primary, ingest, _origin: origin }
}

/// Of one scene, and on one clock.
fn two_encodes() -> (Encode, Encode) {
    let first = Encode::live("first");
    let second = Encode::live("second").on(first.clock());
    (first, second)
}

impl Stage {
    async fn aligned(&self) {
        self.relayd
            .until("r", "the alignment is locked", |status| {
                !input_of(status, "backup")["aligned_with"].is_null() && status["active_input"] == "primary"
            })
            .await;
    }

    async fn active(&self, input: &str) -> Value {
        self.relayd.until("r", &format!("{input} is active"), |status| status["active_input"] == input).await
    }

    /// More frames than now.
    async fn flows_on(&self) -> Record {
        let now = self.ingest.records().last().map_or(0, |record| record.frames().count());
        let record = self.ingest.published(now + 80).await;
        assert_eq!(self.ingest.records().len(), 1, "the output reconnected");
        record
    }
}

#[tokio::test]
async fn another_encode_takes_over_at_a_keyframe() {
    let first = Encode::live("first");
    let second = Encode::live("second").on(first.clock()).header_variant(1).base_dts(7_000_000);
    let stage = stage(Feed::of(&first), Feed::of(&second), "").await;
    stage.ingest.published(60).await;

    stage.primary.set_status(404);
    stage.primary.kill();
    stage.active("backup").await;
    let record = stage.flows_on().await;
    judge_keyframe_splice(&record, &[&first, &second]);
    let taken_over = record.frames().filter_map(testkit::Received::id).any(|id| id.encode == "second");
    assert!(taken_over, "{record:?}");
}

#[tokio::test]
async fn a_twin_takes_over_within_the_gop() {
    let encode = Encode::live("twin");
    let stage = stage(Feed::of(&encode), Feed::of(&encode), "").await;
    stage.ingest.published(60).await;

    stage.primary.set_status(404);
    stage.primary.kill();
    let status = stage.active("backup").await;
    assert_eq!(status["splices"], 1);
    let record = stage.flows_on().await;
    judge_keyframe_splice(&record, &[&encode]);
    let headers = record.messages.iter().filter(|message| message.tag().is_sequence_header()).count();
    assert_eq!(headers, 2, "headers were sent again although their bytes are the same");
}

/// `slow_ratio`, over ten seconds: half of real time is too slow, nine tenths are not.
#[tokio::test]
async fn a_primary_slower_than_real_time_is_left() {
    let first = Encode::live("first");
    let second = Encode::live("second").on(first.clock()).header_variant(1);
    let (slow, late) = tokio::join!(
        stage(Feed::of(&first).rate(0.5), Feed::of(&second), ""),
        stage(Feed::of(&first).rate(0.9), Feed::of(&second), "")
    );
    slow.ingest.published(100).await;
    slow.active("backup").await;
    assert_eq!(slow.relayd.series("relayd_splices_total{reason=\"slow\",relay=\"r\"}").await, Some(1.0));
    let record = slow.flows_on().await;
    judge_keyframe_splice(&record, &[&first, &second]);
    // Sooner than ten seconds, 125 frames of the slow one, nobody can tell.
    let before = record.ids(Track::Video).iter().filter(|id| id.encode == "first").count();
    assert!(before >= 120, "left after {before} frames");

    judge::clean(&late.flows_on().await, &first);
    let status = late.relayd.status("r").await;
    assert_eq!((&status["active_input"], &status["splices"]), (&"primary".into(), &0.into()), "{status}");
}

#[tokio::test]
async fn a_silent_primary_is_left() {
    let (first, second) = two_encodes();
    let stage = stage(Feed::of(&first), Feed::of(&second), "stall_timeout = \"700ms\"").await;
    stage.ingest.published(60).await;

    stage.primary.stall();
    let status = stage.active("backup").await;
    assert_ne!(input_of(&status, "primary")["state"], "live", "{status}");
    judge_keyframe_splice(&stage.flows_on().await, &[&first, &second]);
}

#[tokio::test]
async fn a_primary_without_picture_or_sound_is_left() {
    let (first, second) = two_encodes();
    let without = [
        (Feed::of(&first).mute_video_at(1000), "no_video = \"500ms\""),
        (Feed::of(&first).mute_audio_at(1000), "no_audio = \"500ms\""),
    ];
    for (primary, keys) in without {
        let stage = stage(primary, Feed::of(&second), keys).await;
        stage.active("backup").await;
        judge_keyframe_splice(&stage.flows_on().await, &[&first, &second]);
    }
}

#[tokio::test]
async fn a_primary_that_is_well_again_is_taken_back() {
    let (first, second) = two_encodes();
    let keys = "revert_after = \"500ms\"\nmin_dwell = \"500ms\"";
    let stage = stage(Feed::of(&first), Feed::of(&second), keys).await;
    stage.ingest.published(60).await;

    stage.primary.set_status(404);
    stage.primary.kill();
    stage.active("backup").await;
    stage.primary.resume();
    let status = stage.active("primary").await;
    assert_eq!(status["splices"], 2);
    judge_keyframe_splice(&stage.flows_on().await, &[&first, &second]);
}

#[tokio::test]
async fn a_cold_standby_is_connected_when_it_is_needed() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let (first, second) = two_encodes();
    let (primary, backup) = (origin.serve("primary", Feed::of(&first)), origin.serve("backup", Feed::of(&second)));
    let parts = [
        pull("primary", primary.url(), ""),
        pull("backup", backup.url(), ""),
        failover("standby = \"cold\""),
        output("1", &ingest.url("key"), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;
    ingest.published(60).await;
    assert!(backup.requests().is_empty(), "a cold standby was connected");

    primary.set_status(404);
    primary.kill();
    relayd.until("r", "the backup is active", |status| status["active_input"] == "backup").await;
    let record = ingest
        .newest("frames of the backup", |record| {
            record.ids(Track::Video).iter().filter(|id| id.encode == "second").count() > 20
        })
        .await;
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    judge_keyframe_splice(&record, &[&first, &second]);
}

fn judge_keyframe_splice(record: &Record, encodes: &[&Encode]) {
    judge::starts_with_keyframe_at_zero(record);
    judge::monotonic(record);
    judge::genuine(record, encodes);
    judge::headers_once(record);
    judge::gaps_end_with_keyframes(record);
    judge::in_step(record, 40);
}

#[tokio::test]
async fn a_twin_takes_over_without_a_missing_tag() {
    let encode = Encode::live("twin");
    let stage = stage(Feed::of(&encode), Feed::of(&encode), "").await;
    stage.aligned().await;

    stage.primary.set_status(404);
    stage.primary.kill();
    let status = stage.active("backup").await;
    assert_eq!(status["splices"], 1);
    judge::clean(&stage.flows_on().await, &encode);
}

#[tokio::test]
async fn a_late_twin_is_waited_for() {
    let encode = Encode::live("twin");
    let stage = stage(Feed::of(&encode), Feed::of(&encode).lag(800), "").await;
    stage.aligned().await;

    stage.primary.set_status(404);
    stage.primary.kill();
    stage.active("backup").await;
    judge::clean(&stage.flows_on().await, &encode);
}

#[tokio::test]
async fn twins_with_clocks_of_their_own_are_recognised() {
    let encode = Encode::live("twin");
    let shifted = encode.clone().base_dts(3_600_000);
    let stage = stage(Feed::of(&encode), Feed::of(&shifted), "").await;
    stage.aligned().await;

    stage.primary.set_status(404);
    stage.primary.kill();
    stage.active("backup").await;
    judge::clean(&stage.flows_on().await, &encode);
}

#[tokio::test]
async fn twins_killed_at_fifty_moments_cost_no_tag() {
    twins_killed_from(2_500).await;
}

#[tokio::test]
async fn twins_killed_at_fifty_other_moments_cost_no_tag() {
    twins_killed_from(2_513).await;
}

/// Fifty relays at once, each losing its primary at a moment of its own, with the standby up to 600 ms behind.
async fn twins_killed_from(ms: u64) {
    let (origin, encode) = (Origin::start().await, Encode::live("twin"));
    let (mut config, mut ingests) = (String::new(), Vec::new());
    for n in 0..50 {
        let ingest = Ingest::start().await;
        let primary = origin.serve(&format!("primary-{n}"), Feed::of(&encode).eof_after(ms + n * 37));
        let backup = origin.serve(&format!("backup-{n}"), Feed::of(&encode).lag(n * 241 % 600));
        let parts =
            [pull("primary", primary.url(), ""), pull("backup", backup.url(), ""), output("1", &ingest.url("key"), "")];
        config += &relay(&format!("r{n}"), &parts);
        ingests.push((ingest, primary, backup));
    }
    let relayd = start(&config).await;
    for (n, (ingest, ..)) in ingests.iter().enumerate() {
        let record = ingest.published(430).await;
        judge::clean(&record, &encode);
        let status = relayd.status(&format!("r{n}")).await;
        assert_eq!((&status["splices"], ingest.records().len()), (&1.into(), 1), "{status}");
    }
}

/// Clocks that cross 0xFFFFFF, 2^31 and 2^32 ms around the moment at which the primary dies.
#[tokio::test]
async fn edges_of_the_clock_are_crossed_while_failing_over() {
    let (origin, encode) = (Origin::start().await, Encode::live("twin"));
    let edges = [0x00FF_FFFF, 1 << 31, u32::MAX];
    let (mut config, mut stages) = (String::new(), Vec::new());
    for (n, edge) in edges.into_iter().enumerate() {
        let ingest = Ingest::start().await;
        let near = encode.clone().base_dts(edge - 4_000);
        let primary = origin.serve(&format!("primary-{n}"), Feed::of(&near).eof_after(3_000));
        let backup = origin.serve(&format!("backup-{n}"), Feed::of(&near.clone().base_dts(edge - 4_700)));
        let parts =
            [pull("primary", primary.url(), ""), pull("backup", backup.url(), ""), output("1", &ingest.url("key"), "")];
        config += &relay(&format!("r{n}"), &parts);
        stages.push((ingest, primary, backup));
    }
    let relayd = start(&config).await;
    for (n, (ingest, ..)) in stages.iter().enumerate() {
        let record = ingest.published(430).await;
        judge::clean(&record, &encode);
        let video = record.ids(Track::Video);
        assert!(video[0].index * 40 < 4_000 && video[video.len() - 1].index * 40 > 4_700, "the edge was not crossed");
        let status = relayd.status(&format!("r{n}")).await;
        let faults = &input_of(&status, "backup")["dts_faults"];
        assert_eq!((&faults["rollback"], &faults["jump"]), (&0.into(), &0.into()), "{status}");
        assert_eq!((&status["splices"], ingest.records().len()), (&1.into(), 1), "{status}");
    }
}
