//! Who comes to the ingest uninvited, or takes more than is good: closed, with a reason that is counted and logged.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use flv::amf0::{Props, Value};
use testkit::{
    DEADLINE, Encode, Ingest, Publisher, PublisherError, Relayd, Stranger, Track, eventually, judge,
    stranger::{command, header, message},
};

use crate::stage::{failover, output, push, push_with, relay, start};

const INGEST: &str = "[ingest]\nlisten = \"127.0.0.1:0\"\n";

/// The daemon with one push input, `live/secret-key`, and these `[limits]` and keys of the input.
async fn guarded(limits: &str, input: &str) -> Relayd {
    let parts = [push_with("studio", "live/secret-key", input), failover("stall_timeout = \"1h\"")];
    start(&format!("{INGEST}[limits]\n{limits}\n{}", relay("r", &parts))).await
}

fn url(relayd: &Relayd, path: &str) -> String {
    format!("rtmp://{}/{path}", relayd.ingest())
}

async fn closed(relayd: &Relayd, reason: &str) -> f64 {
    relayd.metric(&format!("relayd_ingest_closed_total{{reason=\"{reason}\"}}")).await
}

/// Waits until so many connections were closed for a reason.
async fn counted(relayd: &Relayd, reason: &str, count: f64) {
    eventually(&format!("{count} closed with {reason}"), DEADLINE, async || {
        let seen = closed(relayd, reason).await;
        if seen == count { Ok(()) } else { Err(format!("{seen}; log:\n{}", relayd.stderr())) }
    })
    .await;
}

/// Waits until so many connections are there: those that wait to be let in, and those that publish.
async fn present(relayd: &Relayd, strangers: f64, publishing: f64) {
    eventually(&format!("{strangers} strangers and {publishing} publishers"), DEADLINE, async || {
        let of = async |state| relayd.metric(&format!("relayd_ingest_connections{{state=\"{state}\"}}")).await;
        let seen = (of("unauthenticated").await, of("publishing").await);
        if seen == (strangers, publishing) { Ok(()) } else { Err(format!("{seen:?}; log:\n{}", relayd.stderr())) }
    })
    .await;
}

/// What a peer does until it is closed for it.
enum Act {
    /// Nothing.
    Connect,
    /// This, without a handshake.
    Say(Vec<u8>),
    /// The handshake, and this.
    Greet(Vec<u8>),
    /// It is let in to publish, and says this.
    Publish(Vec<u8>),
}

fn many_streams() -> Vec<u8> {
    (10..20).flat_map(|chunk_stream| message(chunk_stream, 20, b"")).collect()
}

/// Two messages of 60,000 bytes, begun in chunks of 40,000.
fn two_halves() -> Vec<u8> {
    let begun = |chunk_stream| [&header(chunk_stream, 9, 60_000)[..], &[0; 40_000]].concat();
    [message(2, 1, &40_000_u32.to_be_bytes()), begun(8), begun(9)].concat()
}

#[tokio::test]
async fn each_limit_closes_the_peer_that_exceeds_it() {
    let nested = (0..3).fold(Value::Null, |inner, _| Value::Object(Props::from_iter([("a", inner)])));
    let long = Value::str(&"x".repeat(300));
    for (reason, limits, act) in [
        ("handshake_timeout", "handshake_timeout = \"300ms\"", Act::Connect),
        ("handshake_timeout", "handshake_timeout = \"300ms\"", Act::Say(vec![3; 1_000])),
        (
            "publish_timeout",
            "handshake_timeout = \"400ms\"\npublish_timeout = \"400ms\"",
            Act::Greet(command("connect", &[Value::Object(Props::new())])),
        ),
        (
            "unauthenticated_message_size",
            "unauthenticated_message_size = \"4KiB\"",
            Act::Greet(header(3, 20, 5_000).to_vec()),
        ),
        ("message_size", "message_size = \"64KiB\"", Act::Publish(header(8, 9, 70_000).to_vec())),
        ("partial_bytes", "message_size = \"64KiB\"\npartial_bytes = \"64KiB\"", Act::Publish(two_halves())),
        ("chunk_streams", "chunk_streams = 4", Act::Greet(many_streams())),
        ("amf_depth", "amf_depth = 2", Act::Greet(command("connect", &[nested]))),
        ("amf_values", "amf_values = 16", Act::Greet(command("connect", &vec![Value::Null; 15]))),
        ("amf_string", "amf_string = \"256B\"", Act::Greet(command("connect", &[long]))),
        ("protocol", "", Act::Say(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec())),
        ("protocol", "", Act::Greet(message(8, 9, b"\x17\x01media before it is let in"))),
    ] {
        let relayd = guarded(limits, "").await;
        let mut peer = match &act {
            Act::Publish(_) => Stranger::publishing(&url(&relayd, "live/secret-key")).await.unwrap(),
            _ => Stranger::connect(relayd.ingest()).await.unwrap(),
        };
        if let Act::Greet(_) = &act {
            peer.greet().await.unwrap();
        }
        if let Act::Say(bytes) | Act::Greet(bytes) | Act::Publish(bytes) = &act {
            peer.say(bytes).await;
        }
        peer.ended().await;
        counted(&relayd, reason, 1.0).await;
        relayd.logs(&format!("reason=\"{reason}\"")).await;
        present(&relayd, 0.0, 0.0).await;
        assert_eq!(relayd.metric("relayd_ingest_accepted_total").await, 1.0);
        if let Act::Publish(_) = &act {
            relayd.until("r", "the input was lost", |status| !status["inputs"][0]["last_error"].is_null()).await;
        }
    }
}

#[tokio::test]
async fn a_publisher_that_falls_silent_is_closed_and_lost() {
    let relayd = guarded("", "idle_timeout = \"300ms\"").await;
    let mut silent = Stranger::publishing(&url(&relayd, "live/secret-key")).await.unwrap();
    silent.ended().await;
    counted(&relayd, "idle_timeout", 1.0).await;
    let lost = |status: &serde_json::Value| status["inputs"][0]["last_error"]["kind"] == "no_bytes";
    relayd.until("r", "the input was lost", lost).await;
    assert_eq!(relayd.metric("relayd_input_lost_total{input=\"studio\",reason=\"no_bytes\",relay=\"r\"}").await, 1.0);
}

#[tokio::test]
async fn a_crowd_of_one_address_pushes_out_itself() {
    let relayd = guarded("ingest_per_address = 2", "").await;
    let other = Stranger::connect_from(Ipv4Addr::new(127, 0, 0, 9), relayd.ingest()).await.unwrap();
    let mut first = Stranger::connect(relayd.ingest()).await.unwrap();
    let second = Stranger::connect(relayd.ingest()).await.unwrap();
    present(&relayd, 3.0, 0.0).await;
    let third = Stranger::connect(relayd.ingest()).await.unwrap();
    first.ended().await;
    counted(&relayd, "ingest_per_address", 1.0).await;
    present(&relayd, 3.0, 0.0).await;
    assert!(other.is_open() && second.is_open() && third.is_open());

    // A publisher comes in all the same, and is never the one to go.
    let publisher = Stranger::publishing(&url(&relayd, "live/secret-key")).await.unwrap();
    counted(&relayd, "ingest_per_address", 2.0).await;
    let _fourth = Stranger::connect(relayd.ingest()).await.unwrap();
    counted(&relayd, "ingest_per_address", 3.0).await;
    assert!(publisher.is_open() && other.is_open());
}

#[tokio::test]
async fn an_address_whose_publishers_fill_it_is_refused() {
    let parts = [push("a", "live/a"), push("b", "live/b"), failover("stall_timeout = \"1h\"")];
    let relayd = start(&format!("{INGEST}[limits]\ningest_per_address = 2\n{}", relay("r", &parts))).await;
    let _a = Stranger::publishing(&url(&relayd, "live/a")).await.unwrap();
    let _b = Stranger::publishing(&url(&relayd, "live/b")).await.unwrap();
    let mut refused = Stranger::connect(relayd.ingest()).await.unwrap();
    refused.ended().await;
    counted(&relayd, "ingest_per_address", 1.0).await;
    present(&relayd, 0.0, 2.0).await;
}

#[tokio::test]
async fn too_many_strangers_cost_the_largest_crowd_its_oldest() {
    for (reason, limits) in
        [("ingest_unauthenticated", "ingest_unauthenticated = 4"), ("ingest_connections", "ingest_connections = 4")]
    {
        let relayd = guarded(limits, "").await;
        let ingest = relayd.ingest();
        let from = async |n: u8| Stranger::connect_from(Ipv4Addr::new(127, 0, 0, n), ingest).await.unwrap();
        let loner = from(9).await;
        let mut crowd = [from(1).await, from(1).await, from(1).await];
        present(&relayd, 4.0, 0.0).await;
        let newcomer = from(8).await;
        crowd[0].ended().await;
        counted(&relayd, reason, 1.0).await;
        assert!(loner.is_open() && newcomer.is_open() && crowd[1].is_open() && crowd[2].is_open(), "{reason}");
    }
}

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
    answers.dedup();
    assert_eq!(answers, ["BadName (at publish)"]);
    let shown = format!("{}{}", relayd.status("r").await, relayd.stderr());
    for secret in ["live/open", "live/signed", "live/unknown", "0123456789abcdef", "txSecret", "7fffffff"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
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

fn descriptors_for_a_crowd() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// One of a crowd's hostile members: begins anew whenever it is closed.
async fn harass(ingest: SocketAddr, n: usize) {
    let connect = || Stranger::connect_from(Ipv4Addr::new(127, 0, 1, (n % 200) as u8 + 1), ingest);
    loop {
        let Ok(mut peer) = connect().await else { continue };
        let greeted = match n % 8 {
            0 | 3 => Ok(()),
            _ => peer.greet().await,
        };
        if greeted.is_err() {
            continue;
        }
        match n % 8 {
            0 => peer.say(b"\x16\x03\x01\x02\x00\x01 hello").await,
            // A message that is never finished.
            1 => peer.say(&[&header(3, 20, 65_000)[..], &[5; 64_000]].concat()).await,
            // Many of them, a byte each.
            2 => {
                peer.say(&message(2, 1, &[0, 0, 0, 1])).await;
                for chunk_stream in 3..60 {
                    peer.say(&[&header(chunk_stream, 20, 65_000)[..], &[5]].concat()).await;
                }
            }
            3 => {
                let _ = peer.ask("live", "guess").await;
            }
            4 => peer.say(&command("connect", &vec![Value::Null; 5_000])).await,
            // Comes and goes.
            5 => continue,
            // Drips.
            6 => {
                for byte in header(3, 20, 60_000) {
                    peer.say(&[byte]).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            // Asks and does not listen.
            _ => {
                let ask = command("releaseStream", &[Value::Null]).repeat(2_000);
                let _ = tokio::time::timeout(Duration::from_secs(2), peer.say(&ask)).await;
            }
        }
        while peer.is_open() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How late frames came, in ms, at the 99th percentile.
fn p99(frames: &[&testkit::Received], encode: &Encode) -> u128 {
    let late = |message: &&testkit::Received| {
        let due = encode.clock().at(message.id().unwrap().position());
        message.at.saturating_duration_since(due).as_millis()
    };
    let mut delays: Vec<_> = frames.iter().map(late).collect();
    delays.sort_unstable();
    delays[delays.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_and_two_hundred_hostile_leave_the_relay_alone() {
    descriptors_for_a_crowd();
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let parts = [push("studio", "live/secret-key"), output("1", &ingest.url("key"), "")];
    // All of them are to stay: with the default limits most would be closed at once.
    let limits = "ingest_connections = 4000\ningest_per_address = 2000\ningest_unauthenticated = 3000\n\
                  handshake_timeout = \"1m\"\npublish_timeout = \"1m\"\n";
    let relayd = start(&format!("{INGEST}[limits]\n{limits}{}", relay("r", &parts))).await;
    let _publisher = Publisher::start(&url(&relayd, "live/secret-key"), &encode).await.unwrap();
    let quiet = ingest.published(200).await.frames().count();
    let before = relayd.metric("process_resident_memory_bytes").await;

    let address = relayd.ingest();
    let mut idle = Vec::new();
    for n in 0..1_000 {
        let mut stranger = Stranger::connect(address).await.unwrap();
        if n % 2 == 0 {
            stranger.greet().await.unwrap();
        }
        idle.push(stranger);
    }
    let hostile: Vec<_> = (0..200).map(|n| tokio::spawn(harass(address, n))).collect();
    let crowded = ingest.published(quiet + 20).await.frames().count();
    let record = ingest.published(crowded + 400).await;
    let after = relayd.metric("process_resident_memory_bytes").await;

    assert!(idle.iter().all(Stranger::is_open), "the idle ones were to stay");
    assert!(relayd.metric("relayd_ingest_connections{state=\"unauthenticated\"}").await > 1_050.0);
    for reason in ["protocol", "unknown_key", "amf_values"] {
        assert!(closed(&relayd, reason).await > 10.0, "{reason}: {}", closed(&relayd, reason).await);
    }
    let grown = (after - before) / f64::from(1 << 20);
    let frames: Vec<_> = record.frames().collect();
    let (alone, beside) = (p99(&frames[..quiet], &encode), p99(&frames[crowded..], &encode));
    println!("RSS grew by {grown:.1} MiB; 99 % of the frames came within {alone} ms alone, {beside} ms in the crowd");
    assert!(grown < 64.0, "RSS grew by {grown:.1} MiB");
    judge::clean(&record, &encode);
    hostile.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_gets_through_a_crowd_at_the_default_limits() {
    descriptors_for_a_crowd();
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let parts = [push("studio", "live/secret-key"), output("1", &ingest.url("key"), "")];
    let relayd = start(&format!("{INGEST}{}", relay("r", &parts))).await;
    let address = relayd.ingest();
    let mut idle = Vec::new();
    for n in 0..1_000_u32 {
        let from = Ipv4Addr::new(127, 0, 2, (n / 10) as u8 + 1);
        idle.push(Stranger::connect_from(from, address).await.unwrap());
    }
    present(&relayd, 256.0, 0.0).await;
    counted(&relayd, "ingest_unauthenticated", 744.0).await;
    let _publisher = Publisher::start(&url(&relayd, "live/secret-key"), &encode).await.unwrap();
    let record = ingest.published(60).await;
    judge::clean(&record, &encode);
    assert!(!record.ids(Track::Video).is_empty());
    present(&relayd, 255.0, 1.0).await;
}
