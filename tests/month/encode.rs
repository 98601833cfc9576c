//! Live encodes that can be asked for any moment of a month.

use std::sync::LazyLock;

use bytes::Bytes;
use flv::{Kind, Tag};

/// A live encode: 25 fps with a keyframe per second, AAC frames of 1024 samples at 48 kHz. Encodes of one name are twins:
/// the same bytes under clocks of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encode {
    pub(crate) name: u8,
    /// The timestamp of position 0.
    pub(crate) base: u64,
    /// How many bits its timestamps have.
    pub(crate) bits: u32,
    /// How much faster than the wall clock its own runs, in millionths.
    pub(crate) ppm: i64,
}

/// What a frame is: its encode, its track, its number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) name: u8,
    pub(crate) kind: Kind,
    pub(crate) number: u64,
}

impl Encode {
    pub(crate) fn new(name: u8) -> Self {
        Self { name, base: 0, bits: 32, ppm: 0 }
    }

    /// Metadata of this version and the sequence headers.
    pub(crate) fn headers(&self, version: u8) -> Vec<Tag> {
        let tag = |kind, body: &[u8]| Tag { kind, timestamp: 0, body: Bytes::copy_from_slice(body) };
        let metadata = [&b"\x02\0\x0AonMetaData\x03\0\x01v\0\x40"[..], &[version; 7], b"\0\0\x09"].concat();
        vec![
            tag(Kind::Script, &metadata),
            tag(Kind::Video, &[0x17, 0, 0, 0, 0, 1, self.name]),
            tag(Kind::Audio, &[0xAF, 0, 0x11, 0x90, self.name]),
        ]
    }

    /// How far the encode is after so many ms of the wall clock.
    pub(crate) fn position(&self, wall: u64) -> u64 {
        wall.wrapping_add_signed(wall as i64 * self.ppm / 1_000_000)
    }

    /// When it is at a position.
    pub(crate) fn wall(&self, position: u64) -> u64 {
        let wall = (position as f64 * 1e6 / (1_000_000 + self.ppm) as f64) as u64;
        (wall.saturating_sub(2)..).find(|&wall| self.position(wall) >= position).unwrap_or(wall)
    }

    /// The frame as a tag whose timestamp is moved by `shift`.
    pub(crate) fn tag(&self, kind: Kind, number: u64, shift: i64) -> Tag {
        let frame = Frame { name: self.name, kind, number };
        let timestamp = (self.base + frame.position()).wrapping_add_signed(shift) & ((1 << self.bits) - 1);
        Tag { kind, timestamp: timestamp as u32, body: frame.body() }
    }
}

impl Frame {
    /// In ms.
    pub(crate) fn position(&self) -> u64 {
        if self.kind == Kind::Audio { self.number * 64 / 3 } else { self.number * 40 }
    }

    /// The number of a track's first frame at a position or behind it.
    pub(crate) fn number_at(kind: Kind, position: u64) -> u64 {
        if kind == Kind::Audio { (position * 3).div_ceil(64) } else { position.div_ceil(40) }
    }

    /// A keyframe takes two chunks, every other frame one.
    fn body(&self) -> Bytes {
        let (head, len) = match self.kind {
            Kind::Audio => (&[0xAF, 1][..], 40),
            _ if self.number.is_multiple_of(25) => (&[0x17, 1, 0, 0, 0][..], 5_000),
            _ => (&[0x27, 1, 0, 0, 0][..], 200),
        };
        let mut body = Vec::with_capacity(len);
        body.extend_from_slice(head);
        body.push(self.name);
        body.extend_from_slice(&self.number.to_be_bytes());
        let from = (self.number % 251) as usize;
        body.extend_from_slice(&NOISE[from..from + len - body.len()]);
        body.into()
    }

    /// The frame that a body is, byte for byte.
    pub(crate) fn of(kind: Kind, body: &[u8]) -> Option<Self> {
        let head = if kind == Kind::Audio { 2 } else { 5 };
        let (&name, rest) = body.get(head..)?.split_first()?;
        let frame = Self { name, kind, number: u64::from_be_bytes(*rest.first_chunk()?) };
        (frame.body() == body).then_some(frame)
    }
}

static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..5_300).map(|_| next()).collect()
});
