//! The client side: from the first byte to a stream that takes media, and to its end.

mod error;
mod scrub;

use std::{collections::VecDeque, fmt};

use bytes::Bytes;
use flv::amf0::{Limits, Value};

use crate::{
    chunk::{ChunkLimits, Message},
    command::{COMMAND, COMMAND_AMF3, Command, object, property},
    link::{Link, Received},
    url::Target,
};
use scrub::Scrub;

pub use error::{PublishError, Retry};

/// What a publish session needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishConfig {
    /// Where to publish.
    pub target: Target,
    /// Sent as `flashVer`, which some servers filter by. Cut at 128 bytes.
    pub flash_version: String,
}

impl PublishConfig {
    /// The flash version that hardware and software encoders commonly send.
    pub const FLASH_VERSION: &str = "FMLE/3.0 (compatible; FMSc/1.0)";

    /// Publishes to `target` as [`Self::FLASH_VERSION`].
    pub fn new(target: Target) -> Self {
        Self { target, flash_version: Self::FLASH_VERSION.to_owned() }
    }
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The server's half of the handshake.
    Handshake,
    /// The answer to connect.
    Connect,
    /// The answer to createStream.
    CreateStream,
    /// NetStream.Publish.Start.
    Publish,
    /// Nothing: media may be sent.
    Live,
    /// Nothing: [`Publish::close`] has been called.
    Closed,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake",
            Self::Connect => "connect",
            Self::CreateStream => "createStream",
            Self::Publish => "publish",
            Self::Live => "live",
            Self::Closed => "closed",
        })
    }
}

/// What a session has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishEvent {
    /// The server takes media on this message stream.
    Started {
        /// For [`MediaWriter::new`](crate::wire::MediaWriter::new).
        stream_id: u32,
    },
    /// The server has said something that changes nothing. Made safe to print.
    Warning {
        /// Such as `NetStream.Publish.Warning`.
        code: String,
        /// The server's words, at most 200 characters.
        description: String,
    },
}

/// A publish session (RTMP 1.0, 7.2): bytes in, bytes and events out.
///
/// ```text
/// Handshake → Connect → CreateStream → Publish → Live ─┐
///     └──────────┴───────────┴────────────┴────────────┴─→ Closed
/// ```
///
/// A server may answer in any order, to commands nobody waits for, or not at all: timeouts are the caller's, by
/// [`Self::step`]. An error ends the session: it is returned again whatever else comes.
pub struct Publish {
    config: PublishConfig,
    scrub: Scrub,
    link: Link,
    step: Step,
    stream_id: Option<u32>,
    events: VecDeque<PublishEvent>,
    failed: Option<PublishError>,
}

impl Publish {
    /// A session whose first bytes are ready to be sent.
    pub fn new(config: PublishConfig) -> Self {
        let scrub = Scrub::new(&config.target);
        let link = Link::client(LIMITS);
        let events = VecDeque::new();
        Self { config, scrub, link, step: Step::Handshake, stream_id: None, events, failed: None }
    }

    /// Takes what the server has sent. Output and events may be waiting afterwards, also after an error.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<(), PublishError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let outcome = self.receive(input);
        self.failed = outcome.as_ref().err().cloned();
        outcome
    }

    /// The next event, oldest first.
    pub fn next_event(&mut self) -> Option<PublishEvent> {
        self.events.pop_front()
    }

    /// All bytes that must be sent, after those taken before and between whole media messages. To be left here while
    /// the server takes none: a server that keeps asking is then given up.
    pub fn take_output(&mut self) -> Option<Bytes> {
        self.link.outbound.take()
    }

    /// What the session waits for.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The error that the server's end of the connection amounts to.
    pub fn peer_closed(&self) -> PublishError {
        PublishError::ClosedEarly { step: self.step }
    }

    /// Ends the publication in the way that says so to the server; what it says from now on is ignored.
    pub fn close(&mut self) {
        if let Some(stream_id) = self.stream_id.take() {
            self.call("FCUnpublish", FC_UNPUBLISH, [Value::Null, self.key()]);
            self.call("deleteStream", DELETE_STREAM, [Value::Null, Value::Number(f64::from(stream_id))]);
        }
        self.step = Step::Closed;
    }

    fn receive(&mut self, mut input: &[u8]) -> Result<(), PublishError> {
        while self.step != Step::Closed
            && let Some(received) = self.link.receive(&mut input)?
        {
            match received {
                Received::Greeted => self.connect(),
                Received::Message(message) => self.message(&message)?,
            }
        }
        Ok(())
    }

    fn connect(&mut self) {
        let Target { app, .. } = &self.config.target;
        let version = &self.config.flash_version;
        let version = &version[..version.floor_char_boundary(MAX_FLASH_VERSION)];
        let tc_url = Value::String(self.config.target.tc_url());
        // The order of OBS, whose sessions every platform knows.
        let properties = object([
            ("app", Value::String(app.clone())),
            ("type", Value::str("nonprivate")),
            ("flashVer", Value::str(version)),
            ("swfUrl", tc_url.clone()),
            ("tcUrl", tc_url),
        ]);
        self.link.outbound.set_chunk_size();
        self.call("connect", CONNECT, [properties]);
        self.step = Step::Connect;
    }

    fn create_stream(&mut self) {
        self.call("releaseStream", RELEASE_STREAM, [Value::Null, self.key()]);
        self.call("FCPublish", FC_PUBLISH, [Value::Null, self.key()]);
        self.call("createStream", CREATE_STREAM, [Value::Null]);
        self.step = Step::CreateStream;
    }

    fn publish(&mut self, stream_id: u32) {
        self.stream_id = Some(stream_id);
        let values = [Value::str("publish"), Value::Number(PUBLISH), Value::Null, self.key(), Value::str("live")];
        self.link.outbound.command(stream_id, &values);
        self.step = Step::Publish;
    }

    fn started(&mut self) {
        if let Some(stream_id) = self.stream_id {
            self.step = Step::Live;
            self.events.push_back(PublishEvent::Started { stream_id });
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), PublishError> {
        if !matches!(message.type_id, COMMAND | COMMAND_AMF3) {
            return Ok(());
        }
        let Some(command) = Command::decode(message, &AMF_LIMITS)? else {
            return Ok(());
        };
        match &command.name[..] {
            b"_result" => self.result(&command),
            b"_error" => self.error(&command),
            b"onStatus" => self.status(&command),
            b"close" => {
                self.warn(b"close", b"");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn result(&mut self, command: &Command) -> Result<(), PublishError> {
        let Command { transaction, arguments, .. } = command;
        match self.step {
            Step::Connect if is_answer(*transaction, CONNECT) => {
                if command.info().is_some_and(|info| property(info, "level") == b"error") {
                    return Err(self.refusal(command));
                }
                self.create_stream();
            }
            Step::CreateStream if is_answer(*transaction, CREATE_STREAM) => {
                match arguments.iter().find_map(Value::as_number) {
                    Some(id) => self.publish(stream_id(id)?),
                    // Transaction 0 may as well answer releaseStream or FCPublish, which have no result.
                    None if *transaction == 0.0 => {}
                    None => return Err(PublishError::NoStreamId),
                }
            }
            Step::Publish if *transaction == PUBLISH => self.started(),
            _ => {}
        }
        Ok(())
    }

    fn error(&mut self, command: &Command) -> Result<(), PublishError> {
        let awaited = match self.step {
            Step::Connect if command.transaction == 0.0 => true,
            Step::Connect => command.transaction == CONNECT,
            Step::CreateStream => command.transaction == CREATE_STREAM,
            Step::Publish => command.transaction == PUBLISH,
            Step::Handshake | Step::Live | Step::Closed => false,
        };
        if awaited { Err(self.refusal(command)) } else { Ok(()) }
    }

    fn status(&mut self, command: &Command) -> Result<(), PublishError> {
        let Some(info) = command.info() else { return Ok(()) };
        let code = property(info, "code");
        if property(info, "level") == b"error" || is_final(code) {
            return Err(self.refusal(command));
        }
        if code != b"NetStream.Publish.Start" {
            self.warn(code, property(info, "description"));
        } else if self.step == Step::Publish {
            self.started();
        }
        Ok(())
    }

    fn warn(&mut self, code: &[u8], description: &[u8]) {
        if self.events.len() < MAX_EVENTS {
            let (code, description) = (self.scrub.code(code), self.scrub.description(description));
            self.events.push_back(PublishEvent::Warning { code, description });
        }
    }

    fn refusal(&self, command: &Command) -> PublishError {
        let (code, description) = match command.info() {
            Some(info) => (property(info, "code"), property(info, "description")),
            None => (&[][..], &[][..]),
        };
        let code = if code.is_empty() { &command.name } else { code };
        PublishError::Refused {
            step: self.step,
            code: self.scrub.code(code),
            description: self.scrub.description(description),
        }
    }

    fn call<const N: usize>(&mut self, name: &str, transaction: f64, arguments: [Value; N]) {
        let mut values = vec![Value::str(name), Value::Number(transaction)];
        values.extend(arguments);
        self.link.outbound.command(0, &values);
    }

    fn key(&self) -> Value {
        Value::String(self.config.target.key.bytes().clone())
    }
}

/// Some servers answer everything with transaction 0.
fn is_answer(transaction: f64, call: f64) -> bool {
    transaction == call || transaction == 0.0
}

fn stream_id(number: f64) -> Result<u32, PublishError> {
    let is_id = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    if is_id { Ok(number as u32) } else { Err(PublishError::NoStreamId) }
}

/// Codes that end a publication whatever level they come with.
fn is_final(code: &[u8]) -> bool {
    const FINAL: [&[u8]; 8] = [
        b"NetConnection.Connect.Closed",
        b"NetConnection.Connect.Failed",
        b"NetConnection.Connect.Rejected",
        b"NetStream.Failed",
        b"NetStream.Publish.BadName",
        b"NetStream.Publish.Denied",
        b"NetStream.Publish.Failed",
        b"NetStream.Unpublish.Success",
    ];
    FINAL.contains(&code)
}

/// A server has little to say to a publisher.
const LIMITS: ChunkLimits = ChunkLimits { max_message: 64 << 10, max_chunk_streams: 16, max_partial: 128 << 10 };
const AMF_LIMITS: Limits = Limits { depth: 8, values: 256, string: 64 << 10 };
const MAX_EVENTS: usize = 32;
/// With the longest app and host, connect still fits one chunk.
const MAX_FLASH_VERSION: usize = 128;

const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;
const DELETE_STREAM: f64 = 7.0;

#[cfg(test)]
mod tests;
