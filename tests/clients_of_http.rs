//! Clients of the HTTP side that do not send, do not read, or are too many; and how it lets go of all.

use std::{io, net::SocketAddr, time::Duration};

use testkit::{DEADLINE, Encode, Feed, Origin, Relayd, Signal, eventually, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{interval, timeout},
};

use crate::stage::{pull, relay, setup, start};

fn series(reason: &str) -> String {
    format!("relayd_http_refused_total{{reason=\"{reason}\"}}")
}

/// Waits until so many were refused for this reason, which the log gives too.
async fn refused(relayd: &Relayd, reason: &str, count: f64) {
    eventually(&format!("{count} refused with {reason}"), DEADLINE, async || {
        let seen = relayd.metric(&series(reason)).await;
        if seen == count { Ok(()) } else { Err(format!("{seen}; log:\n{}", relayd.stderr())) }
    })
    .await;
    relayd.logs(&format!("reason=\"{reason}\"")).await;
}

/// What is answered until the server closes. A reset at the end is the server's way out of what was sent meanwhile.
async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, socket.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection from this address of loopback.
async fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// The answer to a GET from this address of loopback; an error when the connection is closed at once.
async fn get_from(address: [u8; 4], to: SocketAddr, path: &str) -> io::Result<String> {
    let mut socket = from(address, to).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let answer = rest(&mut socket).await;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

#[tokio::test]
async fn a_body_that_does_not_come_to_its_end_is_not_waited_for() {
    let relayd = start(&format!("[limits]\nadmin_body_timeout = \"300ms\"\n{}", relay("r", &[]))).await;
    let (length, chunked) = ("Content-Length: 1000", "Transfer-Encoding: chunked");
    for (n, (path, framing, piece)) in [
        ("/api/v1/relays/r/switch", length, " "),
        ("/api/v1/relays/r/switch", chunked, "1\r\n \r\n"),
        // Nobody looks at this body, and it is bounded all the same.
        ("/api/v1/reload", length, " "),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut reader, mut writer) = TcpStream::connect(relayd.admin()).await.unwrap().into_split();
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        let dribble = tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(50));
            while writer.write_all(piece.as_bytes()).await.is_ok() {
                pace.tick().await;
            }
        });
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, reader.read_to_end(&mut answer)).await.expect("the server closes");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path} {framing}: {answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("\"status\":408"), "{answer}");
        refused(&relayd, "admin_body_timeout", (n + 1) as f64).await;
        timeout(DEADLINE, dribble).await.expect("the connection is closed").unwrap();
    }
    assert_eq!(relayd.send("POST", "/api/v1/relays/r/switch", b"{}").await.status, 422, "a whole body is read");
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_let_go_and_the_seat_is_free() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").frame_bytes(200_000, 20_000));
    let (a, b) = (origin.serve("a", Feed::of(&encode)), origin.serve("b", Feed::of(&encode)));
    let inputs = [pull("a", a.url(), ""), pull("b", b.url(), "")];
    let limits = "admin_write_timeout = \"500ms\"\nviewers = 1\nevent_listeners = 1";
    let relayd = start(&format!("[limits]\n{limits}\n{}", relay("r", &inputs))).await;
    relayd.until("r", "both inputs", |status| !status["inputs"][1]["aligned_with"].is_null()).await;

    let mut count = 0.0;
    for (path, requests) in [("/live/r.flv", 1), ("/api/v1/events", 1), ("/metrics", 500)] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        let mut deaf = socket.connect(relayd.admin()).await.unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").repeat(requests);
        deaf.write_all(ask.as_bytes()).await.unwrap();
        count += 1.0;
        let mut inputs = ["a", "b"].into_iter().cycle();
        eventually(&format!("{path}: let go"), DEADLINE, async || {
            // Each is an event: so few that no write ever waits for the client.
            let switch = format!("{{\"input\":\"{}\"}}", inputs.next().unwrap());
            assert_eq!(relayd.send("POST", "/api/v1/relays/r/switch", switch.as_bytes()).await.status, 202);
            let seen = relayd.metric(&series("admin_write_timeout")).await;
            if seen == count { Ok(()) } else { Err(format!("{seen}; log:\n{}", relayd.stderr())) }
        })
        .await;
        rest(&mut deaf).await;
    }
    relayd.logs("reason=\"admin_write_timeout\"").await;
    for path in ["/live/r.flv", "/api/v1/events"] {
        let stream = http::open(relayd.admin(), "GET", path, &[], b"").await.unwrap();
        assert_eq!(stream.status, 200, "{path}");
    }
}

#[tokio::test]
async fn listeners_to_events_have_seats() {
    let relayd = start(&format!("[limits]\nevent_listeners = 1\n{}", relay("r", &[]))).await;
    let open = async || http::open(relayd.admin(), "GET", "/api/v1/events", &[], b"").await.unwrap();
    let first = open().await;
    assert_eq!(first.status, 200);
    let second = relayd.get("/api/v1/events").await;
    assert_eq!((second.status, second.header("content-type")), (503, Some("application/problem+json")));
    assert_eq!(second.json()["status"], 503);
    refused(&relayd, "event_listeners", 1.0).await;
    drop(first);
    eventually("the seat is free", DEADLINE, async || match open().await.status {
        200 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
}

#[tokio::test]
async fn who_asks_and_closes_that_side_is_answered() {
    let relayd = start(&relay("r", &[])).await;
    let ask = |head: &str, body| format!("{head} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{body}");
    let (relays, switch) = (ask("GET /api/v1/relays", "{}"), ask("POST /api/v1/relays/r/switch", "{}"));
    for (asked, statuses) in [
        (relays.clone(), vec!["200"]),
        (switch.clone(), vec!["422"]),
        (format!("{relays}{switch}{relays}"), vec!["200", "422", "200"]),
        (ask("POST /api/v1/relays/r/switch", "{"), vec!["400"]),
    ] {
        let mut socket = TcpStream::connect(relayd.admin()).await.unwrap();
        socket.write_all(asked.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = rest(&mut socket).await;
        let told: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(told, statuses, "{asked}\n{answer}");
        assert!(answer.ends_with('}'), "it is whole: {answer}");
    }
}

/// Nothing is relayed and nothing happens, so that nothing is written either.
#[tokio::test]
async fn who_watches_and_closes_one_side_or_both_has_gone() {
    let relayd = start(&format!("[limits]\nviewers = 1\nevent_listeners = 1\n{}", relay("r", &[]))).await;
    for path in ["/live/r.flv", "/api/v1/events"] {
        let open = async || http::open(relayd.admin(), "GET", path, &[], b"").await.unwrap();
        let free = async || {
            eventually(&format!("{path}: the seat is free"), DEADLINE, async || match open().await {
                stream if stream.status == 200 => Ok(()),
                stream => Err(stream.status.to_string()),
            })
            .await;
        };
        let ask = async |path| {
            let mut client = TcpStream::connect(relayd.admin()).await.unwrap();
            client.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await.unwrap();
            client
        };
        let mut half = ask(path).await;
        half.shutdown().await.unwrap();
        let answer = rest(&mut half).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        free().await;
        // Each look at whether there is one was a viewer who came and went.
        free().await;
        // One who has sent more than a request is noticed as well.
        let mut chatty = ask(path).await;
        let mut answer = [0; 12];
        chatty.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        chatty.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        drop(chatty);
        free().await;
    }
}

#[tokio::test]
async fn one_address_leaves_connections_to_the_others_wherever_the_listener_moves() {
    let limits = "admin_connections = 4\nadmin_per_address = 2";
    let mut relayd = start(&format!("[limits]\n{limits}\n{}", relay("r", &[]))).await;
    let [crowd, other] = [[127, 0, 0, 1], [127, 0, 0, 3]];
    let events = async || http::open(relayd.admin(), "GET", "/api/v1/events", &[], b"").await.unwrap();
    let held = [events().await, events().await];
    assert!(get_from(crowd, relayd.admin(), "/metrics").await.is_err(), "a third is closed");
    let metrics = get_from(other, relayd.admin(), "/metrics").await.unwrap();
    assert!(metrics.contains(&format!("{} 1\n", series("admin_per_address"))), "{metrics}");
    relayd.logs("reason=\"admin_per_address\"").await;

    // What the old listener still holds counts for the new one.
    relayd.rewrite(|config| config.replace("127.0.0.1:0", "127.0.0.2:0"));
    relayd.signal(Signal::HUP);
    relayd.logs("HTTP side listen=127.0.0.2").await;
    relayd.moved(None);
    assert!(get_from(crowd, relayd.admin(), "/metrics").await.is_err(), "a third is closed here as well");
    let idle = [from(other, relayd.admin()).await, from(other, relayd.admin()).await];
    let full = get_from([127, 0, 0, 4], relayd.admin(), "/metrics").await;
    assert!(full.is_err(), "a fifth is closed, whoever it is: {full:?}");
    drop((held, idle));
    eventually("there is room again, and all refusals were counted", DEADLINE, async || {
        let metrics = get_from(crowd, relayd.admin(), "/metrics").await.map_err(|error| error.to_string())?;
        let counted = |reason, count| metrics.contains(&format!("{} {count}\n", series(reason)));
        let all = !counted("admin_connections", 0) && !counted("admin_per_address", 1);
        if all { Ok(()) } else { Err(metrics) }
    })
    .await;
}

#[tokio::test]
async fn what_a_listener_that_has_moved_still_streams_has_a_deadline() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("a", Feed::of(&encode));
    let limits = "[limits]\nadmin_drain = \"300ms\"\n";
    let mut relayd = start(&format!("{limits}{}", relay("r", &[pull("a", feed.url(), "")]))).await;
    let open = async |path| http::open(relayd.admin(), "GET", path, &[], b"").await.unwrap();
    let streams = [open("/live/r.flv").await, open("/api/v1/events").await];
    relayd.rewrite(|config| config.replace("127.0.0.1:0", "127.0.0.2:0"));
    assert_eq!(relayd.reload().await.status, 200, "the one who asked is answered");
    relayd.logs("HTTP side listen=127.0.0.2").await;
    relayd.moved(None);
    for mut stream in streams {
        let cut = async { while let Ok(Some(_)) = stream.next().await {} };
        timeout(DEADLINE, cut).await.expect("the stream is cut");
    }
    refused(&relayd, "admin_drain", 2.0).await;
}

#[tokio::test]
async fn at_the_end_streams_are_ended_and_nobody_is_waited_for() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("a", Feed::of(&encode));
    let mut relayd = start(&relay("r", &[pull("a", feed.url(), "")])).await;
    let open = async |path| http::open(relayd.admin(), "GET", path, &[], b"").await.unwrap();
    let streams = [open("/live/r.flv").await, open("/api/v1/events").await];
    let mut half = TcpStream::connect(relayd.admin()).await.unwrap();
    half.write_all(b"POST /api/v1/relays/r/switch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n")
        .await
        .unwrap();
    relayd.signal(Signal::TERM);
    for mut stream in streams {
        // A whole body: its last chunk comes.
        timeout(DEADLINE, async { while stream.next().await.expect("the stream is ended").is_some() {} })
            .await
            .expect("the stream ends");
    }
    assert!(relayd.wait_exit(Duration::from_secs(5)).await.success(), "{}", relayd.stderr());
    drop(half);
}

/// On loopback a listener may do without a token: the one before it may not.
#[tokio::test]
async fn a_listener_that_has_moved_never_does_without_its_token() {
    let mut relayd = setup(&relay("r", &[])).token("s3cret").start().await;
    let old = relayd.admin();
    // The server takes the head of a first request for work in progress, which it does not cut off.
    let mut half = TcpStream::connect(old).await.unwrap();
    half.write_all(b"GET /api/v1/relays HTTP/1.1\r\nHost: 127.0.0.1\r\n").await.unwrap();
    let bearer = [("Authorization", "Bearer s3cret")];
    let mut stream = http::open(old, "GET", "/api/v1/events", &bearer, b"").await.unwrap();

    relayd.rewrite(|config| config.replace("127.0.0.1:0", "127.0.0.2:0").replace("token_file = \"admin.token\"\n", ""));
    let response = relayd.reload().await;
    assert_eq!(response.status, 200, "{}", response.text());
    relayd.logs("HTTP side listen=127.0.0.2").await;
    relayd.moved(None);
    assert_eq!(relayd.get("/api/v1/relays").await.status, 200, "the new one does without");

    half.write_all(b"\r\n").await.unwrap();
    let answer = rest(&mut half).await;
    // It is closed without a word only if nothing of its head had been read before the listener moved.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // Who had the token is not asked again.
    relayd.rewrite(|config| config.replace("127.0.0.2:0", "127.0.0.3:0"));
    assert_eq!(relayd.reload().await.status, 200);
    relayd.signal(Signal::TERM);
    timeout(DEADLINE, async { while stream.next().await.expect("it goes on to the end").is_some() {} }).await.unwrap();
}

#[tokio::test]
async fn streams_end_with_the_token_that_they_began_with() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("a", Feed::of(&encode));
    let mut relayd = setup(&relay("r", &[pull("a", feed.url(), "")])).token("first").start().await;
    let paths = ["/live/r.flv", "/api/v1/events"];
    let open = async |at, path, token| http::open(at, "GET", &format!("{path}?token={token}"), &[], b"").await.unwrap();
    let streams = [open(relayd.admin(), paths[0], "first").await, open(relayd.admin(), paths[1], "first").await];
    relayd.write("admin.token", "second");
    assert_eq!(relayd.reload().await.status, 200);
    for stream in streams {
        ended(stream).await;
    }
    relayd.moved(Some("second"));
    for path in paths {
        assert_eq!(open(relayd.admin(), path, "first").await.status, 401);
        assert_eq!(open(relayd.admin(), path, "second").await.status, 200);
    }
}

/// Who stays with a listener that has moved is not forgotten.
#[tokio::test]
async fn streams_of_a_listener_that_has_moved_end_with_the_token_that_they_began_with() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("a", Feed::of(&encode));
    let limits = "[limits]\nadmin_drain = \"1h\"\n";
    let config = format!("{limits}{}", relay("r", &[pull("a", feed.url(), "")]));
    let mut relayd = setup(&config).token("first").start().await;
    let bearer = [("Authorization", "Bearer first")];
    let open = async |path| http::open(relayd.admin(), "GET", path, &bearer, b"").await.unwrap();
    let streams = [open("/live/r.flv").await, open("/api/v1/events").await];
    for (from, to) in [("127.0.0.1:0", "127.0.0.2:0"), ("127.0.0.2:0", "127.0.0.3:0")] {
        relayd.rewrite(|config| config.replace(from, to));
        assert_eq!(relayd.reload().await.status, 200);
        relayd.logs(&format!("HTTP side listen={}", &to[..9])).await;
        relayd.moved(Some("first"));
    }
    relayd.write("admin.token", "second");
    assert_eq!(relayd.reload().await.status, 200);
    for stream in streams {
        ended(stream).await;
    }
}

/// Nor is who stays while there is no listener at all.
#[tokio::test]
async fn streams_of_a_listener_that_comes_back_end_with_the_token_that_they_began_with() {
    let config = format!("[limits]\nadmin_drain = \"1h\"\n{}", relay("r", &[]));
    let relayd = setup(&config).token("first").start().await;
    let bearer = [("Authorization", "Bearer first")];
    let mut stream = http::open(relayd.admin(), "GET", "/api/v1/events", &bearer, b"").await.unwrap();
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n";
    relayd.rewrite(|config| config.replace(admin, ""));
    assert_eq!(relayd.reload().await.status, 200);
    relayd.write("admin.token", "second");
    relayd.rewrite(|config| format!("{config}{}", admin.replace("127.0.0.1", "127.0.0.2")));
    relayd.signal(Signal::HUP);
    relayd.logs("HTTP side listen=127.0.0.2").await;
    timeout(DEADLINE, async { while stream.next().await.expect("it is ended").is_some() {} }).await.expect("it ends");
}

#[tokio::test]
async fn a_token_counts_when_the_body_has_come() {
    let mut relayd = setup(&relay("r", &[])).token("first").start().await;
    let mut half = TcpStream::connect(relayd.admin()).await.unwrap();
    let head = "POST /api/v1/relays/r/switch HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer first\r\n\
                Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    half.write_all(head.as_bytes()).await.unwrap();
    // The head has been judged: the body is asked for.
    let mut asked = [0; 25];
    half.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    half.write_all(b"{").await.unwrap();
    let mut public = TcpStream::connect(relayd.admin()).await.unwrap();
    let head = head.replace("POST /api/v1/relays/r/switch", "GET /healthz");
    public.write_all(head.as_bytes()).await.unwrap();
    public.read_exact(&mut asked).await.unwrap();

    relayd.write("admin.token", "second");
    assert_eq!(relayd.reload().await.status, 200);
    relayd.moved(Some("second"));
    half.write_all(b"}").await.unwrap();
    let answer = rest(&mut half).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Bearer"), "{answer}");
    public.write_all(b"{}").await.unwrap();
    let answer = rest(&mut public).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "no token is needed for this: {answer}");
}

/// Reads a stream to an end in good order.
async fn ended(mut stream: http::Streaming) {
    let rest = async { while stream.next().await.expect("it is ended").is_some() {} };
    timeout(DEADLINE, rest).await.expect("it ends");
}
