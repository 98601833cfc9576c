//! Panics and sudden deaths: what goes on, and what comes back.

use std::time::Duration;

use serde_json::Value;
use testkit::{DEADLINE, Encode, Ended, Feed, Ingest, Origin, Record, Relayd, Served, Track, eventually, judge};
use tokio::time::Instant;

use crate::stage::{flows_on, input_of, output, output_of, pull, relay, setup};

struct Stage {
    relayd: Relayd,
    encode: Encode,
    primary: Served,
    backup: Served,
    ingests: [Ingest; 2],
    _origin: Origin,
}

impl Stage {
    /// Two inputs with the same encode, two outputs, and tasks that panic when they are told to.
    async fn new() -> Self {
        Self::of(Encode::live("main")).await
    }

    async fn of(encode: Encode) -> Self {
        let origin = Origin::start().await;
        let (primary, backup) = (origin.serve("a", Feed::of(&encode)), origin.serve("b", Feed::of(&encode)));
        let ingests = [Ingest::start().await, Ingest::start().await];
        let parts = [
            pull("primary", primary.url(), ""),
            pull("backup", backup.url(), ""),
            output("0", &ingests[0].url("hidden-a"), ""),
            output("1", &ingests[1].url("hidden-b"), ""),
        ];
        let relayd = setup(&relay("r", &parts)).variable("RELAYD_TEST_HOOKS", "1").start().await;
        for ingest in &ingests {
            ingest.published(40).await;
        }
        relayd.until("r", "both inputs", |status| !input_of(status, "backup")["aligned_with"].is_null()).await;
        Self { relayd, encode, primary, backup, ingests, _origin: origin }
    }

    async fn panic(&self, task: &str) {
        let response = self.relayd.send("POST", "/api/v1/relays/r/panic", task.as_bytes()).await;
        assert_eq!(response.status, 202, "{}", response.text());
    }

    async fn panics(&self, count: f64) {
        eventually("the panic is counted", DEADLINE, async || {
            match self.relayd.series("relayd_tasks_panicked_total").await {
                Some(seen) if seen == count => Ok(()),
                seen => Err(format!("{seen:?}\n{}", self.relayd.stderr())),
            }
        })
        .await;
    }

    async fn splices(&self) -> Vec<String> {
        let ledger = self.relayd.get("/api/v1/relays/r/ledger").await.json();
        let events = ledger["events"].as_array().unwrap().iter();
        events
            .filter(|event| event["type"] == "splice")
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    fn nothing_leaks(&self) {
        assert!(!self.relayd.stderr().contains("hidden"), "{}", self.relayd.stderr());
    }
}

#[tokio::test]
async fn a_panic_in_an_output_is_felt_by_no_other() {
    let stage = Stage::new().await;
    stage.panic(r#"{"task":"output","id":"0"}"#).await;
    assert!(stage.ingests[0].ended(0).await.ended.is_some());
    stage.ingests[0].connected(2).await;
    judge::clean(&stage.ingests[0].published(40).await, &stage.encode);
    judge::clean(&flows_on(&stage.ingests[1]).await, &stage.encode);
    assert_eq!((stage.ingests[0].records().len(), stage.ingests[1].records().len()), (2, 1));
    assert_eq!((stage.primary.requests().len(), stage.backup.requests().len()), (1, 1));
    stage.panics(1.0).await;
    let status = stage.relayd.until("r", "live again", |status| output_of(status, "0")["state"] == "live").await;
    let sent = stage.ingests[0].records()[0].messages.len();
    assert!(output_of(&status, "0")["tags"].as_u64() > Some(sent as u64), "it counts on: {status}");
    assert_eq!(stage.splices().await, [""; 0]);
    stage.nothing_leaks();
}

/// One task writes for every session of a relay.
#[tokio::test]
async fn a_panic_while_one_output_is_written_for_is_felt_by_no_other() {
    let stage = Stage::new().await;
    stage.panic(r#"{"task":"flusher","id":"0"}"#).await;
    assert!(stage.ingests[0].ended(0).await.ended.is_some());
    judge::clean(&flows_on(&stage.ingests[1]).await, &stage.encode);
    stage.ingests[0].connected(2).await;
    judge::clean(&stage.ingests[0].published(40).await, &stage.encode);
    judge::clean(&flows_on(&stage.ingests[1]).await, &stage.encode);
    assert_eq!((stage.ingests[0].records().len(), stage.ingests[1].records().len()), (2, 1));
    stage.panics(1.0).await;
    stage.relayd.logs("kind=\"panic\"").await;
    assert_eq!(stage.splices().await, [""; 0]);
}

#[tokio::test]
async fn a_panic_in_the_input_that_feeds_costs_no_tag_with_a_twin() {
    let stage = Stage::new().await;
    stage.panic(r#"{"task":"input","name":"primary"}"#).await;
    stage.relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    stage.primary.requested(2).await;
    let status =
        stage.relayd.until("r", "it is back", |status| input_of(status, "primary")["state"] == "standby").await;
    assert_eq!((&status["splices"], &input_of(&status, "primary")["reconnects"]), (&1.into(), &1.into()));
    assert_eq!(input_of(&status, "primary")["last_error"]["kind"], "panic");
    let lost = "relayd_input_lost_total{input=\"primary\",reason=\"panic\",relay=\"r\"}";
    assert_eq!(stage.relayd.series(lost).await, Some(1.0));
    for ingest in &stage.ingests {
        judge::clean(&flows_on(ingest).await, &stage.encode);
        assert_eq!(ingest.records().len(), 1, "an output reconnected");
    }
    assert_eq!(stage.backup.requests().len(), 1);
    assert_eq!(stage.splices().await, ["panic"]);
    stage.panics(1.0).await;
    stage.nothing_leaks();
}

#[tokio::test]
async fn a_panic_in_a_standby_is_not_felt_at_all() {
    let stage = Stage::new().await;
    stage.panic(r#"{"task":"input","name":"backup"}"#).await;
    stage.backup.requested(2).await;
    stage.relayd.until("r", "it is back", |status| input_of(status, "backup")["state"] == "standby").await;
    for ingest in &stage.ingests {
        judge::clean(&flows_on(ingest).await, &stage.encode);
        assert_eq!(ingest.records().len(), 1, "an output reconnected");
    }
    assert_eq!((stage.splices().await.len(), stage.primary.requests().len()), (0, 1));
    stage.panics(1.0).await;
}

#[tokio::test]
async fn a_panic_in_the_relay_costs_a_splice_and_no_session() {
    let stage = Stage::new().await;
    let before = stage.relayd.status("r").await;
    stage.panic(r#"{"task":"relay"}"#).await;
    stage.primary.requested(2).await;
    stage.backup.requested(2).await;
    let status = stage.relayd.until("r", "running", |status| status["splices"] == 1).await;
    assert_eq!(stage.splices().await, ["panic"]);
    for ingest in &stage.ingests {
        let record = flows_on(ingest).await;
        assert_eq!(ingest.records().len(), 1, "an output reconnected");
        judge::starts_with_keyframe_at_zero(&record);
        judge::monotonic(&record);
        judge::genuine(&record, &[&stage.encode]);
        judge::headers_once(&record);
        judge::in_step(&record, 40);
        judge::well_formed(&record);
    }
    for (list, key) in [("inputs", "tags"), ("inputs", "bytes"), ("outputs", "tags"), ("outputs", "bytes")] {
        let of = |status: &Value| status[list][0][key].as_u64();
        assert!(of(&status) >= of(&before), "{list} {key}: {before} {status}");
    }
    assert!(status["timeline_ms"].as_i64() > before["timeline_ms"].as_i64());
    assert_eq!(stage.relayd.series("relayd_splices_total{reason=\"panic\",relay=\"r\"}").await, Some(1.0));
    stage.panics(1.0).await;
    stage.nothing_leaks();
}

/// Where the server gives enough of what was sent before, the next tag relayed is the one after the last.
#[tokio::test]
async fn after_a_panic_in_the_relay_the_same_encode_goes_on_exactly() {
    // GOPs of four seconds, and a panic in the middle of one.
    let stage = Stage::of(Encode::live("main").gop(100)).await;
    let late_in_gop =
        |record: &Record| record.ids(Track::Video).last().is_some_and(|id| (25..60).contains(&(id.index % 100)));
    stage.ingests[0].newest("the middle of a GOP", late_in_gop).await;
    stage.panic(r#"{"task":"relay"}"#).await;
    stage.relayd.until("r", "running", |status| status["splices"] == 1).await;
    for ingest in &stage.ingests {
        judge::clean(&flows_on(ingest).await, &stage.encode);
        assert_eq!(ingest.records().len(), 1, "an output reconnected");
    }
}

#[tokio::test]
async fn a_relay_that_panics_again_and_again_rests_and_keeps_its_sessions() {
    let stage = Stage::new().await;
    for _ in 0..2 {
        stage.panic(r#"{"task":"relay"}"#).await;
    }
    // The second follows the first at once: it rests, and tells so.
    let status = stage.relayd.until("r", "it rests", |status| status["state"] == "holding").await;
    assert_eq!((&status["active_input"], &status["inputs"][0]["state"]), (&Value::Null, &"idle".into()));
    let switch = stage.relayd.send("POST", "/api/v1/relays/r/switch", br#"{"input":"backup"}"#).await;
    assert_eq!(switch.status, 409, "{}", switch.text());
    // What is reloaded meanwhile holds afterwards.
    let other = stage.ingests[1].url("hidden-c");
    stage.relayd.rewrite(|config| config.replace(&stage.ingests[1].url("hidden-b"), &other));
    assert_eq!(stage.relayd.reload().await.status, 200);
    stage.relayd.until("r", "running", |status| status["state"] == "running").await;
    let record = flows_on(&stage.ingests[0]).await;
    assert_eq!(stage.ingests[0].records().len(), 1, "the output reconnected");
    judge::monotonic(&record);
    judge::genuine(&record, &[&stage.encode]);
    judge::headers_once(&record);
    stage.ingests[1].connected(2).await;
    assert_eq!(stage.ingests[1].published(40).await.key, "hidden-c");
    stage.panics(2.0).await;
    assert_eq!(stage.splices().await.last().map(String::as_str), Some("panic"));
    stage.nothing_leaks();
}

#[tokio::test]
async fn tasks_cannot_be_told_to_panic_without_the_hook() {
    for variable in [None, Some("0")] {
        let mut setup = setup(&relay("r", &[]));
        if let Some(value) = variable {
            setup = setup.variable("RELAYD_TEST_HOOKS", value);
        }
        let relayd = setup.start().await;
        let response = relayd.send("POST", "/api/v1/relays/r/panic", br#"{"task":"relay"}"#).await;
        assert_eq!(response.status, 404);
        assert_eq!(relayd.status("r").await["name"], "r");
    }
    let stage = Stage::new().await;
    for (task, status) in [
        (r#"{"task":"output","id":"9"}"#, 404),
        (r#"{"task":"input","name":"nobody"}"#, 404),
        (r#"{"task":"output"}"#, 422),
        (r#"{"task":"main"}"#, 422),
    ] {
        let response = stage.relayd.send("POST", "/api/v1/relays/r/panic", task.as_bytes()).await;
        assert_eq!(response.status, status, "{task}: {}", response.text());
    }
}

#[tokio::test]
async fn after_a_sudden_death_the_outputs_are_live_within_two_seconds() {
    let stage = Stage::new().await;
    let Stage { mut relayd, ingests, encode, .. } = stage;
    relayd.kill().await;
    for ingest in &ingests {
        // The system closes what a dead process had open, in the middle of whatever was being sent.
        assert!(matches!(ingest.ended(0).await.ended, Some(Ended::Closed | Ended::Cut)));
    }
    let start = Instant::now();
    let relayd = relayd.restart().await;
    for ingest in &ingests {
        let left = (start + Duration::from_secs(2)).saturating_duration_since(Instant::now());
        let live = |records: &[Record]| records.get(1).filter(|record| record.frames().next().is_some()).map(|_| ());
        ingest.until_within(left, "a keyframe within two seconds of the start", live).await;
    }
    relayd
        .until("r", "both live", |status| {
            ["0", "1"].iter().all(|id| output_of(status, id)["state"] == "live") && status["state"] == "running"
        })
        .await;
    for ingest in &ingests {
        judge::clean(&flows_on(ingest).await, &encode);
        assert_eq!(ingest.records().len(), 2);
    }
}
