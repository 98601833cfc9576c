//! A system that has run out of something: what goes on, and what comes back.

use std::time::Duration;

use testkit::{DEADLINE, Encode, Feed, Ingest, LogReader, Origin, Signal, eventually, http, judge};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::stage::{flows_on, input_of, output, output_of, pull, relay, start};

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
    relayd.signal(Signal::HUP);
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

/// Whoever reads the log rests, for longer than there is room for lines, and reads on.
#[tokio::test]
async fn nobody_waits_for_who_reads_the_log() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("0", &ingest.url("key"), "")])).await;
    ingest.published(40).await;

    relayd.log_reader(LogReader::Rests);
    // Each is told with the key that is not known.
    relayd.rewrite(|config| format!("{config}\n{} = 1\n", "k".repeat(KEY)));
    eventually("there is no room", DEADLINE, async || {
        assert_eq!(relayd.reload().await.status, 422);
        let lost = relayd.metric(NO_ROOM).await;
        if lost >= 3.0 { Ok(()) } else { Err(lost.to_string()) }
    })
    .await;
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(relayd.metric(UNWRITTEN).await, 0.0);

    relayd.log_reader(LogReader::Reads);
    eventually("every lost line is told of", DEADLINE, async || {
        let log = relayd.stderr();
        let told = log.lines().filter_map(|line| line.split_once("log lines were lost no_room=")?.1.split(' ').next());
        let told: f64 = told.map(|lines| lines.parse::<f64>().unwrap()).sum();
        let lost = relayd.metric(NO_ROOM).await;
        if told == lost { Ok(()) } else { Err(format!("{told} of {lost}")) }
    })
    .await;
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

#[tokio::test]
async fn the_end_does_not_wait_for_who_reads_the_log() {
    let mut relayd = start("").await;
    relayd.log_reader(LogReader::Rests);
    for _ in 0..RELOADS {
        assert_eq!(relayd.reload().await.status, 200);
    }
    relayd.signal(Signal::TERM);
    assert_eq!(relayd.wait_exit(Duration::from_secs(5)).await.code(), Some(0));
    relayd.log_reader(LogReader::Reads);
    eventually("the pipe is read to its end", DEADLINE, async || {
        let log = relayd.stderr();
        if log.contains("nothing has changed") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(!relayd.stderr().contains("bye"), "its log was read all the time");
}

/// Nothing that is logged can be written any more, as on a disk that is full.
#[tokio::test]
async fn a_log_that_cannot_be_written_costs_its_lines_and_nothing_else() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    let mut relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("0", &ingest.url("key"), "")])).await;
    ingest.published(40).await;

    relayd.log_reader(LogReader::Gone);
    ingest.disconnect();
    eventually("lines are lost, and counted", DEADLINE, async || {
        assert_eq!(relayd.reload().await.status, 200);
        let lost = relayd.metric(UNWRITTEN).await;
        if lost >= 3.0 { Ok(()) } else { Err(lost.to_string()) }
    })
    .await;
    relayd.until("r", "it is live again", |status| output_of(status, "0")["state"] == "live").await;
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(relayd.metric("relayd_tasks_panicked_total").await, 0.0);
    relayd.signal(Signal::TERM);
    assert_eq!(relayd.wait_exit(DEADLINE).await.code(), Some(0));
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

/// Bytes of a key's name: a few dozen of them are all that may wait.
const KEY: usize = 20_000;
/// The lines of so many without a change are more than a pipe of one page of any size holds.
const RELOADS: usize = 1_500;
const NO_ROOM: &str = "relayd_log_lines_lost_total{reason=\"no_room\"}";
const UNWRITTEN: &str = "relayd_log_lines_lost_total{reason=\"unwritten\"}";
