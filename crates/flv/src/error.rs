//! What can be wrong with FLV or AMF0 bytes, and where.

/// An offence of the peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {pos}")]
pub struct Error {
    /// Byte offset of the offending unit: in the stream for the demuxer, in the decoded message for AMF0.
    pub pos: u64,
    /// The offence.
    pub kind: ErrorKind,
}

impl Error {
    pub(crate) fn new(pos: u64, kind: ErrorKind) -> Self {
        Self { pos, kind }
    }
}

/// The offences, one variant each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The stream does not begin with an FLV header.
    #[error("not FLV but {0}")]
    NotFlv(Sniffed),
    /// The file header names a version whose layout is unknown.
    #[error("unknown FLV version {0}")]
    UnknownVersion(u8),
    /// The file header claims that the first tag lies further away than any header needs.
    #[error("FLV header claims a length of {0} bytes")]
    HeaderTooLong(u32),
    /// A tag claims a body larger than the demuxer's limit.
    #[error("tag claims {size} bytes, more than the {max} allowed")]
    TagTooLarge {
        /// The claimed DataSize in bytes.
        size: u32,
        /// The limit in bytes.
        max: u32,
    },
    /// A tag has its Filter bit set: its body is encrypted.
    #[error("encrypted tag")]
    Encrypted,
    /// After damage, no tag was found within the window.
    #[error("no tag found in the {window} bytes after damage")]
    LostSync {
        /// The resync window in bytes.
        window: usize,
    },
    /// The stream ended before its header was whole, in the middle of a tag, or in damage.
    #[error("stream ends too early")]
    Truncated,
    /// An AMF0 value is cut off.
    #[error("AMF0 value is cut off")]
    AmfTruncated,
    /// An AMF0 type marker that has no meaning here.
    #[error("unknown AMF0 marker {0:#04x}")]
    AmfMarker(u8),
    /// AMF0 containers are nested deeper than the limit.
    #[error("AMF0 values nested more than {0} deep")]
    AmfTooDeep(usize),
    /// The message holds more AMF0 values than the limit.
    #[error("more than {0} AMF0 values")]
    AmfTooMany(usize),
    /// An AMF0 string is longer than the limit.
    #[error("AMF0 string claims {0} bytes")]
    AmfStringTooLong(usize),
}

/// What a stream that is not FLV looks like, judged by the bytes up to the first one that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// It begins with `<`: a web page, or XML such as an error answer or a DASH manifest.
    Html,
    /// It begins with printable characters: a message, JSON, an HLS playlist.
    Text,
    /// Anything else.
    Other,
}

impl std::fmt::Display for Sniffed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Html => "HTML",
            Self::Text => "text",
            Self::Other => "unknown data",
        })
    }
}
