//! A backup of another encode takes over within one publish session of a real platform.

use std::time::Duration;

use testkit::{TempDir, eventually};

use crate::clip::Clip;
use crate::compare::{monotonic, part, split, to_the_end};
use crate::ffmpeg::{decode, encode, serve, serve_at, url_at};
use crate::nginx::Nginx;
use crate::programs::free_port;
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

/// The primary is killed, comes back with timestamps from 0, and is returned to: one session, one unbroken recording.
#[tokio::test]
async fn a_primary_that_comes_back_is_returned_to_within_one_session() {
    let folder = TempDir::new();
    let (primary, backup) =
        tokio::join!(encode(&folder, "primary", "320x180", 8), encode(&folder, "backup", "320x180", 20));
    let (platform, port) = (Nginx::start().await, free_port());
    let first = serve_at(&folder, "first", &primary.path, port).listening(port).await;
    let (_backup, backup_url) = serve(&folder, "second", &backup.path).await;
    let parts = [
        pull("primary", &url_at(port), ""),
        pull("backup", &backup_url, ""),
        failover("hold = \"1s\"\nrevert_after = \"2s\"\nmin_dwell = \"1s\""),
        output("1", &platform.url(), ""),
    ];
    let relayd = start(&relay("r", &parts)).await;

    relayd.until("r", "3 s are relayed", |status| status["timeline_ms"].as_i64() > Some(3_000)).await;
    first.kill().await;
    relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    let again = serve_at(&folder, "again", &primary.path, port);
    eventually("the primary feeds again", RETURN, async || {
        let status = relayd.status("r").await;
        if status["active_input"] == "primary" { Ok(()) } else { Err(format!("{status}\n{}", again.log())) }
    })
    .await;
    let status = relayd.until("r", "the backup has the last word", |status| status["splices"] == 3).await;
    assert_eq!(status["outputs"][0]["reconnects"], 0, "{status}");

    let recording = platform.recorded(Duration::from_secs(30)).await;
    let recorded = Clip::read(&recording).await;
    monotonic(&recorded).unwrap();
    // Each stretch is a part of its source with one offset over both tracks: no drift between audio and video.
    let (one, rest) = split(&recorded, &primary.clip);
    let (two, rest) = split(&rest, &backup.clip);
    let (three, four) = split(&rest, &primary.clip);
    for (stretch, source) in [(&one, &primary), (&two, &backup), (&three, &primary), (&four, &backup)] {
        part(&source.clip, stretch).unwrap();
    }
}

/// ffmpeg has to start, and to be healthy for two seconds.
const RETURN: Duration = Duration::from_secs(20);
