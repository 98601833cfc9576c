//! File headers and tag headers, and how to recognise them.

use crate::{ErrorKind, Kind, Sniffed};

/// FLV spec v10.1, E.2. The flags for audio and video are not read: live servers set them at will.
#[derive(Debug)]
pub(super) struct FileHeader {
    /// How many bytes lie between these and PreviousTagSize0, by DataOffset.
    pub(super) padding: usize,
}

impl FileHeader {
    pub(super) const LEN: usize = 9;

    /// Judges a stream by its first bytes, however few.
    pub(super) fn check_start(start: &[u8]) -> Result<(), ErrorKind> {
        let wrong = start.iter().zip(SIGNATURE).position(|(byte, expected)| byte != expected);
        if let Some(wrong) = wrong {
            return Err(ErrorKind::NotFlv(sniff(&start[..=wrong])));
        }
        match start.get(SIGNATURE.len()) {
            Some(version) if !VERSIONS.contains(version) => Err(ErrorKind::UnknownVersion(*version)),
            _ => Ok(()),
        }
    }

    /// Parses a header whose start was checked.
    pub(super) fn parse(raw: &[u8; Self::LEN]) -> Result<Self, ErrorKind> {
        let [_, _, _, _, _, offset @ ..] = *raw;
        let offset = u32::from_be_bytes(offset);
        if offset > MAX_DATA_OFFSET {
            return Err(ErrorKind::HeaderTooLong(offset));
        }
        Ok(Self { padding: (offset as usize).saturating_sub(Self::LEN) })
    }

    /// Whether a file header begins here in mid-stream: where servers join two streams, they keep the second's.
    pub(super) fn is_at(raw: &[u8; TagHeader::LEN]) -> bool {
        let [f, l, v, version, _flags, offset @ .., _, _] = *raw;
        let offset = u32::from_be_bytes(offset);
        [f, l, v] == *SIGNATURE && VERSIONS.contains(&version) && (Self::LEN as u32..=MAX_DATA_OFFSET).contains(&offset)
    }
}

/// FLV spec v10.1, E.4.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct TagHeader {
    /// None for AMF3 script data.
    pub(super) kind: Option<Kind>,
    pub(super) is_encrypted: bool,
    pub(super) size: u32,
    pub(super) timestamp: u32,
    pub(super) stream_id: u32,
}

impl TagHeader {
    pub(super) const LEN: usize = 11;

    /// None when the first byte is no TagType, with or without the Filter bit.
    pub(super) fn parse(raw: &[u8; Self::LEN]) -> Option<Self> {
        let [first, s0, s1, s2, t0, t1, t2, t3, i0, i1, i2] = *raw;
        let tag_type = first & !FILTER;
        if !is_tag_type(tag_type) {
            return None;
        }
        Some(Self {
            kind: Kind::from_type_id(tag_type),
            is_encrypted: first & FILTER != 0,
            size: u32::from_be_bytes([0, s0, s1, s2]),
            timestamp: u32::from_be_bytes([t3, t0, t1, t2]),
            stream_id: u32::from_be_bytes([0, i0, i1, i2]),
        })
    }
}

/// Whether these bytes may follow a tag: a file header, or a tag header that `fits`.
pub(super) fn follows(raw: &[u8; TagHeader::LEN], fits: impl Fn(&TagHeader) -> bool) -> bool {
    FileHeader::is_at(raw) || TagHeader::parse(raw).is_some_and(|header| fits(&header))
}

/// Whether a header of any sort may begin with this byte.
pub(super) fn may_begin(first: u8) -> bool {
    is_tag_type(first & !FILTER) || first == SIGNATURE[0]
}

fn is_tag_type(byte: u8) -> bool {
    byte == SCRIPT_AMF3 || Kind::from_type_id(byte).is_some()
}

fn sniff(start: &[u8]) -> Sniffed {
    match start {
        [b'<', ..] => Sniffed::Html,
        _ if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => Sniffed::Text,
        _ => Sniffed::Other,
    }
}

const SIGNATURE: &[u8; 3] = b"FLV";
/// 1 is the only one that was ever published; readers in use accept these.
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=4;
/// Headers in use are 9 bytes long.
const MAX_DATA_OFFSET: u32 = 64 << 10;
/// The bit of the TagType byte that marks an encrypted tag; the two above it are reserved and 0.
const FILTER: u8 = 0x20;
/// Script data in AMF3 (E-RTMP v2).
const SCRIPT_AMF3: u8 = 15;
