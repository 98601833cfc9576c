//! What a publisher did.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use flv::amf0::Value;
use flv::{Class, Kind, Tag};
use tokio::time::Instant;

use crate::encode::{Id, Track};

/// One connection, from its beginning.
#[derive(Clone, Default)]
pub struct Record {
    /// Where the publisher connected from.
    pub peer: Option<SocketAddr>,
    /// `app` of connect.
    pub app: String,
    /// `tcUrl` of connect.
    pub tc_url: String,
    /// The stream name of publish.
    pub key: String,
    /// Every command, in order.
    pub commands: Vec<Command>,
    /// Every audio, video and data message, in order.
    pub messages: Vec<Received>,
    /// The chunk streams that messages came on.
    pub chunk_streams: BTreeSet<u32>,
    /// The publisher's chunk size in bytes.
    pub chunk_size: usize,
    /// The sequence number of the publisher's last acknowledgement.
    pub acknowledged: Option<u32>,
    /// How many pings were answered.
    pub pongs: usize,
    /// What TLS showed; None over plain TCP.
    pub tls: Option<Tls>,
    /// When the server said NetStream.Publish.Start.
    pub started: Option<Instant>,
    /// How it ended; None while it lasts.
    pub ended: Option<Ended>,
    /// When it ended.
    pub ended_at: Option<Instant>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The publisher closed it, between two messages.
    Closed,
    /// The publisher closed or reset it in the middle of a message.
    Cut,
    /// The server closed it, as its script says.
    Dropped,
    /// The publisher broke the protocol.
    Protocol(String),
    /// No TLS session came about.
    NoTls(String),
}

/// What TLS showed of a connection.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The host that the publisher asked for (SNI).
    pub server_name: Option<String>,
    /// The version agreed upon: `1.2` or `1.3`.
    pub version: &'static str,
    /// The lengths of the records of application data, headers not counted, in order. In TLS 1.3 the end of the
    /// handshake looks the same, and is among them.
    pub records: Vec<usize>,
    /// The publisher said that it was done (close_notify).
    pub close_notify: bool,
}

/// A command as received.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Its name.
    pub name: String,
    /// Its transaction number.
    pub transaction: f64,
    /// What follows, the command object first.
    pub arguments: Vec<Value>,
}

/// An audio, video or data message.
#[derive(Clone)]
pub struct Received {
    /// What it is.
    pub kind: Kind,
    /// Absolute, in ms.
    pub timestamp: u32,
    /// The payload.
    pub body: Bytes,
    /// The chunk stream that it came on.
    pub chunk_stream: u32,
    /// The form of its first chunk's header, 0 to 3.
    pub form: u8,
    /// The message stream.
    pub stream_id: u32,
    /// When its last byte came.
    pub at: Instant,
}

impl Record {
    /// Coded audio and video: everything but headers and data.
    pub fn frames(&self) -> impl Iterator<Item = &Received> {
        self.messages
            .iter()
            .filter(|message| matches!(message.class(), Class::Key | Class::Inter | Class::Disposable | Class::Audio))
    }

    /// The ids of the frames of a track, in order; frames without an id are left out.
    pub fn ids(&self, track: Track) -> Vec<Id> {
        self.frames().filter_map(Received::id).filter(|id| id.track == track).collect()
    }

    /// The messages of a class.
    pub fn of_class(&self, class: Class) -> impl Iterator<Item = &Received> {
        self.messages.iter().filter(move |message| message.class() == class)
    }

    /// The names of the commands, in order.
    pub fn command_names(&self) -> Vec<&str> {
        self.commands.iter().map(|command| command.name.as_str()).collect()
    }
}

impl Received {
    /// The message as a tag.
    pub fn tag(&self) -> Tag {
        Tag { kind: self.kind, timestamp: self.timestamp, body: self.body.clone() }
    }

    /// What it is for a relay.
    pub fn class(&self) -> Class {
        self.tag().class()
    }

    /// The id in its body.
    pub fn id(&self) -> Option<Id> {
        Id::find(&self.body)
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.class(), self.timestamp)?;
        match self.id() {
            Some(id) => write!(f, " {id:?}"),
            None => write!(f, " {} bytes", self.body.len()),
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = &self.messages[self.messages.len().saturating_sub(3)..];
        f.debug_struct("Record")
            .field("app", &self.app)
            .field("key", &self.key)
            .field("commands", &self.command_names())
            .field("messages", &self.messages.len())
            .field("frames", &self.frames().count())
            .field("newest", &newest)
            .field("tls", &self.tls.as_ref().map(|tls| (&tls.server_name, tls.version, tls.records.len())))
            .field("started", &self.started.is_some())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
