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
    /// Reads along from the end of the handshake, so that it knows the chunk stream's state when the session is done.
    parser: ChunkParser,
    /// None once the publisher is accepted.
    opening: Option<Opening>,
    received: u64,
    acknowledged: u64,
}

struct Opening {
    session: Box<Ingest>,
    handshake_left: usize,
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
        let session = Box::new(Ingest::new(IngestLimits::default()));
        let opening = Some(Opening { session, handshake_left: HANDSHAKE_LEN });
        Ok(Self { socket, tls, parser: ChunkParser::new(), opening, received: 0, acknowledged: 0 })
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
        if self.tls.is_none() {
            return self.take(&buffer[..read], on_message);
        }
        let mut outcome = Outcome::Going;
        let mut encrypted = &buffer[..read];
        while !encrypted.is_empty() {
            let Some(tls) = &mut self.tls else { break };
            tls.read_tls(&mut encrypted)?;
            tls.process_new_packets()?;
            loop {
                let Some(tls) = &mut self.tls else { break };
                let read = match tls.reader().read(plain) {
                    Ok(0) => return Ok(Outcome::Closed),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                let taken = self.take(&plain[..read], on_message)?;
                if taken != Outcome::Going {
                    outcome = taken;
                }
            }
            self.write(&[])?;
        }
        Ok(outcome)
    }

    fn take(&mut self, mut bytes: &[u8], on_message: &mut impl FnMut(Message<'_>)) -> Result<Outcome> {
        let mut outcome = Outcome::Going;
        while let Some(opening) = &mut self.opening
            && !bytes.is_empty()
        {
            // One by one behind the handshake: media may follow the publish command at once, and is not the session's.
            let (piece, rest) = bytes.split_at(opening.handshake_left.clamp(1, bytes.len()));
            bytes = rest;
            opening.session.handle_input(piece)?;
            if opening.handshake_left > 0 {
                opening.handshake_left -= piece.len();
            } else {
                self.received += piece.len() as u64;
                self.parser.feed(piece, &mut |_| {})?;
            }
            if let Some(event) = opening.session.next_event() {
                let IngestEvent::Publish { key, .. } = event else { bail!("{event:?} before the publish command") };
                opening.session.accept();
                outcome = Outcome::Accepted(String::from_utf8_lossy(key.as_bytes()).into_owned());
            }
            let replies = opening.session.take_output();
            if outcome != Outcome::Going {
                self.opening = None;
            }
            if let Some(replies) = replies {
                self.write(&replies)?;
            }
        }
        self.received += bytes.len() as u64;
        self.parser.feed(bytes, on_message)?;
        if self.received - self.acknowledged >= ACKNOWLEDGED_EACH {
            self.acknowledged = self.received;
            // RTMP 1.0, 5.4.3: a running total modulo 2^32.
            let [a, b, c, d] = (self.received as u32).to_be_bytes();
            self.write(&[2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, a, b, c, d])?;
        }
        Ok(outcome)
    }

    /// What is written is little and rare: a socket that does not take it at once belongs to a peer that never reads.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write_all(bytes).context("a peer that does not read");
        };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket).context("a peer that does not read")?;
        }
        Ok(())
    }
}

/// Version byte and two packets of 1536 bytes (RTMP 1.0, 5.2).
const HANDSHAKE_LEN: usize = 1 + 2 * 1536;
/// Half the window that the session announces.
const ACKNOWLEDGED_EACH: u64 = 1_250_000;
