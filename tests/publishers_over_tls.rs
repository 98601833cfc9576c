//! RTMPS at the ingest, with another daemon's RTMPS output as the publisher.

use std::{fs, path::Path};

use serde_json::Value;
use testkit::{DEADLINE, Encode, Feed, Ingest, Origin, Relayd, Signal, Stranger, eventually, judge};

use crate::stage::{output, output_of, pull, push, relay, setup};

fn pem(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tls").join(name)).unwrap()
}

const INGEST: &str = "[ingest]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"127.0.0.1:0\"\ntls_cert = \"cert.pem\"\n\
                      tls_key = \"cert.key\"\n";

/// A daemon that pulls a feed and publishes it over RTMPS to a server whose certificate it trusts.
async fn publisher(feed: &str, server: &Relayd, key: &str, trusted: &str) -> Relayd {
    let url = format!("rtmps://{}/live/{key}", server.tls_ingest());
    let parts = [pull("main", feed, ""), output("1", &url, "ca_file = \"ca.pem\"")];
    setup(&relay("r", &parts)).file("ca.pem", pem(trusted)).start().await
}

fn is_live(status: &Value) -> bool {
    output_of(status, "1")["state"] == "live"
}

#[tokio::test]
async fn a_publisher_over_tls_is_relayed_and_a_new_certificate_disturbs_nobody() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let parts = [push("one", "live/one"), push("two", "live/two"), output("1", &ingest.url("key"), "")];
    let server = setup(&format!("{INGEST}{}", relay("r", &parts)))
        .file("cert.pem", pem("one.pem"))
        .file("cert.key", pem("one.key"));
    let folder = server.folder().to_owned();
    let server = server.start().await;

    let first = publisher(feed.url(), &server, "one", "one.pem").await;
    judge::clean(&ingest.published(100).await, &encode);

    // A key that is not the certificate's changes nothing.
    fs::write(folder.join("cert.pem"), pem("two.pem")).unwrap();
    server.signal(Signal::HUP);
    server.logs("ingest.tls_key: the key is not that of the certificate").await;
    fs::write(folder.join("cert.key"), pem("two.key")).unwrap();
    server.signal(Signal::HUP);
    server.logs("ingest: tls_cert: changed").await;

    let second = publisher(feed.url(), &server, "two", "two.pem").await;
    second.until("r", "the second publisher is live", is_live).await;
    let third = publisher(feed.url(), &server, "two", "one.pem").await;
    let refused = |status: &Value| output_of(status, "1")["last_error"]["kind"] == "tls";
    third.until("r", "the old certificate is not shown any more", refused).await;

    let frames = ingest.records()[0].frames().count();
    judge::clean(&ingest.published(frames + 60).await, &encode);
    let status = first.status("r").await;
    assert_eq!((&output_of(&status, "1")["reconnects"], is_live(&status)), (&0.into(), true), "{status:#}");
}

#[tokio::test]
async fn the_listener_comes_moves_and_goes_with_a_reload() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let parts = [push("one", "live/one"), push("two", "live/two"), output("1", &ingest.url("key"), "")];
    let config = format!("{INGEST}{}", relay("r", &parts));
    let server = setup(&config).file("cert.pem", pem("one.pem")).file("cert.key", pem("one.key")).start().await;
    let old = server.tls_ingest();
    let first = publisher(feed.url(), &server, "one", "one.pem").await;
    judge::clean(&ingest.published(60).await, &encode);

    server.rewrite(|config| config.replace("tls_listen = \"127.0.0.1:0\"", "tls_listen = \"127.0.0.2:0\""));
    let json = server.reload().await.json();
    assert_eq!(json["changes"], serde_json::json!(["ingest: tls_listen: 127.0.0.1:0 -> 127.0.0.2:0"]));
    server.logs("RTMPS ingest listen=127.0.0.2").await;
    eventually("the old listener is gone", DEADLINE, async || match tokio::net::TcpStream::connect(old).await {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody listens there".to_owned()),
    })
    .await;

    server.rewrite(|config| {
        let tls: String =
            config.lines().filter(|line| !line.starts_with("tls_")).map(|line| format!("{line}\n")).collect();
        tls
    });
    let moved = server.tls_ingest();
    let response = server.reload().await;
    assert_eq!(response.status, 200, "{}", response.text());
    eventually("no listener is left", DEADLINE, async || match tokio::net::TcpStream::connect(moved).await {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody listens there".to_owned()),
    })
    .await;
    // Who is in stays.
    let frames = ingest.records()[0].frames().count();
    judge::clean(&ingest.published(frames + 40).await, &encode);
    let status = first.status("r").await;
    assert_eq!((&output_of(&status, "1")["reconnects"], is_live(&status)), (&0.into(), true), "{status:#}");
}

#[tokio::test]
async fn what_is_no_tls_is_closed() {
    let config = format!("{INGEST}[limits]\nhandshake_timeout = \"400ms\"\n{}", relay("r", &[push("one", "live/one")]));
    let server = setup(&config).file("cert.pem", pem("one.pem")).file("cert.key", pem("one.key")).start().await;
    for (reason, said) in
        [("tls", &b"\x03 a plain RTMP handshake"[..]), ("handshake_timeout", b"\x16"), ("handshake_timeout", b"")]
    {
        let before = server.metric(&format!("relayd_ingest_closed_total{{reason=\"{reason}\"}}")).await;
        let mut stranger = Stranger::connect(server.tls_ingest()).await.unwrap();
        stranger.say(said).await;
        stranger.ended().await;
        eventually(&format!("{reason} is counted"), DEADLINE, async || {
            let seen = server.metric(&format!("relayd_ingest_closed_total{{reason=\"{reason}\"}}")).await;
            if seen == before + 1.0 { Ok(()) } else { Err(format!("{seen}; log:\n{}", server.stderr())) }
        })
        .await;
    }
    // The same listener goes on, and the plain one is another.
    let _plain = Stranger::publishing(&format!("rtmp://{}/live/one", server.ingest())).await.unwrap();
}

#[tokio::test]
async fn a_certificate_with_a_strange_key_is_a_configuration_error() {
    let finished = setup(INGEST).file("cert.pem", pem("one.pem")).file("cert.key", pem("two.key")).run().await;
    assert_eq!(finished.status.code(), Some(78), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("relay.toml:5: ingest.tls_key: the key is not that of the certificate"),
        "{}",
        finished.stderr
    );
}
