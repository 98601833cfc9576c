//! The search for the next tag after damage.

use bytes::{Bytes, BytesMut};

use super::header::{self, FileHeader, TagHeader};

/// Looks for the end of a tag rather than for its beginning: a PreviousTagSize that leads back to a header of that
/// size, and a header behind it. That needs no list of candidates, and the first tag found is the same however the
/// bytes arrive. A file header is found as well.
#[derive(Debug)]
pub(super) struct Resync {
    held: BytesMut,
    /// Up to here no tag ends and no file header begins.
    at: usize,
    window: usize,
    max_tag_size: u32,
}

pub(super) enum Scan {
    /// A tag begins after `skipped` bytes, with this StreamID, or a file header, with none.
    Found {
        skipped: usize,
        stream_id: Option<u32>,
    },
    /// The window holds neither.
    Nothing,
    Starved,
}

impl Resync {
    pub(super) fn new(window: usize, max_tag_size: u32) -> Self {
        Self { held: BytesMut::new(), at: 0, window, max_tag_size }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many bytes to push next: few at first, since damage is mostly short, and what is not needed goes back.
    pub(super) fn appetite(&self) -> usize {
        self.held.len().clamp(2 << 10, 64 << 10)
    }

    /// The bytes behind the damage.
    pub(super) fn into_rest(mut self, skipped: usize) -> Bytes {
        self.held.split_off(skipped).freeze()
    }

    /// Goes on with the search; at the end of the stream a tag needs no header behind it.
    pub(super) fn scan(&mut self, is_end: bool) -> Scan {
        while let Some(next) = self.held.get(self.at..).and_then(|rest| rest.first_chunk()) {
            if self.at > self.window {
                return Scan::Nothing;
            }
            if header::may_begin(next[0])
                && let Some(found) = self.found_before(next)
            {
                return found;
            }
            self.at += 1;
        }
        if is_end && let Some((skipped, header)) = self.tag_ending_at(self.held.len()) {
            return Scan::Found { skipped, stream_id: Some(header.stream_id) };
        }
        Scan::Starved
    }

    fn found_before(&self, next: &[u8; TagHeader::LEN]) -> Option<Scan> {
        if let Some((skipped, header)) = self.tag_ending_at(self.at) {
            let fits = |next: &TagHeader| {
                next.size <= self.max_tag_size && (next.stream_id == 0 || next.stream_id == header.stream_id)
            };
            if header::follows(next, fits) {
                return Some(Scan::Found { skipped, stream_id: Some(header.stream_id) });
            }
        }
        FileHeader::is_at(next).then_some(Scan::Found { skipped: self.at, stream_id: None })
    }

    fn tag_ending_at(&self, end: usize) -> Option<(usize, TagHeader)> {
        let (before, trailer) = self.held.get(..end)?.split_last_chunk()?;
        let trailer = u32::from_be_bytes(*trailer);
        [11, 10, 0].into_iter().find_map(|surplus| {
            let size = trailer.checked_sub(surplus).filter(|size| (1..=self.max_tag_size).contains(size))?;
            let start = before.len().checked_sub(size as usize + TagHeader::LEN)?;
            let header = TagHeader::parse(before.get(start..)?.first_chunk()?)?;
            (header.size == size && !header.is_encrypted).then_some((start, header))
        })
    }
}
