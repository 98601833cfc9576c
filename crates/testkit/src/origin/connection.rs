//! One client of an origin.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Control, Request, State, lock};
use crate::encode::Encode;
use crate::feed::{Feed, Piece, Playback, Source};

/// Reads a request's head.
pub(super) async fn read_request(socket: &mut TcpStream) -> io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Request { target, headers, at: Instant::now() })
}

/// Answers with a status and no media.
pub(super) async fn refuse(socket: &mut TcpStream, status: u16, location: Option<&str>) -> io::Result<()> {
    let location = location.map(|url| format!("Location: {url}\r\n")).unwrap_or_default();
    let answer = format!("HTTP/1.1 {status} X\r\n{location}Content-Length: 2\r\nConnection: close\r\n\r\nno");
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

/// Serves a feed until it ends, the client leaves, or the test kills it.
pub(super) async fn serve(mut socket: TcpStream, request: Request, state: &Arc<State>) -> io::Result<()> {
    lock(&state.requests).push(request);
    let feed = &state.feed;
    let control = state.control.subscribe();
    let ended = state.control.subscribe();
    let Control { status, generation, .. } = control.borrow().clone();
    let status = status.unwrap_or(feed.status);
    if status != 200 {
        return refuse(&mut socket, status, feed.location.as_deref()).await;
    }
    let first = state.origin.get().is_none();
    let origin = state.origin();
    let (reader, writer) = socket.into_split();
    let body = Body { writer, chunked: feed.chunked, dribble: feed.dribble };
    let play = async {
        match &feed.source {
            Source::Live(encode) => play(feed, encode, origin, first, body, control).await,
            Source::Whole(content_type, content) => whole(content_type, content, body).await,
        }
    };
    tokio::select! {
        result = play => result,
        () = client_left(reader) => Ok(()),
        () = superseded(ended, generation) => Ok(()),
    }
}

async fn whole(content_type: &str, content: &Bytes, mut body: Body) -> io::Result<()> {
    let length = (!body.chunked).then_some(content.len());
    body.start(content_type, length).await?;
    body.put(content).await?;
    body.finish().await
}

async fn play(
    feed: &Feed,
    encode: &Encode,
    origin: u64,
    first: bool,
    mut body: Body,
    mut control: watch::Receiver<Control>,
) -> io::Result<()> {
    body.start("video/x-flv", None).await?;
    let mut playback = Playback::new(feed, encode, origin, first);
    loop {
        match playback.next() {
            Piece::Bytes(due, bytes) => {
                sleep_until(due).await;
                if control.wait_for(|control| !control.stalled).await.is_err() {
                    return Ok(());
                }
                body.put(&bytes).await?;
            }
            Piece::Stall(due) => {
                sleep_until(due).await;
                std::future::pending::<()>().await;
            }
            Piece::End => return body.finish().await,
        }
    }
}

struct Body {
    writer: OwnedWriteHalf,
    chunked: bool,
    dribble: bool,
}

impl Body {
    async fn start(&mut self, content_type: &str, length: Option<usize>) -> io::Result<()> {
        let framing = match (self.chunked, length) {
            (true, _) => "Transfer-Encoding: chunked".to_owned(),
            (false, Some(length)) => format!("Content-Length: {length}\r\nConnection: close"),
            (false, None) => "Connection: close".to_owned(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n");
        self.writer.write_all(head.as_bytes()).await
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = if self.dribble { fastrand::usize(1..=90).min(rest.len()) } else { rest.len() };
            let (piece, after) = rest.split_at(len);
            rest = after;
            if self.chunked {
                let mut framed = format!("{len:x}\r\n").into_bytes();
                framed.extend_from_slice(piece);
                framed.extend_from_slice(b"\r\n");
                self.writer.write_all(&framed).await?;
            } else {
                self.writer.write_all(piece).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        if self.chunked {
            self.writer.write_all(b"0\r\n\r\n").await?;
        }
        self.writer.shutdown().await
    }
}

async fn client_left(mut reader: OwnedReadHalf) {
    let mut buffer = [0; 256];
    while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

async fn superseded(mut control: watch::Receiver<Control>, generation: u64) {
    // An error means that the feed is gone, which ends its connections as well.
    let _ = control.wait_for(|control| control.generation != generation).await;
}
