//! The server side: a publisher's session, from the first byte to its tags and its end.

mod aggregate;
mod error;
mod key;
mod signature;

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use flv::{
    Kind, Tag,
    amf0::{Limits, Value},
};

use crate::{
    chunk::{ChunkLimits, Message},
    command::{COMMAND, COMMAND_AMF3, Command, object, text},
    link::{Link, Received, WINDOW},
    url::StreamKey,
};

pub use error::IngestError;
pub use key::key_matches;
pub use signature::{Signature, check_signature, tx_secret};

/// What a publisher may send. Exceeding one is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Bytes of one message, once the publisher is accepted.
    pub max_message: usize,
    /// Bytes of all unfinished messages together, once the publisher is accepted. Their buffers may be twice as long.
    pub max_partial: usize,
    /// Bytes of one message before that, and of all unfinished ones together.
    pub max_unaccepted_message: usize,
    /// Chunk streams used in the life of the connection.
    pub max_chunk_streams: usize,
    /// What commands may hold.
    pub amf: Limits,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            max_message: 8 << 20,
            max_partial: 16 << 20,
            max_unaccepted_message: 64 << 10,
            max_chunk_streams: 64,
            amf: Limits { depth: 16, values: 1024, string: 64 << 10 },
        }
    }
}

impl IngestLimits {
    fn accepted(&self) -> ChunkLimits {
        let Self { max_message, max_partial, max_chunk_streams, .. } = *self;
        ChunkLimits { max_message, max_chunk_streams, max_partial }
    }

    fn unaccepted(&self) -> ChunkLimits {
        let Self { max_unaccepted_message: max_message, max_chunk_streams, .. } = *self;
        ChunkLimits { max_message, max_chunk_streams, max_partial: max_message }
    }
}

/// What a publisher does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestEvent {
    /// It wants to publish: to be answered with [`Ingest::accept`] or [`Ingest::reject`]. Comes once.
    Publish {
        /// The app with its query as sent, but for a `/` at its end.
        app: Bytes,
        /// The stream name with its query as sent.
        key: StreamKey,
    },
    /// It has sent a tag. A script tag has lost its `@setDataFrame`.
    Tag(Tag),
    /// It has said that it ends; nothing comes after it.
    Unpublished,
}

/// A publisher's session (RTMP 1.0, 7.2): bytes in, bytes and events out.
///
/// ```text
/// Greeting → Connected → Waiting ─accept→ Live → Over
///                           └─────reject──────────┘
/// ```
///
/// Deadlines are the caller's. An error ends the session: it is returned again whatever else comes.
pub struct Ingest {
    limits: IngestLimits,
    link: Link,
    state: State,
    streams_created: usize,
    events: VecDeque<IngestEvent>,
    failed: Option<IngestError>,
}

enum State {
    /// Handshake, then connect.
    Greeting,
    Connected {
        app: Bytes,
    },
    /// For the caller's verdict on the publisher.
    Waiting {
        stream_id: u32,
    },
    Live,
    Over {
        unpublished: bool,
    },
}

impl Ingest {
    /// A session with a peer that has just connected.
    pub fn new(limits: IngestLimits) -> Self {
        let link = Link::server(limits.unaccepted());
        Self { limits, link, state: State::Greeting, streams_created: 0, events: VecDeque::new(), failed: None }
    }

    /// Takes what the publisher has sent. Output and events may be waiting afterwards, also after an error.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<(), IngestError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let outcome = self.receive(input);
        if let Err(error) = &outcome {
            self.failed = Some(error.clone());
            // Nobody waits for a verdict any more.
            self.state = State::Over { unpublished: self.is_unpublished() };
        }
        outcome
    }

    /// The next event, oldest first.
    pub fn next_event(&mut self) -> Option<IngestEvent> {
        self.events.pop_front()
    }

    /// All bytes that must be sent, after those taken before. To be left here while the publisher takes none: one that
    /// keeps asking is then given up.
    pub fn take_output(&mut self) -> Option<Bytes> {
        self.link.outbound.take()
    }

    /// Lets the publisher begin. Does nothing if none waits for it.
    pub fn accept(&mut self) {
        let State::Waiting { stream_id } = self.state else {
            return;
        };
        self.link.set_limits(self.limits.accepted());
        self.link.outbound.user_control(STREAM_BEGIN, stream_id.to_be_bytes());
        self.status(stream_id, "status", "NetStream.Publish.Start", "Started publishing");
        self.state = State::Live;
    }

    /// Turns the publisher away with an error status such as `NetStream.Publish.BadName`, and ends the session. Does
    /// nothing if none waits for it.
    pub fn reject(&mut self, code: &str, description: &str) {
        let State::Waiting { stream_id } = self.state else {
            return;
        };
        self.status(stream_id, "error", code, description);
        self.state = State::Over { unpublished: false };
    }

    /// Whether the handshake is finished.
    pub fn is_greeted(&self) -> bool {
        self.link.is_greeted()
    }

    /// Whether the publisher has said that it ends. A connection that closes before that was lost.
    pub fn is_unpublished(&self) -> bool {
        matches!(self.state, State::Over { unpublished: true })
    }

    fn receive(&mut self, mut input: &[u8]) -> Result<(), IngestError> {
        while let Some(received) = self.link.receive(&mut input)? {
            if let Received::Message(message) = received {
                self.message(message)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, message: Message) -> Result<(), IngestError> {
        if matches!(self.state, State::Over { .. }) {
            return Ok(());
        }
        match message.type_id {
            COMMAND | COMMAND_AMF3 => {
                let Some(command) = Command::decode(&message, &self.limits.amf)? else {
                    return Ok(());
                };
                self.command(&command, message.stream_id)
            }
            AUDIO | VIDEO | DATA | DATA_AMF3 | AGGREGATE => {
                if !matches!(self.state, State::Live) {
                    return Err(IngestError::MediaBeforeAccept { type_id: message.type_id });
                }
                self.media(message)
            }
            _ => Ok(()),
        }
    }

    fn media(&mut self, message: Message) -> Result<(), IngestError> {
        let Message { type_id, timestamp, mut payload, .. } = message;
        match type_id {
            AGGREGATE => {
                let tags = aggregate::split(payload, timestamp)?;
                self.events.extend(tags.into_iter().map(IngestEvent::Tag));
                return Ok(());
            }
            DATA_AMF3 if payload.first() == Some(&0) => payload.advance(1),
            _ => {}
        }
        let tag = match type_id {
            AUDIO => Tag { kind: Kind::Audio, timestamp, body: payload },
            VIDEO => Tag { kind: Kind::Video, timestamp, body: payload },
            _ => {
                if payload.starts_with(SET_DATA_FRAME) {
                    payload.advance(SET_DATA_FRAME.len());
                }
                Tag { kind: Kind::Script, timestamp, body: payload }
            }
        };
        self.events.push_back(IngestEvent::Tag(tag));
        Ok(())
    }

    fn command(&mut self, command: &Command, stream_id: u32) -> Result<(), IngestError> {
        match &command.name[..] {
            b"connect" => self.connect(command),
            b"createStream" => self.create_stream(command),
            b"publish" => self.publish(command, stream_id),
            b"releaseStream" | b"_checkbw" => {
                self.result(command, Value::Undefined);
                Ok(())
            }
            b"FCPublish" => {
                self.notice("onFCPublish", "NetStream.Publish.Start");
                Ok(())
            }
            name @ (b"FCUnpublish" | b"deleteStream" | b"closeStream") => {
                if name == b"FCUnpublish" {
                    self.notice("onFCUnpublish", "NetStream.Unpublish.Success");
                }
                if matches!(self.state, State::Live) {
                    self.state = State::Over { unpublished: true };
                    self.events.push_back(IngestEvent::Unpublished);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn connect(&mut self, command: &Command) -> Result<(), IngestError> {
        if !matches!(self.state, State::Greeting) {
            return Err(IngestError::OutOfTurn { command: "connect" });
        }
        let app = command.info().and_then(|info| info.get("app")).and_then(text).cloned().unwrap_or_default();
        let app = app.strip_suffix(b"/").map_or(app.clone(), |app_only| app.slice_ref(app_only));

        let outbound = &mut self.link.outbound;
        outbound.window(WINDOW);
        outbound.peer_bandwidth(WINDOW);
        outbound.set_chunk_size();
        let server = object([
            ("fmsVer", Value::str("FMS/3,5,3,888")),
            ("capabilities", Value::Number(127.0)),
            ("mode", Value::Number(1.0)),
        ]);
        let info = object([
            ("level", Value::str("status")),
            ("code", Value::str("NetConnection.Connect.Success")),
            ("description", Value::str("Connection succeeded")),
            ("objectEncoding", Value::Number(0.0)),
        ]);
        outbound.command(0, &[Value::str("_result"), Value::Number(command.transaction), server, info]);
        outbound.command(0, &[Value::str("onBWDone"), Value::Number(0.0), Value::Null]);
        self.state = State::Connected { app };
        Ok(())
    }

    fn create_stream(&mut self, command: &Command) -> Result<(), IngestError> {
        if matches!(self.state, State::Greeting) {
            return Err(IngestError::OutOfTurn { command: "createStream" });
        }
        self.streams_created += 1;
        if self.streams_created > MAX_STREAMS {
            return Err(IngestError::TooManyStreams(MAX_STREAMS));
        }
        // One is all a connection ever publishes, so all streams are that one.
        self.result(command, Value::Number(1.0));
        Ok(())
    }

    fn publish(&mut self, command: &Command, stream_id: u32) -> Result<(), IngestError> {
        let State::Connected { app } = &self.state else {
            return Err(IngestError::OutOfTurn { command: "publish" });
        };
        let key = command.arguments.iter().find_map(text).ok_or(IngestError::NoStreamName)?;
        let (app, key) = (app.clone(), StreamKey::new(key.clone()));
        self.state = State::Waiting { stream_id };
        self.events.push_back(IngestEvent::Publish { app, key });
        Ok(())
    }

    fn result(&mut self, command: &Command, value: Value) {
        let transaction = Value::Number(command.transaction);
        self.link.outbound.command(0, &[Value::str("_result"), transaction, Value::Null, value]);
    }

    fn notice(&mut self, name: &str, code: &str) {
        let info = object([("code", Value::str(code)), ("description", Value::str("ok"))]);
        self.link.outbound.command(0, &[Value::str(name), Value::Number(0.0), Value::Null, info]);
    }

    /// onStatus (RTMP 1.0, 7.2.2). Words that might not fit the chunk are cut.
    fn status(&mut self, stream_id: u32, level: &str, code: &str, description: &str) {
        let cut = |text: &str| Value::str(&text[..text.floor_char_boundary(MAX_STATUS_TEXT)]);
        let info = object([("level", Value::str(level)), ("code", cut(code)), ("description", cut(description))]);
        let values = [Value::str("onStatus"), Value::Number(0.0), Value::Null, info];
        self.link.outbound.command(stream_id, &values);
    }
}

/// The AMF0 string that asks a server to keep what follows; it is not part of the tag.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
const MAX_STREAMS: usize = 8;
const MAX_STATUS_TEXT: usize = 1024;
const STREAM_BEGIN: u16 = 0;

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const DATA_AMF3: u8 = 15;
const DATA: u8 = 18;
const AGGREGATE: u8 = 22;

#[cfg(test)]
mod tests;
