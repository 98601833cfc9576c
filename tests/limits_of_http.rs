//! What HTTP servers and HTTP clients may take.

use std::{io, net::SocketAddr};

use serde_json::Value;
use testkit::{DEADLINE, Encode, Feed, Origin, Relayd, Served, eventually, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::stage::{pull, relay, start, vod};

/// A daemon that pulls a feed within `[limits]`.
async fn pulling(feed: &Served, limits: &str) -> Relayd {
    start(&format!("[limits]\n{limits}\n{}", relay("r", &[pull("main", feed.url(), "")]))).await
}

/// Waits until the input was lost with this in its error, and for this reason.
async fn lost(relayd: &Relayd, reason: &str, words: &str) {
    let is_lost = |status: &Value| {
        let error = &status["inputs"][0]["last_error"];
        error["kind"] == reason && error["message"].as_str().is_some_and(|message| message.contains(words))
    };
    relayd.until("r", &format!("lost with {words}"), is_lost).await;
    let series = format!("relayd_input_lost_total{{input=\"main\",reason=\"{reason}\",relay=\"r\"}}");
    assert!(relayd.metric(&series).await >= 1.0, "it is counted");
}

#[tokio::test]
async fn sources_within_the_limits_are_read_and_others_are_lost() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let plain = origin.serve("plain", Feed::of(&encode));
    let far = origin.serve("far", Feed::redirect_to(plain.url()));
    let farther = origin.serve("farther", Feed::redirect_to(far.url()));
    let damaged = Feed::of(&encode).garbage_at(1_000, 500).garbage_at(2_000, 500).garbage_at(3_000, 500);
    let damaged = origin.serve("damaged", damaged);

    for (feed, limits) in [(&farther, "redirects = 2"), (&plain, "http_headers = 2\nhttp_head = \"1KiB\"")] {
        let relayd = pulling(feed, limits).await;
        relayd.until("r", limits, |status| status["inputs"][0]["state"] == "live").await;
    }
    for (feed, limits, reason, words) in [
        (&farther, "redirects = 1", "http_status", "too many redirects"),
        (&far, "redirects = 0", "http_status", "too many redirects"),
        (&plain, "http_headers = 1", "http_status", "2 header fields"),
        (&damaged, "resyncs = \"2/10s\"", "resync", "limits.resyncs"),
    ] {
        lost(&pulling(feed, limits).await, reason, words).await;
    }
}

#[tokio::test]
async fn a_response_with_long_header_fields_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/long.flv", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\nFLV", "x".repeat(2_000));
            let _ = socket.write_all(head.as_bytes()).await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
    });
    let relayd = start(&format!("[limits]\nhttp_head = \"1KiB\"\n{}", relay("r", &[pull("main", &url, "")]))).await;
    lost(&relayd, "http_status", "bytes of header fields").await;
}

async fn refused(relayd: &Relayd, reason: &str, count: f64) {
    eventually(&format!("{count} refused with {reason}"), DEADLINE, async || {
        let seen = relayd.metric(&format!("relayd_http_refused_total{{reason=\"{reason}\"}}")).await;
        if seen == count { Ok(()) } else { Err(format!("{seen}; log:\n{}", relayd.stderr())) }
    })
    .await;
}

/// Sends these bytes and gives all that is answered, until the server closes.
async fn converse(to: SocketAddr, bytes: &[u8]) -> io::Result<String> {
    let mut socket = TcpStream::connect(to).await?;
    socket.write_all(bytes).await?;
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, socket.read_to_end(&mut answer)).await.expect("the server closes");
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused_and_counted() {
    let limits = "admin_headers = 8\nadmin_head = \"8KiB\"\nadmin_body = \"1KiB\"\nviewers = 0\n";
    let relayd = start(&format!("[limits]\n{limits}{}", relay("r", &[]))).await;
    let get = |fields: &str| format!("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n");

    let close = "Connection: close\r\n";
    assert!(converse(relayd.admin(), get(close).as_bytes()).await.unwrap().starts_with("HTTP/1.1 200 "));
    let many = get(&"X: y\r\n".repeat(8));
    assert!(converse(relayd.admin(), many.as_bytes()).await.unwrap().starts_with("HTTP/1.1 431 "));
    refused(&relayd, "admin_head", 1.0).await;
    let long = get(&format!("X: {}\r\n", "y".repeat(9 << 10)));
    assert!(converse(relayd.admin(), long.as_bytes()).await.unwrap().starts_with("HTTP/1.1 431 "));
    refused(&relayd, "admin_head", 2.0).await;

    let body = [b' '; 1_025];
    assert_eq!(relayd.send("POST", "/api/v1/relays/r/switch", &body[1..]).await.status, 422);
    assert_eq!(relayd.send("POST", "/api/v1/relays/r/switch", &body).await.status, 413);
    refused(&relayd, "admin_body", 1.0).await;
    assert_eq!(relayd.get("/live/r.flv").await.status, 503);
    refused(&relayd, "viewers", 1.0).await;
}

#[tokio::test]
async fn a_client_that_does_not_ask_is_let_go() {
    let relayd = start(&format!("[limits]\nadmin_head_timeout = \"300ms\"\n{}", relay("r", &[]))).await;
    for said in ["", "GET /healthz HTTP/1.1\r\nHost: 127"] {
        assert_eq!(converse(relayd.admin(), said.as_bytes()).await.unwrap(), "");
    }
    refused(&relayd, "admin_head_timeout", 2.0).await;

    // Who has been answered and asks no more is closed like that, and has done nothing wrong.
    let ask = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert!(converse(relayd.admin(), ask.as_bytes()).await.unwrap().starts_with("HTTP/1.1 200 "));
    let half = format!("{ask}GET /healthz HTTP/1.1\r\nHost: 127");
    assert!(converse(relayd.admin(), half.as_bytes()).await.unwrap().starts_with("HTTP/1.1 200 "));
    refused(&relayd, "admin_head_timeout", 3.0).await;
}

#[tokio::test]
async fn connections_to_the_http_side_are_limited() {
    let relayd = start(&format!("[limits]\nadmin_connections = 3\n{}", relay("r", &[]))).await;
    let events = http::open(relayd.admin(), "GET", "/api/v1/events", &[], b"").await.unwrap();
    let mut held = vec![TcpStream::connect(relayd.admin()).await.unwrap()];
    held.push(TcpStream::connect(relayd.admin()).await.unwrap());
    let mut refused_one = TcpStream::connect(relayd.admin()).await.unwrap();
    let closed = timeout(DEADLINE, refused_one.read_u8()).await.expect("the server closes");
    assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    relayd.logs("reason=\"admin_connections\"").await;
    drop((held, events));
    eventually("there is room again, and the refusal was counted", DEADLINE, async || {
        let metrics =
            http::request(relayd.admin(), "GET", "/metrics", &[], b"").await.map_err(|error| error.to_string())?;
        let text = metrics.text();
        let counted =
            |line: &str| line.strip_prefix("relayd_http_refused_total{reason=\"admin_connections\"} ") != Some("0");
        if text.lines().any(|line| line.contains("admin_connections") && counted(line)) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_file_is_judged_by_the_same_limits() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let file = origin.serve("file", Feed::file(encode.file(2_000)));
    let config = |limits: &str| format!("[limits]\n{limits}\n{}", relay("r", &[vod("main", &[file.url()], -1)]));
    let relayd = start(&config("http_headers = 1")).await;
    relayd
        .until("r", "the item is left out", |status| {
            status["inputs"][0]["last_error"]["message"].as_str().is_some_and(|text| text.contains("header fields"))
        })
        .await;
    let relayd = start(&config("http_headers = 3")).await;
    relayd.until("r", "it plays", |status| status["inputs"][0]["state"] == "live").await;
}
