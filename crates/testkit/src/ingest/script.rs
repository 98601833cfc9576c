//! How a server misbehaves.

use std::time::Duration;

/// What a server waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// C0, C1 and C2.
    Handshake,
    /// The connect command.
    Connect,
    /// The createStream command.
    CreateStream,
    /// The publish command.
    Publish,
}

/// A server's personality; the default one behaves. Each method adds one trait.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub(super) reject_publish: Option<String>,
    pub(super) reject_connect: bool,
    pub(super) close_after_start: bool,
    pub(super) never_answer: Option<Step>,
    pub(super) stop_reading_after: Option<Duration>,
    pub(super) read_bytes_per_sec: Option<u32>,
    pub(super) reset_after: Option<Duration>,
    pub(super) stream_id: Option<u32>,
    pub(super) zero_transaction: bool,
    pub(super) error_to_release_stream: bool,
    pub(super) undefined_replies: bool,
    pub(super) interleave_control: bool,
    pub(super) ping_every: Option<Duration>,
    pub(super) amf_bomb: bool,
    pub(super) garbage: bool,
    pub(super) garbage_under_tls: bool,
    pub(super) chunk_size: Option<u32>,
    pub(super) huge_message: bool,
    pub(super) acknowledge_every: Option<u32>,
}

macro_rules! traits {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(mut self) -> Self { self.$name = true; self })*
    };
}

impl Script {
    /// One that behaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers publish with an onStatus error of this code and closes.
    #[must_use]
    pub fn reject_publish(mut self, code: &str) -> Self {
        self.reject_publish = Some(code.to_owned());
        self
    }

    traits! {
        /// Answers connect with `_error` and closes.
        reject_connect;
        /// Closes right after NetStream.Publish.Start.
        close_after_start;
        /// Answers createStream with transaction 0.
        zero_transaction;
        /// Answers releaseStream and FCPublish with `_error`.
        error_to_release_stream;
        /// Answers releaseStream and FCPublish with too few values, or undefined ones.
        undefined_replies;
        /// Puts acknowledgements, pings and onBWDone between the chunks of every reply.
        interleave_control;
        /// Sends a command with objects nested 100,000 deep before it answers publish.
        amf_bomb;
        /// Sends random bytes after NetStream.Publish.Start.
        garbage;
        /// Sends random bytes instead of TLS records after NetStream.Publish.Start.
        garbage_under_tls;
        /// Begins a message of 16 MiB after NetStream.Publish.Start.
        huge_message;
    }

    /// Reads on and never answers once it has received this.
    #[must_use]
    pub fn never_answer(mut self, step: Step) -> Self {
        self.never_answer = Some(step);
        self
    }

    /// Reads nothing more this long after NetStream.Publish.Start, in ms.
    #[must_use]
    pub fn stop_reading_after(mut self, ms: u64) -> Self {
        self.stop_reading_after = Some(Duration::from_millis(ms));
        self
    }

    /// Reads no faster than this after NetStream.Publish.Start.
    #[must_use]
    pub fn read_bytes_per_sec(mut self, bytes: u32) -> Self {
        self.read_bytes_per_sec = Some(bytes);
        self
    }

    /// Resets the connection this long after NetStream.Publish.Start, in ms.
    #[must_use]
    pub fn reset_after(mut self, ms: u64) -> Self {
        self.reset_after = Some(Duration::from_millis(ms));
        self
    }

    /// Gives out this message stream instead of 1.
    #[must_use]
    pub fn stream_id(mut self, id: u32) -> Self {
        self.stream_id = Some(id);
        self
    }

    /// Announces chunks of this size before its first answer, and uses them. The first bit is to be 0 (RTMP 1.0, 5.4.1).
    #[must_use]
    pub fn chunk_size(mut self, bytes: u32) -> Self {
        self.chunk_size = Some(bytes);
        self
    }

    /// Pings after NetStream.Publish.Start, in ms.
    #[must_use]
    pub fn ping_every(mut self, ms: u64) -> Self {
        self.ping_every = Some(Duration::from_millis(ms));
        self
    }

    /// Asks for an acknowledgement every so many bytes.
    #[must_use]
    pub fn window(mut self, bytes: u32) -> Self {
        self.acknowledge_every = Some(bytes);
        self
    }
}
