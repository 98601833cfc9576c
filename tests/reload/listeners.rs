//! Listeners that come, go, move and change places.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use testkit::{DEADLINE, Encode, Feed, Ingest, Origin, Publisher, Relayd, Stranger, eventually, http, judge};
use tokio::net::{TcpSocket, TcpStream};

use super::reload;
use crate::stage::{flows_on, output, pull, push, relay, setup, start};

#[tokio::test]
async fn the_http_side_moves_and_changes_its_token() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    let config = relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")]);
    let mut relayd = setup(&config).token("first").start().await;
    ingest.published(40).await;

    relayd.write("admin.token", "second");
    assert_eq!(reload(&relayd, str::to_owned).await, ["admin: token: changed"]);
    assert_eq!(relayd.get("/api/v1/relays").await.status, 401, "the old token");
    relayd.moved(Some("second"));
    assert_eq!(relayd.get("/api/v1/relays").await.status, 200);
    let mut viewer = http::open(relayd.admin(), "GET", "/live/r.flv?token=second", &[], b"").await.unwrap();

    let old = relayd.admin();
    let changes = reload(&relayd, |config| config.replace("127.0.0.1:0", "127.0.0.2:0")).await;
    assert_eq!(changes, ["admin: listen: 127.0.0.1:0 -> 127.0.0.2:0"]);
    relayd.logs("HTTP side listen=127.0.0.2").await;
    relayd.moved(Some("second"));
    let new = relayd.admin();
    assert_eq!(relayd.get("/readyz").await.status, 200);
    eventually("the old listener is gone", DEADLINE, async || {
        match http::request(old, "GET", "/readyz", &[], b"").await {
            Err(_) => Ok(()),
            Ok(response) => Err(format!("{} from the old address", response.status)),
        }
    })
    .await;
    // Who watches goes on watching.
    for _ in 0..20 {
        assert!(viewer.next().await.unwrap().is_some());
    }
    // Hosts.
    let host = [("Host", "relay.example.com"), ("Authorization", "Bearer second")];
    assert_eq!(http::request(new, "GET", "/api/v1/relays", &host, b"").await.unwrap().status, 403);
    reload(&relayd, |config| format!("{config}hosts = [\"relay.example.com\"]\n")).await;
    assert_eq!(http::request(new, "GET", "/api/v1/relays", &host, b"").await.unwrap().status, 200);
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

/// Reloads until the listeners have these addresses: the HTTP side, RTMP, RTMPS.
async fn listen_on(relayd: &mut Relayd, addresses: [SocketAddr; 3]) {
    let mut addresses_in_order = [addresses[1], addresses[2], addresses[0]].into_iter();
    relayd.rewrite(|config| {
        let with_address = |line: &str| match line.split_once("listen = ") {
            Some((key, _)) => format!("{key}listen = \"{}\"\n", addresses_in_order.next().unwrap()),
            None => format!("{line}\n"),
        };
        config.lines().map(with_address).collect::<String>()
    });
    let response = relayd.reload().await;
    assert_eq!(response.status, 200, "{}", response.text());
    relayd.logs(&format!("HTTP side listen={}", addresses[0])).await;
    relayd.moved(None);
}

/// What an address is for, by what it answers.
async fn serves(relayd: &Relayd, [admin, plain, tls]: [SocketAddr; 3], encode: &Encode) {
    assert_eq!(http::request(admin, "GET", "/readyz", &[], b"").await.unwrap().status, 200);
    drop(Publisher::start(&format!("rtmp://{plain}/live/key"), encode).await.unwrap());
    relayd.until("r", "the publisher has left", |status| status["active_input"].is_null()).await;
    let closed = "relayd_ingest_closed_total{reason=\"tls\"}";
    let before = relayd.metric(closed).await;
    let mut stranger = Stranger::connect(tls).await.unwrap();
    stranger.say(b"\x03 no TLS").await;
    stranger.ended().await;
    eventually("TLS is spoken there", DEADLINE, async || match relayd.metric(closed).await {
        now if now > before => Ok(()),
        now => Err(format!("{now} after {before}")),
    })
    .await;
}

#[tokio::test]
async fn listeners_change_places_in_one_reload() {
    let pem =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tls").join(name)).unwrap();
    let ingest = "[ingest]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"127.0.0.1:0\"\ntls_cert = \"cert.pem\"\n\
                  tls_key = \"cert.key\"\n";
    let config = format!("{ingest}{}", relay("r", &[push("one", "live/key")]));
    let setup = setup(&config).file("cert.pem", pem("one.pem")).file("cert.key", pem("one.key"));
    let (mut relayd, encode) = (setup.start().await, Encode::live("studio"));
    let (a, b, c) = (relayd.admin(), relayd.ingest(), relayd.tls_ingest());
    // The ports that the system chose, named; two and two exchanged; all three around.
    for places in [[a, b, c], [b, a, c], [b, c, a], [c, a, b]] {
        listen_on(&mut relayd, places).await;
        serves(&relayd, places, &encode).await;
    }
}

/// An address that includes one of relayd's own cannot be had while that is open.
#[tokio::test]
async fn an_address_that_its_own_excludes_is_refused_with_the_way_to_get_there() {
    // Bound and not listening, so nobody else is given the port between two reloads, at any address.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let old = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let relayd = start(&format!("[ingest]\nlisten = \"{old}\"\n")).await;
    relayd.rewrite(|config| config.replacen(&old.to_string(), &format!("0.0.0.0:{port}"), 1));
    let response = relayd.reload().await;
    assert_eq!(response.status, 409, "{}", response.text());
    for told in [format!("ingest.listen: cannot listen on 0.0.0.0:{port}"), format!("itself listens on {old}")] {
        assert!(response.text().contains(&told), "{told} is not in {}", response.text());
    }
    // The way that it tells.
    let listen_on = |config: &str, address: &str| {
        let listen = config.lines().find(|line| line.starts_with("listen")).unwrap();
        config.replacen(listen, &format!("listen = \"{address}\""), 1)
    };
    reload(&relayd, |config| listen_on(config, "127.0.0.2:0")).await;
    eventually("the old listener is gone", DEADLINE, async || match TcpStream::connect(old).await {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody listens there".to_owned()),
    })
    .await;
    let changes = reload(&relayd, |config| listen_on(config, &format!("0.0.0.0:{port}"))).await;
    assert_eq!(changes, [format!("ingest: listen: 127.0.0.2:0 -> 0.0.0.0:{port}")]);
}
