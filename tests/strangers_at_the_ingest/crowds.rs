//! Many at once: who has to go, and what they cost those who were let in.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use flv::amf0::Value;
use testkit::{
    Encode, Ingest, Publisher, Stranger, Track, judge,
    stranger::{command, header, message},
};

use super::{INGEST, closed, counted, guarded, present, url};
use crate::stage::{failover, output, push, relay, start};

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
                    if tokio::time::timeout(Duration::from_millis(200), peer.closed()).await.is_ok() {
                        break;
                    }
                }
            }
            // Asks and does not listen.
            _ => {
                let ask = command("releaseStream", &[Value::Null]).repeat(2_000);
                let _ = tokio::time::timeout(Duration::from_secs(2), peer.say(&ask)).await;
            }
        }
        peer.closed().await;
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
    // What came before the output joined was late for that.
    let joined = ingest.published(60).await.frames().count();
    let quiet = ingest.published(joined + 200).await.frames().count();
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
    let (alone, beside) = (p99(&frames[joined..quiet], &encode), p99(&frames[crowded..], &encode));
    println!("RSS grew by {grown:.1} MiB; 99 % of the frames came within {alone} ms alone, {beside} ms in the crowd");
    assert!(grown < 64.0, "RSS grew by {grown:.1} MiB");
    assert!(beside <= NOISE.max(2 * alone), "{beside} ms in the crowd, {alone} ms alone");
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

/// How late frames may come, in ms, for no fault of the crowd: on two cores that other tests keep busy, four times as late as
/// on idle ones.
const NOISE: u128 = 250;
