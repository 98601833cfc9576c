//! A stream that ffmpeg publishes to the ingest arrives whole at real platforms.

use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::TempDir;

use crate::clip::Clip;
use crate::compare::whole;
use crate::ffmpeg::{encode, publish};
use crate::nginx::Nginx;
use crate::stage::{failover, output, push, push_with, relay, setup, start};

/// ffmpeg verifies no certificate unless it is told to.
#[tokio::test]
async fn a_publisher_over_tls_with_a_signed_url_is_recorded_whole() {
    let folder = TempDir::new();
    let source = encode(&folder, "source", "320x180", 6).await;
    let platform = Nginx::start().await;
    let pem = |name: &str| std::fs::read(repository("fixtures/tls").join(name)).unwrap();
    let ingest = "[ingest]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"127.0.0.1:0\"\ntls_cert = \"cert.pem\"\ntls_key = \"cert.key\"\n";
    let signed = push_with("camera", "live/camera", "auth = { tx_key = \"0123456789abcdef\" }");
    let parts = [signed, failover("hold = \"1s\""), output("1", &platform.url(), "")];
    let setup = setup(&format!("{ingest}{}", relay("r", &parts)));
    let relayd = setup.file("cert.pem", pem("one.pem")).file("cert.key", pem("one.key")).start().await;

    let secret = rtmp::ingest::tx_secret(b"0123456789abcdef", b"camera", b"7FFFFFFF");
    let query = format!("txSecret={}&txTime=7FFFFFFF", String::from_utf8_lossy(&secret));
    let url = format!("rtmps://{}/live/camera?{query}", relayd.tls_ingest());
    let mut publisher = publish(&folder, &source.path, &url);
    let recorded = Clip::read(platform.recorded(Duration::from_secs(25)).await).await;
    whole(&source.clip, &recorded).unwrap();
    let status = publisher.ended(Duration::from_secs(5)).await;
    assert!(status.success() && publisher.log().is_empty(), "{status}: {}", publisher.log());
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

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
