//! Who comes to the ingest uninvited, or takes more than is good: closed, with a reason that is counted and logged.

mod crowds;
mod keys;

use flv::amf0::{Props, Value};
use testkit::{
    DEADLINE, Relayd, Stranger, eventually,
    stranger::{command, header, message},
};

use crate::stage::{failover, push_with, relay, start};

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
