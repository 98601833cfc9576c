//! One encode served twice: whatever happens to the primary, the platform records it whole.

use std::time::Duration;

use testkit::TempDir;

use crate::clip::Clip;
use crate::compare::whole;
use crate::ffmpeg::{Encoded, decode, encode, serve};
use crate::nginx::Nginx;
use crate::programs::Running;
use crate::stage::{failover, input_of, output, pull, relay, start};

/// Relays a clip from two servers to a platform, lets `strike` hit the primary, and compares what was recorded.
async fn recorded_whole_despite(strike: impl AsyncFnOnce(Running) -> Option<Running>, reason: &str) {
    let folder = TempDir::new();
    let Encoded { path, clip } = encode(&folder, "programme", "320x180", 12).await;
    let platform = Nginx::start().await;
    let (primary, first_url) = serve(&folder, "first", &path).await;
    let (_backup, second_url) = serve(&folder, "second", &path).await;
    let parts = [
        pull("primary", &first_url, ""),
        pull("backup", &second_url, ""),
        failover("hold = \"1s\"\nstall_timeout = \"1s\""),
        output("1", &platform.url(), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;
    relayd
        .until("r", "the backup is aligned and 4 s are relayed", |status| {
            input_of(status, "backup")["aligned_with"] == "primary" && status["timeline_ms"].as_i64() > Some(4_300)
        })
        .await;

    let _struck = strike(primary).await;

    relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    let ledger = relayd.get("/api/v1/relays/r/ledger").await.json();
    let splices: Vec<_> =
        ledger["events"].as_array().unwrap().iter().filter(|event| event["type"] == "splice").collect();
    assert_eq!((splices.len(), &splices[0]["reason"]), (1, &reason.into()), "{ledger}");
    let recording = platform.recorded(Duration::from_secs(25)).await;
    assert_eq!(decode(&recording).await, "");
    whole(&clip, &Clip::read(&recording).await).unwrap();
}

#[tokio::test]
async fn a_killed_primary_costs_no_packet() {
    let kill = async |primary: Running| {
        primary.kill().await;
        None
    };
    recorded_whole_despite(kill, "eof").await;
}

#[tokio::test]
async fn a_frozen_primary_costs_no_packet() {
    let freeze = async |primary: Running| {
        primary.freeze();
        Some(primary)
    };
    recorded_whole_despite(freeze, "no_bytes").await;
}
