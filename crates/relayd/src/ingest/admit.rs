//! A connection from its first byte to its publish command, and the verdict on it.

use std::{
    borrow::Cow,
    io,
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use rtmp::{
    ingest::{Ingest, IngestEvent},
    url::StreamKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{Closed, Door, Guest, IngestTls, Publisher};
use crate::{clock::time_of_day, stream::Stream};

/// Leads a connection up to its wish to publish and hands it to its input, or refuses it.
pub(super) async fn admit(tcp: TcpStream, tls: Option<IngestTls>, door: &Door, mut guest: Guest) {
    match lead(tcp, tls, door).await {
        Ok((stream, session, wish)) => judge(Box::new(Publisher { stream, session, guest }), &wish, door).await,
        Err(Ended(cause, detail)) => guest.closed(cause, &detail),
    }
}

/// What a publisher asks for: app and stream name, with their queries.
type Wish = (Bytes, StreamKey);

/// Why it does not come to that.
struct Ended(Closed, Cow<'static, str>);

async fn lead(tcp: TcpStream, tls: Option<IngestTls>, door: &Door) -> Result<(Stream, Ingest, Wish), Ended> {
    let start = Instant::now();
    let greeted_by = start + door.limits.handshake_timeout;
    let published_by = start + door.limits.publish_timeout;
    let opened = timeout_at(greeted_by, open(tcp, tls)).await;
    let mut stream = opened.unwrap_or(Err(Ended(Closed::HandshakeTimeout, "nothing was said in time".into())))?;
    let mut session = Ingest::new(door.limits.rtmp);
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    loop {
        let (by, late) = match session.is_greeted() {
            false => (greeted_by, Ended(Closed::HandshakeTimeout, "the handshake was not finished in time".into())),
            true => (published_by, Ended(Closed::PublishTimeout, "no publish command in time".into())),
        };
        let step = timeout_at(by, step(&mut stream, &mut session, &mut buffer)).await;
        if let Some(wish) = step.unwrap_or(Err(late))? {
            return Ok((stream, session, wish));
        }
    }
}

/// A connection that says nothing costs a socket and a task: there are no buffers before the first byte.
async fn open(tcp: TcpStream, tls: Option<IngestTls>) -> Result<Stream, Ended> {
    let _ = tcp.set_nodelay(true);
    tcp.readable().await.map_err(broken)?;
    let Some(tls) = tls else { return Ok(Stream::Plain(tcp)) };
    match tls.acceptor().accept(tcp).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
        Err(error) => Err(Ended(Closed::Tls, error.to_string().into())),
    }
}

/// Reads once, and answers.
async fn step(stream: &mut Stream, session: &mut Ingest, buffer: &mut BytesMut) -> Result<Option<Wish>, Ended> {
    buffer.clear();
    if stream.read_buf(buffer).await.map_err(broken)? == 0 {
        return Err(Ended(Closed::Left, "left before it published".into()));
    }
    let handled = session.handle_input(buffer);
    send(stream, session).await.map_err(broken)?;
    handled.map_err(|error| Ended(Closed::from(&error).of_a_stranger(), error.to_string().into()))?;
    Ok(std::iter::from_fn(|| session.next_event()).find_map(|event| match event {
        IngestEvent::Publish { app, key } => Some((app, key)),
        _ => None,
    }))
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn broken(error: io::Error) -> Ended {
    Ended(Closed::Broken, error.to_string().into())
}

/// A key that is not accepted costs its client some time, and so do the next ones from its address. The answer and the
/// time are the same whatever is wrong: what keys exist, and which are in use, is nobody's business.
async fn judge(publisher: Box<Publisher>, (app, key): &Wish, door: &Door) {
    if let Some(turn) = publisher.guest.turn() {
        sleep_until(turn.into()).await;
    }
    let unix_time = time_of_day().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = Instant::now();
    let admitted = door.keys.admit((app, key.as_bytes()), publisher, unix_time, now.into_std());
    let Err((publisher, cause)) = admitted else { return };

    let Publisher { mut stream, mut session, mut guest } = *publisher;
    let delay = door.limits.refusal_delay.mul_f64(1.0 + JITTER * fastrand::f64());
    let until = guest.failed(now.into_std(), delay);
    guest.closed(cause, &"refused");
    sleep_until(until.into()).await;
    session.reject("NetStream.Publish.BadName", "the stream key is not accepted");
    if let Ok(Ok(())) = timeout(ANSWER_LIMIT, send(&mut stream, &mut session)).await {
        stream.part().await;
    }
}

/// Sends what the session has to say.
async fn send(stream: &mut Stream, session: &mut Ingest) -> io::Result<()> {
    while let Some(reply) = session.take_output() {
        stream.write_all(&reply).await?;
    }
    stream.flush().await
}

/// Commands are small.
const READ_SIZE: usize = 4 << 10;
/// How long an answer may be left unread.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Up to this share is added to a delay.
const JITTER: f64 = 0.5;
