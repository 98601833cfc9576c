//! Why connections to the ingest end, one word each.

use flv::ErrorKind as Amf;
use rtmp::{chunk, ingest::IngestError};

/// Declares the causes with their words.
macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident = $word:literal,)*) => {
        /// Why a connection to the ingest ended. The word of a limit is its key in the configuration.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Closed {
            $($(#[$doc])* $cause,)*
        }

        impl Closed {
            /// All of them, in order.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$cause),*];

            /// The word in logs and metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$cause => $word,)*
                }
            }
        }
    };
}

causes! {
    /// As many connections as may be, all of them let in.
    Connections = "ingest_connections",
    /// More from one address than may be.
    PerAddress = "ingest_per_address",
    /// Pushed out by a newer one: too many that had not been let in.
    Unauthenticated = "ingest_unauthenticated",
    /// The handshakes took too long.
    HandshakeTimeout = "handshake_timeout",
    /// No publish command in time.
    PublishTimeout = "publish_timeout",
    /// A large message of a stranger.
    UnauthenticatedMessageSize = "unauthenticated_message_size",
    /// A message that is too large.
    MessageSize = "message_size",
    /// Too much of unfinished messages.
    PartialBytes = "partial_bytes",
    /// Too many chunk streams.
    ChunkStreams = "chunk_streams",
    /// A command nested too deeply.
    AmfDepth = "amf_depth",
    /// A command of too many values.
    AmfValues = "amf_values",
    /// A command with too long a string.
    AmfString = "amf_string",
    /// A publisher that sends nothing any more.
    IdleTimeout = "idle_timeout",
    /// Answers are asked for and not taken.
    Flooded = "flooded",
    /// TLS came to nothing.
    Tls = "tls",
    /// Not RTMP, or broken RTMP.
    Protocol = "protocol",
    /// No input has this key.
    UnknownKey = "unknown_key",
    /// The URL is not signed, or not rightly.
    Signature = "signature",
    /// The URL's time has passed.
    Expired = "expired",
    /// Somebody publishes there.
    Busy = "busy",
    /// Another publisher took its place.
    Replaced = "replaced",
    /// The relay found its media of no use, and it is to come anew.
    Restarted = "restarted",
    /// The peer left.
    Left = "left",
    /// The connection broke.
    Broken = "broken",
    /// Nobody wants it any more: the relay, or the daemon, stops.
    Stopped = "stopped",
}

impl Closed {
    /// Nothing is wrong with the peer, and nothing needs to be said aloud.
    pub(super) fn is_ordinary(self) -> bool {
        matches!(self, Self::Restarted | Self::Left | Self::Broken | Self::Stopped)
    }

    /// The same limit for a peer that has not been let in.
    pub(super) fn of_a_stranger(self) -> Self {
        match self {
            Self::MessageSize | Self::PartialBytes => Self::UnauthenticatedMessageSize,
            other => other,
        }
    }
}

impl From<&IngestError> for Closed {
    fn from(error: &IngestError) -> Self {
        match error {
            IngestError::Chunk(error) => match error.kind {
                chunk::ErrorKind::MessageTooLarge { .. } => Self::MessageSize,
                chunk::ErrorKind::TooMuchUnfinished(_) => Self::PartialBytes,
                chunk::ErrorKind::TooManyChunkStreams(_) => Self::ChunkStreams,
                _ => Self::Protocol,
            },
            IngestError::Amf(error) => match error.kind {
                Amf::AmfTooDeep(_) => Self::AmfDepth,
                Amf::AmfTooMany(_) => Self::AmfValues,
                Amf::AmfStringTooLong(_) => Self::AmfString,
                _ => Self::Protocol,
            },
            IngestError::Flooded => Self::Flooded,
            _ => Self::Protocol,
        }
    }
}
