//! A feed as seen by one client: bytes and when they are due.

use std::iter::Peekable;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flv::{Kind, Tag, mux};
use tokio::time::Instant;

use super::{Fault, Feed};
use crate::encode::{Encode, Placed, Track};

type Tags = Peekable<Box<dyn Iterator<Item = Placed> + Send>>;

/// The bytes for one client of a live feed.
pub(crate) struct Playback<'a> {
    feed: &'a Feed,
    encode: Encode,
    tags: Tags,
    /// Where the feed's first client joined; fault times count from here.
    origin: u64,
    /// Where this client joined.
    joined: u64,
    opened: Instant,
    /// The first connection has the faults that happen once.
    first: bool,
    sent: u64,
    next_headers: Option<u64>,
    pending: Vec<Fault>,
    head: Option<Bytes>,
}

/// What happens next on a connection.
pub(crate) enum Piece {
    /// Bytes, not before a time.
    Bytes(Instant, Bytes),
    /// Silence from a time on.
    Stall(Instant),
    /// The connection closes.
    End,
}

impl<'a> Playback<'a> {
    /// For a client that joins now. `origin` is the position at which the feed's first client joined.
    pub(crate) fn new(feed: &'a Feed, encode: &Encode, origin: u64, first: bool) -> Self {
        let live = encode.clock().position().saturating_sub(feed.lag_ms);
        let joined = if feed.gop_cache { encode.gop_start(live) } else { live };
        let mut playback = Self {
            feed,
            encode: encode.clone(),
            tags: tags_from(encode, joined),
            origin,
            joined,
            opened: Instant::now(),
            first,
            sent: 0,
            next_headers: None,
            pending: feed.faults.clone(),
            head: None,
        };
        playback.next_headers = feed.faults.iter().find_map(|fault| match fault {
            Fault::HeadersEvery { ms } => Some(joined + ms),
            _ => None,
        });
        let mut head = BytesMut::from(&encode.file_header()[..]);
        playback.put_headers(joined, &mut head);
        playback.head = Some(head.freeze());
        playback
    }

    /// The next piece; the caller stops at a stall or an end.
    pub(crate) fn next(&mut self) -> Piece {
        if let Some(head) = self.head.take() {
            return self.emit(self.opened, head);
        }
        let Some(placed) = self.tags.next() else {
            return Piece::End;
        };
        let now = placed.position;
        let due = self.due(now);
        if self.first {
            let elapsed = now.saturating_sub(self.origin);
            for fault in &self.feed.faults {
                match *fault {
                    Fault::Stall { after } if elapsed >= after => return Piece::Stall(due),
                    Fault::Eof { after } if elapsed >= after => return Piece::End,
                    _ => {}
                }
            }
        }
        let mut out = BytesMut::new();
        let placed = self.become_another(placed, &mut out);
        self.insert(now, &mut out);
        if self.next_headers.is_some_and(|at| now >= at) {
            self.put_headers(now, &mut out);
            self.next_headers = self.feed.faults.iter().find_map(|fault| match fault {
                Fault::HeadersEvery { ms } => Some(now + ms),
                _ => None,
            });
        }
        if placed.tag.kind == Kind::Video {
            self.put_new_headers(now, &mut out);
        }
        self.put(&placed.tag, now, &mut out);
        self.emit(due, out.freeze())
    }

    fn due(&self, position: u64) -> Instant {
        if self.feed.rate < 1.0 {
            let media = Duration::from_millis(position - self.joined);
            return self.opened + media.div_f64(self.feed.rate);
        }
        self.encode.clock().at(position) + Duration::from_millis(self.feed.lag_ms)
    }

    /// Passes to the next encode at its first keyframe after the fault's time.
    fn become_another(&mut self, placed: Placed, out: &mut BytesMut) -> Placed {
        if !placed.key {
            return placed;
        }
        let elapsed = placed.position.saturating_sub(self.origin);
        let due = |fault: &Fault| matches!(fault, Fault::Become { at, .. } if elapsed >= *at);
        let Some(index) = self.pending.iter().position(due) else {
            return placed;
        };
        if let Fault::Become { encode, .. } = self.pending.remove(index) {
            self.encode = *encode;
            self.tags = tags_from(&self.encode, placed.position);
            self.put_headers(placed.position, out);
        }
        self.tags.next().unwrap_or(placed)
    }

    fn insert(&mut self, position: u64, out: &mut BytesMut) {
        if !self.first {
            return;
        }
        let elapsed = position.saturating_sub(self.origin);
        self.pending.retain(|fault| match fault {
            Fault::Insert { at, bytes } if elapsed >= *at => {
                out.put_slice(bytes);
                false
            }
            _ => true,
        });
    }

    fn put_headers(&self, position: u64, out: &mut BytesMut) {
        for header in self.encode.headers() {
            let timestamp = header.timestamp.wrapping_add(position as u32);
            self.put(&Tag { timestamp, ..header }, position, out);
        }
    }

    /// The encode's video header with noise behind it, and metadata with strings in it; both begin with the position.
    fn put_new_headers(&self, position: u64, out: &mut BytesMut) {
        for fault in &self.feed.faults {
            let Fault::NewHeaders { bytes } = *fault else { continue };
            let mut metadata = BytesMut::from(&b"\x02\0\x0AonMetaData\x08\0\0\0\0"[..]);
            for at in (0..bytes).step_by(STRING) {
                let len = STRING.min(bytes - at);
                metadata.put_slice(b"\0\x08");
                metadata.put_u64(position << 8 | (at / STRING) as u64);
                metadata.put_slice(b"\x02");
                metadata.put_u16(len as u16);
                metadata.put_bytes(b'm', len);
            }
            metadata.put_slice(b"\0\0\x09");
            let headers = self.encode.headers();
            let header = headers.iter().find(|header| header.kind == Kind::Video);
            let mut video = header.map(|header| BytesMut::from(&header.body[..])).unwrap_or_default();
            video.put_u64(position);
            video.put_bytes(b'v', bytes);
            for (kind, body) in [(Kind::Script, metadata), (Kind::Video, video)] {
                self.put(&Tag { kind, timestamp: position as u32, body: body.freeze() }, position, out);
            }
        }
    }

    fn put(&self, tag: &Tag, position: u64, out: &mut BytesMut) {
        let elapsed = position.saturating_sub(self.origin);
        let on = |track| tag.kind == if track == Track::Video { Kind::Video } else { Kind::Audio };
        let mut timestamp = tag.timestamp;
        for fault in &self.feed.faults {
            match *fault {
                Fault::Mute { at, track } if elapsed >= at && on(track) => return,
                Fault::Shift { at, by } if elapsed >= at => timestamp = timestamp.wrapping_add(by as u32),
                Fault::ShiftTrack { at, by, track } if elapsed >= at && on(track) => {
                    timestamp = timestamp.wrapping_add(by as u32);
                }
                _ => {}
            }
        }
        mux::write_tag(out, tag.kind, timestamp, &tag.body);
        if self.feed.wrong_trailers {
            out.truncate(out.len() - 4);
            out.put_u32(0x1234_5678);
        }
    }

    fn emit(&mut self, due: Instant, mut bytes: Bytes) -> Piece {
        let end = self.feed.faults.iter().find_map(|fault| match fault {
            Fault::Cut { byte } if self.first => Some(*byte),
            _ => None,
        });
        if let Some(left) = end.map(|byte| byte.saturating_sub(self.sent)) {
            if left == 0 {
                return Piece::End;
            }
            bytes.truncate(left as usize);
        }
        self.sent += bytes.len() as u64;
        Piece::Bytes(due, bytes)
    }
}

/// Bytes of a string in metadata that is made up.
const STRING: usize = 60_000;

fn tags_from(encode: &Encode, position: u64) -> Tags {
    let encode = encode.clone();
    let mut pulled = Vec::new().into_iter();
    let mut next = position;
    // Two seconds at a time: the iterator owns its encode, which a borrowing one could not.
    let tags = std::iter::from_fn(move || {
        loop {
            if let Some(placed) = pulled.next() {
                return Some(placed);
            }
            let end = next + 2000;
            let some: Vec<_> = encode.placed_from(next).take_while(|placed| placed.position < end).collect();
            pulled = some.into_iter();
            next = end;
        }
    });
    let boxed: Box<dyn Iterator<Item = Placed> + Send> = Box::new(tags);
    boxed.peekable()
}
