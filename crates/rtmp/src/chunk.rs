//! A peer's chunk stream, read within limits (RTMP 1.0, 5.3).

mod error;
mod reader;

use std::fmt;

use bytes::Bytes;

pub use error::{Error, ErrorKind};
pub use reader::ChunkReader;

/// What a peer may make a [`ChunkReader`] hold. Exceeding one is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Payload bytes of one message.
    pub max_message: usize,
    /// Chunk streams used in the life of the connection.
    pub max_chunk_streams: usize,
    /// Payload bytes of all unfinished messages together.
    pub max_partial: usize,
}

/// A whole message (RTMP 1.0, 6.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// What the payload is (RTMP 1.0, 5.4 and 7.1).
    pub type_id: u8,
    /// In ms, modulo 2^32.
    pub timestamp: u32,
    /// The message stream it belongs to; 0 is the connection itself.
    pub stream_id: u32,
    /// The chunk stream it came on.
    pub csid: u32,
    /// Its bytes, in a buffer of their own.
    pub payload: Bytes,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { type_id, timestamp, stream_id, csid, payload } = self;
        let len = payload.len();
        write!(f, "Message(type {type_id}, {timestamp} ms, stream {stream_id}, csid {csid}, {len} bytes)")
    }
}

#[cfg(test)]
mod tests;
