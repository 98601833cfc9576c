//! What can be wrong with a peer's chunks, and where.

/// An offence of the peer's bytes. The reader cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {pos}")]
pub struct Error {
    /// Bytes of the chunk stream taken before the offence was seen; the handshake does not count.
    pub pos: u64,
    /// The offence.
    pub kind: ErrorKind,
}

/// The offences, one variant each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The first chunk of a chunk stream leaves out the message's length and type.
    #[error("chunk stream {csid} begins with a type {fmt} header")]
    NoHeader {
        /// The chunk stream.
        csid: u32,
        /// The header's format.
        fmt: u8,
    },
    /// A header that begins a message stands where the rest of another one is due.
    #[error("type {fmt} header inside a message on chunk stream {csid}")]
    HeaderInsideMessage {
        /// The chunk stream.
        csid: u32,
        /// The header's format.
        fmt: u8,
    },
    /// A header claims a message above the limit.
    #[error("message of {len} bytes, more than the {max} allowed")]
    MessageTooLarge {
        /// The claimed payload in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// One more chunk stream than the limit.
    #[error("more than {0} chunk streams")]
    TooManyChunkStreams(usize),
    /// The unfinished messages are above their limit together.
    #[error("more than {0} bytes of unfinished messages")]
    TooMuchUnfinished(usize),
    /// A SetChunkSize message of size 0, or without a size (RTMP 1.0, 5.4.1).
    #[error("SetChunkSize without a usable size")]
    ChunkSize,
    /// An Abort message that names no chunk stream (RTMP 1.0, 5.4.2).
    #[error("Abort without a chunk stream id")]
    Abort,
}
