//! An encoder that publishes over RTMP.

use std::{fmt, io};

use bytes::Bytes;
use flv::{Kind, Tag};
use rtmp::publish::{Publish, PublishConfig, PublishError, PublishEvent};
use rtmp::url::Target;
use rtmp::wire::{self, MediaWriter, WireForm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use crate::DEADLINE;
use crate::encode::Encode;

/// A publisher of one live encode. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Publisher {
    task: JoinHandle<Result<(), PublisherError>>,
    wish: watch::Sender<Wish>,
}

/// What the publisher is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Play,
    Stall,
    Close,
}

/// Why publishing ended.
#[derive(Debug)]
pub enum PublisherError {
    /// The server refused, or broke the protocol.
    Session(PublishError),
    /// The connection failed or was closed.
    Io(io::Error),
    /// The server did not let it publish within the deadline.
    Timeout,
}

impl Publisher {
    /// Connects, and once the server lets it publish, sends the encode from its newest keyframe on in real time.
    /// Panics when `url` is no RTMP URL.
    pub async fn start(url: &str, encode: &Encode) -> Result<Self, PublisherError> {
        let target = Target::parse(url).expect("a test's URL is one");
        let connecting = timeout(DEADLINE, Connection::open(target));
        let (connection, stream_id) = connecting.await.map_err(|_| PublisherError::Timeout)??;
        let (wish, wishes) = watch::channel(Wish::Play);
        let task = tokio::spawn(connection.play(encode.clone(), stream_id, wishes));
        Ok(Self { task, wish })
    }

    /// Unpublishes and closes the connection.
    pub async fn close(mut self) -> Result<(), PublisherError> {
        self.wish.send_replace(Wish::Close);
        (&mut self.task).await.unwrap_or_else(|error| panic!("the publisher's task: {error}"))
    }

    /// Sends nothing more; the connection stays open.
    pub fn stall(&self) {
        self.wish.send_replace(Wish::Stall);
    }

    /// Takes [`Self::stall`] back. What it held back follows at once.
    pub fn resume(&self) {
        self.wish.send_replace(Wish::Play);
    }

    /// Waits until the server ends the session. Panics when it does not.
    pub async fn ended(&mut self) -> Result<(), PublisherError> {
        let ended = timeout(DEADLINE, &mut self.task).await.expect("the server ends the session");
        ended.unwrap_or_else(|error| panic!("the publisher's task: {error}"))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Display for PublisherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Timeout => f.write_str("the server does not answer"),
        }
    }
}

impl std::error::Error for PublisherError {}

impl From<PublishError> for PublisherError {
    fn from(error: PublishError) -> Self {
        Self::Session(error)
    }
}

impl From<io::Error> for PublisherError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection that is led up to publishing.
pub(crate) struct Connection {
    socket: TcpStream,
    session: Publish,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: Target) -> Result<(Self, u32), PublisherError> {
        let socket = TcpStream::connect((target.host.as_str(), target.port)).await?;
        let session = Publish::new(PublishConfig::new(target));
        let mut connection = Self { socket, session, buffer: vec![0; 4096] };
        loop {
            connection.flush().await?;
            while let Some(event) = connection.session.next_event() {
                if let PublishEvent::Started { stream_id } = event {
                    return Ok((connection, stream_id));
                }
            }
            connection.read().await?;
        }
    }

    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    async fn play(
        mut self,
        encode: Encode,
        stream_id: u32,
        mut wishes: watch::Receiver<Wish>,
    ) -> Result<(), PublisherError> {
        let start = encode.gop_start(encode.clock().position());
        let mut writer = MediaWriter::new(stream_id, 0);
        for header in encode.headers() {
            self.send(&mut writer, &Tag { timestamp: start as u32, ..header }).await?;
        }
        let mut tags = encode.placed_from(start);
        let mut next = tags.next();
        while let Some(placed) = next.take() {
            let wish = *wishes.borrow_and_update();
            if wish == Wish::Close {
                self.session.close();
                self.flush().await?;
                self.socket.shutdown().await?;
                return Ok(());
            }
            tokio::select! {
                () = sleep_until(encode.clock().at(placed.position)), if wish == Wish::Play => {
                    self.send(&mut writer, &placed.tag).await?;
                    next = tags.next();
                }
                read = self.read() => {
                    read?;
                    self.flush().await?;
                    next = Some(placed);
                }
                changed = wishes.changed() => {
                    // Dropped without being closed, the task is aborted.
                    next = changed.is_ok().then_some(placed);
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, writer: &mut MediaWriter, tag: &Tag) -> Result<(), PublisherError> {
        let dts = i64::from(tag.timestamp);
        let form = match tag.kind {
            Kind::Video => WireForm::new(wire::Track::Video, dts, None, &[&tag.body]),
            Kind::Audio => WireForm::new(wire::Track::Audio, dts, None, &[&tag.body]),
            // The name that servers expect before the data itself.
            Kind::Script => WireForm::new(wire::Track::Data, dts, None, &[b"\x02\0\x0D@setDataFrame", &tag.body]),
        };
        let mut pieces: Vec<Bytes> = Vec::new();
        writer.write(&form, &mut pieces);
        for piece in pieces {
            self.socket.write_all(&piece).await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), PublisherError> {
        let read = self.socket.read(&mut self.buffer).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(self.session.handle_input(&self.buffer[..read])?)
    }

    async fn flush(&mut self) -> Result<(), PublisherError> {
        while let Some(bytes) = self.session.take_output() {
            self.socket.write_all(&bytes).await?;
        }
        Ok(())
    }
}
