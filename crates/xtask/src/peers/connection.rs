//! One publisher's connection to the sink.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use rtmp::ingest::{Ingest, IngestEvent, IngestLimits};
use rustls::{ServerConfig, ServerConnection};

use super::chunks::{ChunkParser, Message};

/// A connection from its first byte on.
pub(crate) struct Connection {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    session: Session,
}

/// What has come of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Bytes, or nothing yet.
    Going,
    /// The publisher has been accepted under this key.
    Accepted(String),
    /// The peer has closed the connection.
    Closed,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self> {
        socket.set_nonblocking(true)?;
        let tls = tls.map(|config| ServerConnection::new(Arc::clone(config)).map(Box::new)).transpose()?;
        Ok(Self { socket, tls, session: Session::new() })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads once, at most what fits `buffer`, and hands over the messages that have become whole. `plain` is for what a
    /// TLS connection's bytes amount to.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        plain: &mut [u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<Outcome> {
        let read = match self.socket.read(buffer) {
            Ok(0) => return Ok(Outcome::Closed),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Outcome::Going),
            Err(error) => return Err(error).context("reading"),
        };
        let mut replies = Vec::new();
        let Some(tls) = &mut self.tls else {
            let outcome = self.session.take(&buffer[..read], &mut replies, on_message)?;
            // Little and rare: a socket that does not take it at once belongs to a peer that never reads.
            self.socket.write_all(&replies).context("a peer that does not read")?;
            return Ok(outcome);
        };
        let mut outcome = Outcome::Going;
        let mut encrypted = &buffer[..read];
        while !encrypted.is_empty() {
            tls.read_tls(&mut encrypted)?;
            tls.process_new_packets()?;
            loop {
                let read = match tls.reader().read(plain) {
                    Ok(0) => return Ok(Outcome::Closed),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                let taken = self.session.take(&plain[..read], &mut replies, on_message)?;
                if taken != Outcome::Going {
                    outcome = taken;
                }
            }
        }
        tls.writer().write_all(&replies)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket).context("a peer that does not read")?;
        }
        Ok(outcome)
    }
}

/// The RTMP of a connection.
struct Session {
    /// Reads along from the end of the handshake, so that it knows the chunk stream's state when `opening` is done.
    parser: ChunkParser,
    /// None once the publisher is accepted.
    opening: Option<Opening>,
    received: u64,
    acknowledged: u64,
}

struct Opening {
    ingest: Box<Ingest>,
    handshake_left: usize,
}

impl Session {
    fn new() -> Self {
        let ingest = Box::new(Ingest::new(IngestLimits::default()));
        let opening = Some(Opening { ingest, handshake_left: HANDSHAKE_LEN });
        Self { parser: ChunkParser::new(), opening, received: 0, acknowledged: 0 }
    }

    /// Takes bytes and appends what is to be answered to `replies`.
    fn take(
        &mut self,
        mut bytes: &[u8],
        replies: &mut Vec<u8>,
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<Outcome> {
        let mut outcome = Outcome::Going;
        while let Some(opening) = &mut self.opening
            && !bytes.is_empty()
        {
            // One by one behind the handshake: media may follow the publish command at once, and is not for `ingest`.
            let (piece, rest) = bytes.split_at(opening.handshake_left.clamp(1, bytes.len()));
            bytes = rest;
            opening.ingest.handle_input(piece)?;
            if opening.handshake_left > 0 {
                opening.handshake_left -= piece.len();
            } else {
                self.received += piece.len() as u64;
                self.parser.feed(piece, &mut |_| {})?;
            }
            if let Some(event) = opening.ingest.next_event() {
                let IngestEvent::Publish { key, .. } = event else { bail!("{event:?} before the publish command") };
                opening.ingest.accept();
                outcome = Outcome::Accepted(String::from_utf8_lossy(key.as_bytes()).into_owned());
            }
            replies.extend(std::iter::from_fn(|| opening.ingest.take_output()).flatten());
            if outcome != Outcome::Going {
                self.opening = None;
            }
        }
        self.received += bytes.len() as u64;
        self.parser.feed(bytes, on_message)?;
        if self.received - self.acknowledged >= ACKNOWLEDGED_EACH {
            self.acknowledged = self.received;
            // RTMP 1.0, 5.4.3: a running total modulo 2^32.
            let [a, b, c, d] = (self.received as u32).to_be_bytes();
            replies.extend([2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, a, b, c, d]);
        }
        Ok(outcome)
    }
}

/// Version byte and two packets of 1536 bytes (RTMP 1.0, 5.2).
const HANDSHAKE_LEN: usize = 1 + 2 * 1536;
/// Half the window that the session announces.
const ACKNOWLEDGED_EACH: u64 = 1_250_000;

#[cfg(test)]
mod tests {
    use super::*;
    use rtmp::{
        publish::{Publish, PublishConfig, PublishEvent},
        url::Target,
        wire::{MediaWriter, Track, WireForm},
    };

    /// All that a publisher says up to the end of its first media message.
    fn everything(body: &[u8]) -> Vec<u8> {
        let mut client = Publish::new(PublishConfig::new(Target::parse("rtmp://127.0.0.1/live/7").unwrap()));
        let (mut session, mut all) = (Session::new(), Vec::new());
        loop {
            if let Some(PublishEvent::Started { stream_id }) = client.next_event() {
                let mut pieces: Vec<bytes::Bytes> = Vec::new();
                let form = WireForm::new(Track::Video, 0, None, &[body]);
                MediaWriter::new(stream_id, 0).write(&form, &mut pieces);
                all.extend(pieces.concat());
                return all;
            }
            let sent: Vec<u8> = std::iter::from_fn(|| client.take_output()).flatten().collect();
            assert!(!sent.is_empty(), "the publisher waits at {:?}", client.step());
            let mut replies = Vec::new();
            session.take(&sent, &mut replies, &mut |_| panic!("no media yet")).unwrap();
            client.handle_input(&replies).unwrap();
            all.extend(sent);
        }
    }

    #[test]
    fn media_may_follow_the_publish_command_at_once_and_in_any_pieces() {
        let body = vec![0x27; 10_000];
        let all = everything(&body);
        for size in [all.len(), 3000, 100, 1] {
            let (mut session, mut accepted, mut messages) = (Session::new(), Vec::new(), Vec::new());
            for piece in all.chunks(size) {
                let mut on_message = |message: Message<'_>| messages.push((message.type_id, message.len));
                let outcome = session.take(piece, &mut Vec::new(), &mut on_message).unwrap();
                accepted.extend((outcome != Outcome::Going).then_some(outcome));
            }
            assert_eq!(accepted, [Outcome::Accepted("7".to_owned())], "in pieces of {size}");
            assert_eq!(messages, [(9, 10_000)], "in pieces of {size}");
        }
    }

    #[test]
    fn what_has_been_received_is_acknowledged_in_steps() {
        let mut session = Session::new();
        session.take(&everything(&[0x27; 10]), &mut Vec::new(), &mut |_| {}).unwrap();
        let before = session.received;
        let mut replies = Vec::new();
        let mut message = vec![8, 0, 0, 0, 0x20, 0, 0, 9, 1, 0, 0, 0];
        let len = u32::from_be_bytes([0, 0x20, 0, 0]) as usize;
        for (n, chunk) in vec![0; len].chunks(4096).enumerate() {
            message.extend(if n > 0 { &[0xC8][..] } else { &[] });
            message.extend(chunk);
        }
        for piece in message.chunks(100_000) {
            session.take(piece, &mut replies, &mut |_| {}).unwrap();
        }
        let steps = ACKNOWLEDGED_EACH..ACKNOWLEDGED_EACH + before + 100_000;
        assert_eq!(replies.len(), 16, "once in {} bytes", message.len());
        let acknowledged = u64::from(u32::from_be_bytes(*replies.last_chunk().unwrap()));
        assert!(steps.contains(&acknowledged), "{acknowledged} in {steps:?}");
    }
}
