//! Panics, sudden deaths, and a system that has run out of something: what goes on, and what comes back.

use std::time::Duration;

use serde_json::Value;
use testkit::{DEADLINE, Encode, Ended, Feed, Ingest, Origin, Record, Relayd, Served, Track, eventually, http, judge};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::stage::{flows_on, input_of, output, output_of, pull, relay, setup, start};

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

async fn ask(admin: std::net::SocketAddr) -> std::io::Result<http::Response> {
    http::request(admin, "GET", "/api/v1/relays", &[], b"").await
}

/// Asks on a connection that stays open.
async fn keep_asking(socket: &mut TcpStream, path: &str) {
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 4_096];
    let read = timeout(DEADLINE, socket.read(&mut answer)).await.expect("an answer").unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
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

/// Every new socket and file is refused, until it is not.
#[tokio::test]
async fn without_descriptors_everything_waits_and_comes_back() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let (feed, other) = (origin.serve("a", Feed::of(&encode)), origin.serve("b", Feed::of(&encode)));
    let ingests = [Ingest::start().await, Ingest::start().await];
    let parts = [
        pull("primary", feed.url(), ""),
        pull("backup", other.url(), ""),
        output("0", &ingests[0].url("key"), ""),
        output("1", &ingests[1].url("key"), ""),
    ];
    let relayd = start(&format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("r", &parts))).await;
    for ingest in &ingests {
        ingest.published(40).await;
    }
    relayd.until("r", "both inputs", |status| !input_of(status, "backup")["aligned_with"].is_null()).await;

    let mut open = TcpStream::connect(relayd.admin()).await.unwrap();
    keep_asking(&mut open, "/healthz").await;
    // What is open stays open; nothing can be opened any more.
    relayd.limit_descriptors(Some(3));
    let (began, busy) = (Instant::now(), relayd.processor_time());
    let asking = tokio::spawn(ask(relayd.admin()));
    let publishing = TcpStream::connect(relayd.ingest()).await.unwrap();
    other.kill();
    ingests[1].disconnect();
    relayd.logs("cannot accept; connections wait").await;
    relayd.logs("the input was lost").await;
    relayd.logs("the session failed").await;
    eventually("each says what is missing, again and again", DEADLINE, async || {
        let log = relayd.stderr();
        let refused =
            |what: &str| log.lines().filter(|line| line.contains(what) && line.contains("os error 24")).count();
        let seen = [refused("cannot accept"), refused("the input was lost"), refused("the session failed")];
        if seen.iter().all(|&seen| seen >= 2) { Ok(()) } else { Err(format!("{seen:?}\n{log}")) }
    })
    .await;
    // A reload needs the file.
    relayd.signal(testkit::Signal::HUP);
    relayd.logs("cannot be read: Too many open files").await;
    keep_asking(&mut open, "/metrics").await;
    judge::clean(&flows_on(&ingests[0]).await, &encode);
    let (passed, spent) = (began.elapsed(), relayd.processor_time() - busy);
    assert!(spent < passed / 2, "{spent:?} of processor time in {passed:?}: something spins");

    relayd.limit_descriptors(None);
    assert_eq!(asking.await.unwrap().unwrap().status, 200, "a connection that waited is served");
    drop(publishing);
    let status = relayd
        .until("r", "all is back", |status| {
            ["0", "1"].iter().all(|id| output_of(status, id)["state"] == "live")
                && input_of(status, "backup")["state"] == "standby"
        })
        .await;
    assert_eq!(output_of(&status, "1")["last_error"]["kind"], "connect", "{status}");
    assert!(output_of(&status, "1")["last_error"]["message"].as_str().unwrap().contains("os error 24"), "{status}");
    assert_eq!(input_of(&status, "backup")["last_error"]["kind"], "connect", "{status}");
    judge::clean(&flows_on(&ingests[1]).await, &encode);
    judge::clean(&flows_on(&ingests[0]).await, &encode);
    assert_eq!(ingests[0].records().len(), 1, "the output that was live reconnected");
}

/// Clients take all that there are, and go.
#[tokio::test]
async fn clients_that_take_every_descriptor_disturb_no_output_and_the_next_is_answered() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("0", &ingest.url("key"), "")])).await;
    ingest.published(40).await;

    relayd.leave_descriptors(4);
    let (began, busy) = (Instant::now(), relayd.processor_time());
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(TcpStream::connect(relayd.admin()).await.unwrap());
    }
    let waiting = tokio::spawn(http::request(relayd.admin(), "GET", "/metrics", &[], b""));
    let told = || relayd.stderr().lines().filter(|line| line.contains("cannot accept; connections wait")).count();
    eventually(
        "it is told, again and again",
        DEADLINE,
        async || {
            if told() >= 3 { Ok(()) } else { Err(relayd.stderr()) }
        },
    )
    .await;
    judge::clean(&flows_on(&ingest).await, &encode);
    let (lines, passed, spent) = (told() as u64, began.elapsed(), relayd.processor_time() - busy);
    assert!(spent < passed / 2, "{spent:?} of processor time in {passed:?}: something spins");
    assert!(lines <= passed.as_secs() + 1, "more than a line per second: {}", relayd.stderr());
    assert!(!waiting.is_finished(), "it was let in with no descriptor left");

    drop(clients);
    let metrics = waiting.await.unwrap().unwrap();
    assert!(metrics.status == 200 && metrics.text().contains("\nrelayd_output_up{"), "{}", metrics.text());
    let status = relayd.status("r").await;
    assert_eq!(
        (&output_of(&status, "0")["state"], &output_of(&status, "0")["reconnects"]),
        (&"live".into(), &0.into())
    );
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

#[tokio::test]
async fn names_that_do_not_resolve_are_told_and_disturb_nobody() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    // A label of 64 characters is refused by the resolver itself (RFC 1035, 2.3.4): no server is asked.
    let nowhere = format!("{}.invalid", "a".repeat(64));
    let parts = [
        pull("primary", feed.url(), ""),
        pull("lost", &format!("http://{nowhere}/x.flv?hidden"), ""),
        output("0", &ingest.url("key"), ""),
        output("1", &format!("rtmp://{nowhere}/live/hidden"), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;
    let status = relayd
        .until("r", "both tell", |status| {
            output_of(status, "1")["last_error"]["kind"] == "dns"
                && input_of(status, "lost")["last_error"]["kind"] == "dns"
                && output_of(status, "1")["reconnects"].as_u64() > Some(1)
        })
        .await;
    assert!(output_of(&status, "1")["next_retry_ms"].is_u64() || output_of(&status, "1")["state"] == "connecting");
    relayd.logs("kind=\"dns\"").await;
    relayd.logs("reason=\"dns\"").await;
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(ingest.records().len(), 1, "the other output reconnected");
    let shown = format!("{status}{}", relayd.stderr());
    assert!(!shown.contains("hidden"), "{shown}");
}
