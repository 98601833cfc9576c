//! A backup of another encode takes over within one publish session of a real platform.

use std::time::Duration;

use testkit::TempDir;

use crate::clip::Clip;
use crate::compare::{monotonic, part, split, to_the_end};
use crate::ffmpeg::{decode, encode, serve};
use crate::nginx::Nginx;
use crate::stage::{failover, output, pull, relay, start};

#[tokio::test]
async fn a_backup_of_another_size_takes_over_within_one_session() {
    let folder = TempDir::new();
    let (primary, backup) =
        tokio::join!(encode(&folder, "primary", "320x180", 12), encode(&folder, "backup", "256x144", 12));
    let platform = Nginx::start().await;
    let (first, first_url) = serve(&folder, "first", &primary.path).await;
    let (_second, second_url) = serve(&folder, "second", &backup.path).await;
    let parts = [
        pull("primary", &first_url, ""),
        pull("backup", &second_url, ""),
        failover("hold = \"1s\""),
        output("1", &platform.url(), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;

    relayd.until("r", "4 s are relayed", |status| status["timeline_ms"].as_i64() > Some(4300)).await;
    first.kill().await;

    let recording = platform.recorded(Duration::from_secs(25)).await;
    assert_eq!(decode(&recording).await, "");
    let recorded = Clip::read(&recording).await;
    monotonic(&recorded).unwrap();
    let (before, after) = split(&recorded, &primary.clip);
    let before = part(&primary.clip, &before).unwrap();
    assert_eq!(before.video.start, 0);
    let span = part(&backup.clip, &after).unwrap();
    to_the_end(&backup.clip, &span).unwrap();
    let back = span.video.start as i64 - before.video.end as i64;
    // Up to a GOP is repeated or waited for.
    assert!((-25..=40).contains(&back), "{before:?}, then {span:?}");
}
