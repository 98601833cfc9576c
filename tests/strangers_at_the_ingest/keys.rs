//! Keys: wrong ones, signed ones, and those that are in use.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use testkit::{DEADLINE, Encode, Ingest, Publisher, PublisherError, Relayd, Stranger, eventually, judge};

use super::{INGEST, closed, counted, guarded, present, url};
use crate::stage::{failover, output, push, push_with, relay, start};

async fn refusal(relayd: &Relayd, path: &str) -> (String, Duration) {
    let began = Instant::now();
    match Publisher::start(&url(relayd, path), &Encode::live("stranger")).await {
        Err(PublisherError::Session(error)) => (error.to_string(), began.elapsed()),
        other => panic!("{path}: {other:?}"),
    }
}

/// `txSecret` for the key 0123456789abcdef, the stream and the time.
fn signed(stream: &str, time: &str) -> String {
    let secret = rtmp::ingest::tx_secret(b"0123456789abcdef", stream.as_bytes(), time.as_bytes());
    format!("live/{stream}?txSecret={}&txTime={time}", String::from_utf8_lossy(&secret))
}

const SIGNED: &str = "auth = { tx_key = \"0123456789abcdef\" }";

#[tokio::test]
async fn whatever_is_wrong_with_a_key_the_answer_is_the_same_and_takes_its_time() {
    let parts = [
        push("open", "live/open"),
        push_with("signed", "live/signed", SIGNED),
        failover("stall_timeout = \"1h\""),
        output("1", "rtmp://127.0.0.1:9/live/x", ""),
    ];
    let config = format!("{INGEST}[limits]\nrefusal_delay = \"300ms\"\n{}", relay("r", &parts));
    let relayd = start(&config).await;
    let _open = Stranger::publishing(&url(&relayd, "live/open")).await.unwrap();
    let forged = signed("signed", "7fffffff").replace("txTime=7fffffff", "txTime=7ffffffe");
    let mut answers = Vec::new();
    for (path, reason) in [
        ("live/unknown", "unknown_key"),
        ("live/open", "busy"),
        ("live/signed", "signature"),
        (&*forged, "signature"),
        (&*signed("open", "7fffffff").replace("live/open", "live/signed"), "signature"),
        (&*signed("signed", "5"), "expired"),
    ] {
        let before = closed(&relayd, reason).await;
        let (answer, took) = refusal(&relayd, path).await;
        assert!(took >= Duration::from_millis(300), "{path} was refused after {took:?}");
        answers.push(answer.replace("NetStream.Publish.BadName: the stream key is not accepted", "BadName"));
        counted(&relayd, reason, before + 1.0).await;
    }
    // A name that is too long is not even compared, nor is a signature looked for in a query that is.
    let query = "x".repeat(4_096);
    for (stream, reason) in [
        ("x".repeat(2_048), "unknown_key"),
        (format!("open?{query}"), "busy"),
        (format!("{}&{query}", signed("signed", "7fffffff").replace("live/", "")), "signature"),
    ] {
        let before = closed(&relayd, reason).await;
        let mut long = Stranger::connect(relayd.ingest()).await.unwrap();
        long.ask("live", &stream).await.unwrap();
        assert!(String::from_utf8_lossy(&long.ended().await).contains("the stream key is not accepted"));
        counted(&relayd, reason, before + 1.0).await;
    }
    answers.dedup();
    assert_eq!(answers, ["BadName (at publish)"]);
    let shown = format!("{}{}", relayd.status("r").await, relayd.stderr());
    for secret in ["live/open", "live/signed", "live/unknown", "0123456789abcdef", "txSecret", "7fffffff"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn a_query_is_ignored_however_long_it_is() {
    let relayd = guarded("refusal_delay = \"0s\"", "").await;
    let mut publisher = Stranger::connect(relayd.ingest()).await.unwrap();
    publisher.ask("live", &format!("secret-key?{}", "x".repeat(8_192))).await.unwrap();
    present(&relayd, 0.0, 1.0).await;
}

#[tokio::test]
async fn a_signed_url_lets_its_publisher_in() {
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let parts = [push_with("signed", "live/signed", SIGNED), output("1", &ingest.url("key"), "")];
    let relayd = start(&format!("{INGEST}{}", relay("r", &parts))).await;
    let _publisher = Publisher::start(&url(&relayd, &signed("signed", "7FFFFFFF")), &encode).await.unwrap();
    judge::clean(&ingest.published(100).await, &encode);
}

#[tokio::test]
async fn who_guesses_makes_his_address_wait_and_no_other() {
    let relayd = guarded("refusal_delay = \"2s\"", "").await;
    let ingest = relayd.ingest();
    let began = Instant::now();
    // They hang up without waiting for the answer, which does not save them the time.
    for guess in ["a", "b", "c", "d"] {
        let mut guesser = Stranger::connect(ingest).await.unwrap();
        guesser.ask("live", guess).await.unwrap();
        if guess == "a" {
            counted(&relayd, "unknown_key", 1.0).await;
        }
    }
    let mut elsewhere = Stranger::connect_from(Ipv4Addr::new(127, 0, 0, 2), ingest).await.unwrap();
    elsewhere.ask("live", "e").await.unwrap();
    counted(&relayd, "unknown_key", 2.0).await;
    assert!(began.elapsed() < Duration::from_secs(2), "the other address had to wait");

    // The one who knows the key waits as long as the guesses did, and not for each of them.
    let _publisher = Stranger::publishing(&url(&relayd, "live/secret-key")).await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "let in after {took:?}");
    assert!(took < Duration::from_secs(4), "let in after {took:?}");
}

#[tokio::test]
async fn a_second_publisher_takes_the_place_of_a_silent_one_if_it_may() {
    let replace = "on_duplicate = \"replace\"\nreplace_after = \"1s\"\nidle_timeout = \"1h\"";
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let parts = [
        push_with("studio", "live/secret-key", replace),
        failover("stall_timeout = \"1h\""),
        output("1", &ingest.url("key"), ""),
    ];
    let config = format!("{INGEST}[limits]\nrefusal_delay = \"0s\"\n{}", relay("r", &parts));
    let relayd = start(&config).await;
    let mut silent = Stranger::publishing(&url(&relayd, "live/secret-key")).await.unwrap();
    let early = refusal(&relayd, "live/secret-key").await;
    assert!(early.0.contains("BadName"), "{early:?}");
    counted(&relayd, "busy", 1.0).await;

    let lively = eventually("the silent one's place is taken", DEADLINE, async || {
        Publisher::start(&url(&relayd, "live/secret-key"), &encode).await.map_err(|error| error.to_string())
    })
    .await;
    silent.ended().await;
    counted(&relayd, "replaced", 1.0).await;
    judge::clean(&ingest.published(60).await, &encode);

    // It speaks, so nobody takes its place.
    let busy = closed(&relayd, "busy").await;
    let refused = refusal(&relayd, "live/secret-key").await;
    assert!(refused.0.contains("BadName"), "{refused:?}");
    counted(&relayd, "busy", busy + 1.0).await;
    present(&relayd, 0.0, 1.0).await;
    judge::clean(&ingest.published(120).await, &encode);
    drop(lively);
}

#[tokio::test]
async fn without_leave_to_replace_a_silent_publisher_keeps_its_place() {
    let relayd = guarded("refusal_delay = \"400ms\"", "idle_timeout = \"1h\"").await;
    let silent = Stranger::publishing(&url(&relayd, "live/secret-key")).await.unwrap();
    // Tried for longer than the 3 s of silence after which it might be replaced.
    let (began, mut attempts) = (Instant::now(), 0.0);
    while began.elapsed() < Duration::from_millis(3_500) {
        refusal(&relayd, "live/secret-key").await;
        attempts += 1.0;
    }
    refusal(&relayd, "live/secret-key").await;
    assert!(silent.is_open());
    assert_eq!(closed(&relayd, "busy").await, attempts + 1.0);
}
