//! A pulled stream arrives whole at real platforms.

use std::time::Duration;

use testkit::{Relayd, TempDir};

use crate::clip::Clip;
use crate::compare::{part, to_the_end, whole};
use crate::ffmpeg::{encode, receive, serve};
use crate::nginx::{Nginx, recording};
use crate::stage::{failover, output, pull, relay, start};

/// From the start of a stream of up to 12 s until everything has ended.
const STREAM: Duration = Duration::from_secs(25);

/// Outputs end soon after their input.
const HOLD: &str = "hold = \"1s\"";

#[tokio::test]
async fn three_platforms_record_every_packet() {
    let folder = TempDir::new();
    let source = encode(&folder, "source", "320x180", 8).await;
    let platforms = [Nginx::start().await, Nginx::start().await, Nginx::start().await];
    let (_server, url) = serve(&folder, "primary", &source.path).await;
    let _relayd = publish(&url, &platforms.each_ref().map(Nginx::url)).await;

    for platform in &platforms {
        let recorded = Clip::read(platform.recorded(STREAM).await).await;
        whole(&source.clip, &recorded).unwrap();
    }
}

#[tokio::test]
async fn a_platform_that_dies_and_returns_disturbs_no_other() {
    let folder = TempDir::new();
    let source = encode(&folder, "source", "320x180", 12).await;
    let (first, second, third) = (Nginx::start().await, Nginx::start().await, Nginx::start().await);
    let (_server, url) = serve(&folder, "primary", &source.path).await;
    let relayd = publish(&url, &[first.url(), second.url(), third.url()]).await;

    relayd.until("r", "3 s are relayed", |status| status["timeline_ms"].as_i64() > Some(3000)).await;
    let (third, before) = third.replace().await;

    for platform in [&first, &second] {
        let recorded = Clip::read(platform.recorded(STREAM).await).await;
        whole(&source.clip, &recorded).unwrap();
    }
    let after = Clip::read(third.recorded(STREAM).await).await;
    let span = part(&source.clip, &after).unwrap();
    to_the_end(&source.clip, &span).unwrap();
    let before = part(&source.clip, &Clip::read(recording(&before)).await).unwrap();
    assert_eq!(before.video.start, 0);
    assert!(span.video.start <= before.video.end + 75, "back after 3 s only: {before:?}, then {span:?}");
}

#[tokio::test]
async fn ffmpeg_as_the_platform_receives_every_packet() {
    let folder = TempDir::new();
    let source = encode(&folder, "source", "320x180", 8).await;
    let (mut server, target, received) = receive(&folder).await;
    let (_server, url) = serve(&folder, "primary", &source.path).await;
    let _relayd = publish(&url, &[target]).await;

    let status = server.ended(STREAM).await;
    assert!(status.success(), "{status}: {}", server.log());
    whole(&source.clip, &Clip::read(received).await).unwrap();
}

async fn publish(source: &str, targets: &[String]) -> Relayd {
    let outputs = targets.iter().zip(1..).map(|(target, id)| output(&id.to_string(), target, ""));
    let parts: Vec<_> = [pull("primary", source, ""), failover(HOLD)].into_iter().chain(outputs).collect();
    start(&relay("r", &parts)).await
}
