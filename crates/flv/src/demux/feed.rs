//! The pieces of the stream that are not dealt with yet.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

#[derive(Debug, Default)]
pub(super) struct Feed {
    /// None of them is empty.
    pieces: VecDeque<Bytes>,
    len: usize,
    /// Where in the stream the first of them begins.
    pos: u64,
    piece_size: usize,
}

impl Feed {
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.piece_size = piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Puts back what was taken last.
    pub(super) fn unread(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pos -= piece.len() as u64;
            self.pieces.push_front(piece);
        }
    }

    pub(super) fn clear(&mut self) {
        self.pos += self.len as u64;
        self.len = 0;
        self.pieces.clear();
    }

    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the first piece holds.
    pub(super) fn front_len(&self) -> usize {
        self.pieces.front().map_or(0, Bytes::len)
    }

    /// How large the newest piece was when it was pushed.
    pub(super) fn piece_size(&self) -> usize {
        self.piece_size
    }

    /// The next `N` bytes, left in place; None while fewer are held.
    pub(super) fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        if let Some(bytes) = self.pieces.front().and_then(|piece| piece.first_chunk()) {
            return Some(*bytes);
        }
        let mut bytes = [0; N];
        (self.copy_to(&mut bytes) == N).then_some(bytes)
    }

    /// Copies the next bytes, as many as are held and fit; how many.
    pub(super) fn copy_to(&self, out: &mut [u8]) -> usize {
        let mut filled = 0;
        for piece in &self.pieces {
            let len = piece.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&piece[..len]);
            filled += len;
            if filled == out.len() {
                break;
            }
        }
        filled
    }

    /// Takes bytes of the first piece, at most `max`; empty when nothing is held.
    pub(super) fn take(&mut self, max: usize) -> Bytes {
        let Some(front) = self.pieces.front_mut() else {
            return Bytes::new();
        };
        let part = if front.len() > max { front.split_to(max) } else { self.pieces.pop_front().unwrap_or_default() };
        self.len -= part.len();
        self.pos += part.len() as u64;
        part
    }

    /// Drops bytes, at most `max`; how many.
    pub(super) fn skip(&mut self, max: usize) -> usize {
        let mut left = max;
        while left > 0
            && let Some(front) = self.pieces.front_mut()
        {
            if front.len() > left {
                front.advance(left);
                left = 0;
            } else {
                left -= front.len();
                self.pieces.pop_front();
            }
        }
        let skipped = max - left;
        self.len -= skipped;
        self.pos += skipped as u64;
        skipped
    }
}
