//! A looped file is one endless stream for a real platform.

use std::time::Duration;

use testkit::{DEADLINE, Signal, TempDir};

use crate::clip::Clip;
use crate::compare::{loops, monotonic, part, to_the_end};
use crate::ffmpeg::{decode, encode};
use crate::nginx::Nginx;
use crate::stage::{output, relay, start, vod};

#[tokio::test]
async fn a_loop_goes_on_without_a_seam() {
    let folder = TempDir::new();
    let source = encode(&folder, "short", "320x180", 3).await;
    let platform = Nginx::start().await;
    let file = format!("file:{}", source.path.display());
    let parts = [vod("short", &[&file], -1), output("1", &platform.url(), "")];
    let mut relayd = start(&relay("r", &parts)).await;

    relayd.until("r", "three rounds are relayed", |status| status["timeline_ms"].as_i64() > Some(9500)).await;
    relayd.signal(Signal::TERM);
    assert!(relayd.wait_exit(Duration::from_secs(5)).await.success());
    let recording = platform.recorded(DEADLINE).await;

    assert_eq!(decode(&recording).await, "");
    let recorded = Clip::read(&recording).await;
    monotonic(&recorded).unwrap();
    let rounds = loops(&recorded, &source.clip);
    assert!(rounds.len() >= 4, "{} rounds", rounds.len());
    for (index, round) in rounds.iter().enumerate() {
        // One offset for both tracks, from their first packets on.
        let span = part(&source.clip, round).unwrap_or_else(|error| panic!("round {index}: {error}"));
        if index + 1 < rounds.len() {
            to_the_end(&source.clip, &span).unwrap_or_else(|error| panic!("round {index}: {error}"));
        }
    }
}
