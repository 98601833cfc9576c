//! A stream that ffmpeg publishes to the ingest arrives whole at real platforms.

use std::time::Duration;

use testkit::TempDir;

use crate::clip::Clip;
use crate::compare::whole;
use crate::ffmpeg::{encode, publish};
use crate::nginx::Nginx;
use crate::stage::{failover, output, push, relay, start};

#[tokio::test]
async fn two_platforms_record_every_packet_of_a_publisher() {
    let folder = TempDir::new();
    let source = encode(&folder, "source", "320x180", 8).await;
    let platforms = [Nginx::start().await, Nginx::start().await];
    let parts = [
        push("camera", "live/camera"),
        failover("hold = \"1s\""),
        output("1", &platforms[0].url(), ""),
        output("2", &platforms[1].url(), ""),
    ];
    let relayd = start(&format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("r", &parts))).await;
    let url = format!("rtmp://{}/live/camera", relayd.ingest());
    let mut publisher = publish(&folder, &source.path, &url);

    for platform in &platforms {
        let recorded = Clip::read(platform.recorded(Duration::from_secs(25)).await).await;
        whole(&source.clip, &recorded).unwrap();
    }
    let status = publisher.ended(Duration::from_secs(5)).await;
    assert!(status.success() && publisher.log().is_empty(), "{status}: {}", publisher.log());
}
