//! Why a publish session failed, and what that says about the next one.

use super::Step;
use crate::{chunk, handshake::HandshakeError, link::LinkError};

/// Why a publish session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The server said no, or took back its yes. Safe to print: without control characters, key and queries.
    #[error("{code}{}{description} (at {step})", if description.is_empty() { "" } else { ": " })]
    Refused {
        /// What the session waited for.
        step: Step,
        /// The server's code, or the name of its command if it gave none.
        code: String,
        /// The server's words, at most 200 characters.
        description: String,
    },
    /// The server's handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The server's chunks.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// A command of the server: not AMF0, or beyond the limits.
    #[error("malformed command: {0}")]
    Amf(#[from] flv::Error),
    /// The answer to createStream has no number that can be a message stream.
    #[error("createStream was answered without a stream id")]
    NoStreamId,
    /// The server keeps asking for answers and takes none.
    #[error("the server asks for more answers than it takes")]
    Flooded,
    /// The server ended the connection by itself.
    #[error("the server closed the connection (at {step})")]
    ClosedEarly {
        /// What the session waited for.
        step: Step,
    },
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With the usual backoff.
    Normal,
    /// Rarely: the server knows this key or app and does not want it, which takes a person or much time to change.
    Slow,
    /// Not at all.
    Never,
}

impl PublishError {
    /// When another session may fare better.
    pub fn retry(&self) -> Retry {
        let Self::Refused { code, description, .. } = self else {
            return Retry::Normal;
        };
        let is_about_key = ["BadName", "Denied", "InvalidApp", "Publish.Rejected", "NetStream.Failed", "Auth"]
            .iter()
            .any(|part| code.contains(part));
        // Adobe-style authentication speaks in the description alone.
        let wants_login =
            ["authmod=", "needauth", "authfailed", "nosuchuser"].iter().any(|part| description.contains(part));
        if is_about_key || wants_login { Retry::Slow } else { Retry::Normal }
    }

    /// The kind of trouble in one word, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "rejected",
            Self::Handshake(_) => "handshake",
            Self::Chunk(_) | Self::Amf(_) | Self::NoStreamId | Self::Flooded => "protocol",
            Self::ClosedEarly { .. } => "closed",
        }
    }
}

impl From<LinkError> for PublishError {
    fn from(err: LinkError) -> Self {
        match err {
            LinkError::Handshake(err) => Self::Handshake(err),
            LinkError::Chunk(err) => Self::Chunk(err),
            LinkError::Flooded => Self::Flooded,
        }
    }
}
