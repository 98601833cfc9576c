//! RTMPS: whom an output trusts, and that what it meets there is told and treated as over plain TCP.

use std::time::Duration;

use testkit::{
    Authority, Encode, Ended, Feed, Identity, Ingest, Origin, Record, Relayd, Script, Signal, Tls, Track, judge,
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::stage::{output, output_of, pull, relay, setup};

/// An output that trusts the test's own authority.
fn trusting(id: &str, ingest: &Ingest, more: &str) -> String {
    output(id, &ingest.url("key"), &format!("ca_file = \"ca.pem\"\n{more}"))
}

/// A relay of one encode to these outputs.
async fn start(authority: &Authority, feed: &str, outputs: &[String]) -> Relayd {
    let config = relay("r", &[pull("primary", feed, ""), outputs.concat()]);
    setup(&config).file("ca.pem", authority.pem()).start().await
}

fn tls(record: &Record) -> &Tls {
    record.tls.as_ref().unwrap()
}

/// Servers whose certificates do not fit, with what is wrong as the error says it.
fn misfits(authority: &Authority) -> [(&'static str, Identity, &'static str); 3] {
    [
        ("expired", authority.certify_expired("localhost"), "expired"),
        ("wrong-name", authority.certify("other.example"), "other.example"),
        ("unknown-issuer", Authority::new().certify("localhost"), "not trusted"),
    ]
}

#[tokio::test]
async fn a_server_that_the_authority_vouches_for_gets_the_whole_programme() {
    let (origin, encode, authority) = (Origin::start().await, Encode::live("main"), Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    let any = Ingest::secure(authority.certify("localhost"), Script::new()).await;
    let old = Ingest::secure(authority.certify("localhost").tls12_only(), Script::new()).await;
    let new = Ingest::secure(authority.certify("localhost").tls13_only(), Script::new()).await;
    let by_address = Ingest::secure(authority.certify("127.0.0.1"), Script::new()).await;
    let address = format!("rtmps://{}/live/key", by_address.address());
    let outputs = [
        trusting("any", &any, ""),
        trusting("old", &old, ""),
        trusting("new", &new, ""),
        output("address", &address, "ca_file = \"ca.pem\""),
    ];
    let _relayd = start(&authority, feed.url(), &outputs).await;

    let localhost = Some("localhost");
    for (ingest, name, version) in
        [(&any, localhost, "1.3"), (&old, localhost, "1.2"), (&new, localhost, "1.3"), (&by_address, None, "1.3")]
    {
        let record = ingest.published(120).await;
        judge::clean(&record, &encode);
        assert_eq!((tls(&record).server_name.as_deref(), tls(&record).version), (name, version));
        assert_eq!((record.app.as_str(), record.key.as_str()), ("live", "key"));
        assert_eq!(ingest.records().len(), 1, "an output reconnected");
    }
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_told_and_disturb_no_other_output() {
    let (origin, encode, authority) = (Origin::start().await, Encode::live("main"), Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    let good = Ingest::start().await;
    let (mut outputs, mut ingests) = (vec![output("good", &good.url("key"), "")], Vec::new());
    for (id, identity, what) in misfits(&authority) {
        let ingest = Ingest::secure(identity, Script::new()).await;
        outputs.push(trusting(id, &ingest, ""));
        ingests.push((id, what, ingest));
    }
    let relayd = start(&authority, feed.url(), &outputs).await;

    for (id, what, ingest) in &ingests {
        // Tried again, too.
        ingest.connected(2).await;
        let record = ingest.ended(0).await;
        assert!(matches!(&record.ended, Some(Ended::NoTls(_))), "{record:?}");
        assert_eq!(tls(&record).server_name.as_deref(), Some("localhost"));
        assert!(record.commands.is_empty(), "{record:?}");
        let waits = format!("{id} waits");
        let status = relayd.until("r", &waits, |status| output_of(status, id)["state"] == "backoff").await;
        let error = &output_of(&status, id)["last_error"];
        assert_eq!(error["kind"], "tls", "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(what)), "{what} is not in {error}");
    }
    let record = good.published(120).await;
    judge::clean(&record, &encode);
    assert_eq!(good.records().len(), 1, "the good output reconnected");
    assert!(!relayd.stderr().contains("NOT verified"), "{}", relayd.stderr());
}

#[tokio::test]
async fn insecure_tls_takes_any_certificate_and_says_so_loudly() {
    let (origin, encode, authority) = (Origin::start().await, Encode::live("main"), Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    let (mut outputs, mut ingests) = (Vec::new(), Vec::new());
    for (id, identity, _) in misfits(&authority) {
        for (suffix, identity) in [("", identity.clone()), ("-1.2", identity.tls12_only())] {
            let (id, ingest) = (format!("{id}{suffix}"), Ingest::secure(identity, Script::new()).await);
            outputs.push(output(&id, &ingest.url("key"), "insecure_tls = true"));
            ingests.push((id, ingest));
        }
    }
    let relayd = start(&authority, feed.url(), &outputs).await;

    for (id, ingest) in &ingests {
        judge::clean(&ingest.published(60).await, &encode);
        let log = relayd.stderr();
        let said =
            |line: &str| line.contains("WARN") && line.contains("NOT verified") && line.contains(&format!("\"{id}\""));
        assert!(log.lines().any(said), "nothing is said of {id}: {log}");
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_told() {
    let (origin, encode, authority) = (Origin::start().await, Encode::live("main"), Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    // An RTMP server waits for more of what it takes for a handshake; an HTTP server complains.
    let rtmp = Ingest::start().await;
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outputs = [("rtmp", rtmp.address()), ("http", http.local_addr().unwrap())]
        .map(|(id, at)| output(id, &format!("rtmps://{at}/live/key"), "connect_timeout = \"500ms\""));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = http.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let relayd = start(&authority, feed.url(), &outputs).await;

    for (id, kind) in [("rtmp", "timeout"), ("http", "tls")] {
        let what = format!("{id} has failed");
        let status = relayd.until("r", &what, |status| !output_of(status, id)["last_error"].is_null()).await;
        assert_eq!(output_of(&status, id)["last_error"]["kind"], kind, "{status}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_starts_at_zero() {
    let (origin, encode, authority) = (Origin::start().await, Encode::live("main"), Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    let scripts = [
        ("resets", Script::new().reset_after(300), "closed"),
        ("closes", Script::new().close_after_start(), "closed"),
        ("garbage", Script::new().garbage(), "protocol"),
        ("garbage-under-tls", Script::new().garbage_under_tls(), "tls"),
        ("drops", Script::new(), "closed"),
    ];
    let (mut outputs, mut ingests) = (Vec::new(), Vec::new());
    for (id, script, kind) in scripts {
        let ingest = Ingest::secure(authority.certify("localhost"), script).await;
        outputs.push(trusting(id, &ingest, ""));
        ingests.push((id, kind, ingest));
    }
    let relayd = start(&authority, feed.url(), &outputs).await;

    for (id, kind, ingest) in &ingests {
        if *id == "drops" {
            ingest.published(1).await;
            ingest.disconnect();
        }
        ingest.ended(0).await;
        ingest.behave(Script::new());
        let record =
            ingest.newest("a session that lasts", |record| record.frames().count() >= 60 && record.ended.is_none());
        judge::clean(&record.await, &encode);
        let status = relayd.status("r").await;
        assert!(output_of(&status, id)["reconnects"].as_u64() >= Some(1), "{status}");
        let error = &output_of(&status, id)["last_error"];
        assert_eq!(error["kind"], *kind, "{id}: {error}");
        assert!(!error.to_string().contains("docs.rs"), "not in a user's words: {error}");
    }
}

#[tokio::test]
async fn a_server_that_reads_slowly_or_nothing_meets_the_same_policies() {
    let (origin, authority) = (Origin::start().await, Authority::new());
    let encode = Encode::live("main").frame_bytes(120_000, 28_000);
    let feed = origin.serve("main", Feed::of(&encode));
    let good = Ingest::secure(authority.certify("localhost"), Script::new()).await;
    let deaf = Ingest::secure(authority.certify("localhost"), Script::new().stop_reading_after(300)).await;
    let slow = Ingest::secure(authority.certify("localhost"), Script::new().read_bytes_per_sec(250_000)).await;
    let outputs = [
        trusting("good", &good, ""),
        trusting("deaf", &deaf, "write_timeout = \"1s\"\nmax_lag = \"10s\""),
        trusting("slow", &slow, "max_lag = \"1500ms\""),
    ];
    let relayd = start(&authority, feed.url(), &outputs).await;

    let stalled = |status: &serde_json::Value| output_of(status, "deaf")["last_error"]["kind"] == "stalled";
    relayd.until("r", "the stall is told", stalled).await;
    deaf.behave(Script::new());
    let back =
        deaf.newest("a session that reads", |record| record.frames().count() >= 60 && record.ended.is_none()).await;
    judge::starts_with_keyframe_at_zero(&back);
    judge::genuine(&back, &[&encode]);

    let gap = |record: &Record| record.ids(Track::Video).windows(2).any(|pair| pair[1].index > pair[0].index + 1);
    let record = slow.newest("a gap in the video", gap).await;
    judge::starts_with_keyframe_at_zero(&record);
    judge::monotonic(&record);
    judge::genuine(&record, &[&encode]);
    judge::gaps_end_with_keyframes(&record);
    for pair in record.ids(Track::Audio).windows(2) {
        assert_eq!(pair[1].index, pair[0].index + 1, "audio is missing");
    }

    judge::clean(&good.published(120).await, &encode);
    assert_eq!(good.records().len(), 1, "the good output reconnected");
    assert_eq!(output_of(&relayd.status("r").await, "good")["skipped_tags"], 0);
}

#[tokio::test]
async fn sigterm_says_goodbye_in_both_protocols() {
    let (origin, encode, authority) = (Origin::start().await, Encode::live("main"), Authority::new());
    let feed = origin.serve("main", Feed::of(&encode));
    let new = Ingest::secure(authority.certify("localhost"), Script::new()).await;
    let old = Ingest::secure(authority.certify("localhost").tls12_only(), Script::new()).await;
    let outputs = [trusting("new", &new, ""), trusting("old", &old, "")];
    let mut relayd = start(&authority, feed.url(), &outputs).await;
    for ingest in [&new, &old] {
        ingest.published(60).await;
    }
    relayd.signal(Signal::TERM);
    let status = relayd.wait_exit(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0), "{}", relayd.stderr());
    for ingest in [&new, &old] {
        let record = ingest.ended(0).await;
        assert_eq!(record.ended, Some(Ended::Closed));
        assert!(record.command_names().ends_with(&["FCUnpublish", "deleteStream"]), "{record:?}");
        assert!(tls(&record).close_notify, "the TLS session was cut off");
        judge::clean(&record, &encode);
    }
}

#[tokio::test]
async fn frames_travel_in_full_records() {
    let (origin, authority) = (Origin::start().await, Authority::new());
    let small = Encode::live("small").frame_bytes(12_000, 9_000);
    let large = Encode::live("large").frame_bytes(150_000, 40_000);
    let mut config = String::new();
    let mut ingests = Vec::new();
    for (id, encode, flush) in [("a", &small, "frame"), ("b", &small, "200ms"), ("c", &large, "frame")] {
        let feed = origin.serve(id, Feed::of(encode));
        let ingest = Ingest::secure(authority.certify("localhost").tls13_only(), Script::new()).await;
        let output = trusting("1", &ingest, &format!("flush = \"{flush}\""));
        config += &relay(id, &[pull("primary", feed.url(), ""), output]);
        ingests.push((encode, flush, ingest));
    }
    let _relayd = setup(&config).file("ca.pem", authority.pem()).start().await;

    for (encode, flush, ingest) in &ingests {
        let record = ingest.published(200).await;
        judge::clean(&record, encode);
        let frames = |track| record.ids(track).len();
        let lasted = record.messages[record.messages.len() - 1].at - record.messages[0].at;
        // A write ends with one record that is not full, and what is ready goes out in one write: a video frame and the
        // audio before it, or the frames of an interval. Audio goes alone only where video is late.
        let writes = match *flush {
            "frame" => frames(Track::Video) + frames(Track::Audio) / 4,
            _ => lasted.as_millis() as usize / 200 + 2,
        };
        let records = &tls(&record).records;
        let short = records.iter().filter(|&&length| length < FULL_RECORD).count();
        assert!(short <= OPENING + writes, "{short} for {writes} writes: {records:?}");
        assert!(records.iter().all(|&length| length <= FULL_RECORD), "{records:?}");
    }
}

/// 16 KiB of payload with its content type and tag (RFC 8446, 5.2).
const FULL_RECORD: usize = (16 << 10) + 1 + 16;
/// Records up to the first frame: the end of the handshake, and the session's commands.
const OPENING: usize = 8;
