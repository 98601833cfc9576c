//! What a relay tells as it happens: events, ledger, metrics; and the switch that is asked of it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use testkit::{Encode, Feed, Ingest, Origin, Relayd, Served, http};

use crate::stage::{input_of, output, pull, relay, start};

struct Stage {
    relayd: Relayd,
    primary: Served,
    ingest: Ingest,
    _origin: Origin,
}

/// Two encodes, both healthy, the first one feeding.
async fn stage() -> Stage {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let first = Encode::live("first");
    let second = Encode::live("second").on(first.clock()).header_variant(1);
    let primary = origin.serve("primary", Feed::of(&first).rollback_at(2_000, 5_000));
    let backup = origin.serve("backup", Feed::of(&second));
    let parts =
        [pull("primary", primary.url(), ""), pull("backup", backup.url(), ""), output("1", &ingest.url("key"), "")];
    let relayd = start(&relay("r", &parts)).await;
    relayd
        .until("r", "both inputs", |status| {
            status["active_input"] == "primary" && input_of(status, "backup")["state"] == "standby"
        })
        .await;
    Stage { relayd, primary, ingest, _origin: origin }
}

fn events_of(ledger: &Value, kind: &str) -> Vec<Value> {
    let events = ledger["events"].as_array().unwrap();
    events.iter().filter(|event| event["type"] == kind).cloned().collect()
}

#[tokio::test]
async fn faults_and_splices_are_told_in_ledger_events_and_metrics() {
    let stage = stage().await;
    let mut stream = http::open(stage.relayd.admin(), "GET", "/api/v1/events", &[], b"").await.unwrap();
    assert_eq!(stream.status, 200);
    stage
        .relayd
        .until("r", "the rollback is counted", |status| input_of(status, "primary")["dts_faults"]["rollback"] == 1)
        .await;
    stage.primary.set_status(404);
    stage.primary.kill();
    stage.relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;

    let ledger = stage.relayd.get("/api/v1/relays/r/ledger").await.json();
    let faults = events_of(&ledger, "fault");
    assert_eq!(faults.len(), 1, "{ledger}");
    assert_eq!((&faults[0]["reason"], &faults[0]["input"]), (&"rollback".into(), &"primary".into()));
    assert!(faults[0]["dts_after"].as_i64() < faults[0]["dts_before"].as_i64());
    let splices = events_of(&ledger, "splice");
    assert_eq!((splices.len(), &splices[0]["input"]), (1, &"backup".into()), "{ledger}");
    assert!(splices[0]["dts_after"].as_i64() > splices[0]["dts_before"].as_i64());
    let seqs: Vec<_> = ledger["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");

    let mut told = String::new();
    while !told.contains("\"type\":\"splice\"") {
        told += &String::from_utf8_lossy(&stream.next().await.unwrap().expect("the stream goes on"));
    }
    let fault = told.lines().filter_map(|line| line.strip_prefix("data:")).find(|line| line.contains("\"fault\""));
    let fault: Value = serde_json::from_str(fault.expect("the fault was told")).unwrap();
    assert_eq!(fault, faults[0], "the stream and the ledger tell the same");

    let metrics = stage.relayd.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    let text = metrics.text();
    for line in [
        "relayd_input_dts_faults_total{input=\"primary\",kind=\"rollback\",relay=\"r\"} 1",
        "relayd_splices_total{reason=\"eof\",relay=\"r\"} 1",
        "relayd_input_active{input=\"backup\",relay=\"r\"} 1",
        "relayd_output_up{output=\"1\",relay=\"r\"} 1",
        "relayd_input_dropped_tags_total{cause=\"unstarted\",input=\"primary\",relay=\"r\"} 0",
        "relayd_tasks_panicked_total 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let started = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")?.parse().ok());
    #[expect(clippy::disallowed_methods, reason = "the metric is a time of day")]
    let now = SystemTime::now();
    let age = now.duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - started.unwrap_or(0.0);
    assert!((0.0..60.0).contains(&age), "started {age} s ago");
    check_with_promtool(&text);
    assert_eq!(stage.ingest.records().len(), 1, "the output kept its session");
}

fn check_with_promtool(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: cargo xtask test installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test]
async fn a_switch_changes_the_selection_at_once_and_the_feed_at_a_keyframe() {
    let stage = stage().await;
    let switch = |body: &'static str| stage.relayd.send("POST", "/api/v1/relays/r/switch", body.as_bytes());

    let unknown = switch(r#"{"input":"nobody"}"#).await;
    assert_eq!((unknown.status, unknown.header("content-type")), (404, Some("application/problem+json")));
    assert_eq!(switch("nonsense").await.status, 422);
    assert_eq!(switch(r#"{"input":"backup","more":1}"#).await.status, 422);

    let switched = switch(r#"{"input":"backup"}"#).await;
    assert_eq!((switched.status, &switched.json()["selected_input"]), (202, &"backup".into()));
    let status = stage.relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    assert_eq!((&status["selected_input"], &status["splices"]), (&"backup".into(), &1.into()));
    let ledger = stage.relayd.get("/api/v1/relays/r/ledger").await.json();
    assert_eq!(events_of(&ledger, "splice")[0]["reason"], "manual");
    assert_eq!(stage.relayd.send("POST", "/api/v1/relays/other/switch", b"{}").await.status, 404);
}
