//! Why a publisher is given up.

use crate::{chunk, handshake::HandshakeError, link::LinkError};

/// Why an ingest session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The publisher's handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The publisher's chunks.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// A command of the publisher: not AMF0, or beyond the limits.
    #[error("malformed command: {0}")]
    Amf(#[from] flv::Error),
    /// A command that belongs to another stage of the session, or that has come before.
    #[error("{command} out of turn")]
    OutOfTurn {
        /// The command.
        command: &'static str,
    },
    /// publish does not name a stream.
    #[error("publish without a stream name")]
    NoStreamName,
    /// More createStream commands than a publisher has a use for.
    #[error("more than {0} streams created")]
    TooManyStreams(usize),
    /// Audio, video or data from a publisher that has not been accepted.
    #[error("message of type {type_id} before the publisher was accepted")]
    MediaBeforeAccept {
        /// The message type (RTMP 1.0, 7.1).
        type_id: u8,
    },
    /// An aggregate message that is cut off (RTMP 1.0, 7.1.6).
    #[error("aggregate message is cut off at byte {pos}")]
    AggregateTruncated {
        /// Offset in the message of the tag that is not whole.
        pos: usize,
    },
    /// An aggregate message of more tags than any encoder puts into one.
    #[error("aggregate message of more than {0} tags")]
    AggregateTooMany(usize),
    /// The publisher keeps asking for answers and takes none.
    #[error("the publisher asks for more answers than it takes")]
    Flooded,
}

impl From<LinkError> for IngestError {
    fn from(err: LinkError) -> Self {
        match err {
            LinkError::Handshake(err) => Self::Handshake(err),
            LinkError::Chunk(err) => Self::Chunk(err),
            LinkError::Flooded => Self::Flooded,
        }
    }
}
