//! A live FLV stream, cut into tags.

mod dialect;
mod feed;
mod header;
mod resync;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use self::dialect::Dialect;
use self::feed::Feed;
use self::header::{FileHeader, TagHeader};
use self::resync::{Resync, Scan};
use crate::{Error, ErrorKind, Tag, mux};

/// Cuts a byte stream that arrives in pieces of any size into tags (FLV spec v10.1, E.2 to E.4). The cuts of the pieces
/// make no difference to the tags.
///
/// A body that lies whole in one piece is a slice of it; any other is gathered once in a buffer of its own, which grows
/// with what arrives and not with what a header claims. Besides the pieces that are pushed and not yet drained, at most
/// one tag, or the resync window and one tag, is held.
///
/// What live servers get wrong is tolerated: flags that lie, PreviousTagSize values of several dialects or of none, a
/// second file header in mid-stream, empty tags, StreamIDs. Damage between or within tags costs the damaged tags:
/// the demuxer finds the next tag that is proven by its PreviousTagSize and by the header that follows it.
///
/// ```text
///  FileHeader ─> Gap ─> TagHeader ─> Body ─> Trailer ─> tag, TagHeader
///      ^                    │  │                └─> Confirm ─> tag, TagHeader
///      └─ second header ────┘  └─> Resync <────────────┘  │
///                                    └─> TagHeader        └─ odd PreviousTagSize: the next header decides
/// ```
#[derive(Debug)]
pub struct Demuxer {
    limits: DemuxLimits,
    feed: Feed,
    state: State,
    dialect: Dialect,
    counters: Counters,
    /// Bytes before this position were rolled back once and are not rolled back again, which keeps the work linear.
    rolled_back: u64,
    is_finished: bool,
    /// Tags found by `finish`.
    ready: VecDeque<Tag>,
}

/// What a peer may make the demuxer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemuxLimits {
    /// The largest body in bytes; a larger claim is an error. Values over [`mux::MAX_BODY`] mean that.
    pub max_tag_size: u32,
    /// After damage, in how many bytes the next whole tag must be found.
    pub resync_window: usize,
}

impl Default for DemuxLimits {
    fn default() -> Self {
        Self { max_tag_size: 8 << 20, resync_window: 1 << 20 }
    }
}

/// What was tolerated, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times the place was lost; counted before the first tag after the gap is returned.
    pub resyncs: u64,
    /// Bytes dropped as damage.
    pub skipped_bytes: u64,
    /// PreviousTagSize values that fit no known dialect.
    pub prev_size_mismatches: u64,
    /// Tags without a body, dropped.
    pub empty_tags: u64,
    /// Tags of type 15, script data in AMF3, dropped.
    pub amf3_tags: u64,
    /// File headers in mid-stream.
    pub embedded_headers: u64,
}

#[derive(Debug)]
enum State {
    FileHeader,
    /// The rest of the file header and PreviousTagSize0, in bytes.
    Gap(usize),
    TagHeader,
    Body(Unit, BytesMut),
    Trailer(Unit, Bytes),
    /// The PreviousTagSize fits no dialect: the tag is good only if a header follows.
    Confirm(Unit, Bytes, [u8; 4]),
    Resync(Resync),
    Failed(Error),
    Ended,
}

/// A tag whose header was read, and where it began.
#[derive(Clone, Copy, Debug)]
struct Unit {
    raw: [u8; TagHeader::LEN],
    header: TagHeader,
    pos: u64,
}

enum Step {
    Tag(Tag),
    Again,
    Starved,
}

impl Demuxer {
    /// A demuxer at the start of a stream.
    pub fn new(limits: DemuxLimits) -> Self {
        let max_tag_size = limits.max_tag_size.min(mux::MAX_BODY);
        Self {
            limits: DemuxLimits { max_tag_size, ..limits },
            feed: Feed::default(),
            state: State::FileHeader,
            dialect: Dialect::default(),
            counters: Counters::default(),
            rolled_back: 0,
            is_finished: false,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next piece of the stream. Drain [`next_tag`](Self::next_tag) before the next push: pieces that are not
    /// drained are kept.
    pub fn push(&mut self, data: Bytes) {
        self.feed.push(data);
    }

    /// The next whole tag; None until more is pushed. An error is final, and every later call returns it again.
    pub fn next_tag(&mut self) -> Result<Option<Tag>, Error> {
        if let Some(tag) = self.ready.pop_front() {
            return Ok(Some(tag));
        }
        self.advance()
    }

    /// Marks the end of the stream; what is still held whole is returned by [`next_tag`](Self::next_tag) afterwards.
    /// `Truncated` when something is left that is no whole tag, or when there was no whole header.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.is_finished = true;
        while let Some(tag) = self.advance()? {
            self.ready.push_back(tag);
        }
        let is_whole = match self.state {
            State::TagHeader => self.feed.is_empty(),
            State::Ended => true,
            _ => false,
        };
        let end = self.feed.pos() + self.feed.len() as u64;
        self.state = State::Ended;
        self.feed.clear();
        if is_whole { Ok(()) } else { Err(Error::new(end, ErrorKind::Truncated)) }
    }

    /// What was tolerated so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Where in the stream the first byte lies that is still needed; everything before it was returned or dropped. Never
    /// goes back.
    pub fn position(&self) -> u64 {
        match &self.state {
            State::Body(unit, _) | State::Trailer(unit, _) | State::Confirm(unit, ..) => unit.pos,
            State::Resync(resync) => self.feed.pos() - resync.len() as u64,
            _ => self.feed.pos(),
        }
    }

    fn advance(&mut self) -> Result<Option<Tag>, Error> {
        loop {
            match self.step() {
                Ok(Step::Tag(tag)) => return Ok(Some(tag)),
                Ok(Step::Again) => {}
                Ok(Step::Starved) => return Ok(None),
                Err(error) => {
                    self.state = State::Failed(error);
                    self.feed.clear();
                    return Err(error);
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step, Error> {
        match std::mem::replace(&mut self.state, State::TagHeader) {
            State::FileHeader => self.file_header(),
            State::Gap(left) => {
                let left = left - self.feed.skip(left);
                Ok(if left == 0 { Step::Again } else { self.wait(State::Gap(left)) })
            }
            State::TagHeader => self.tag_header(),
            State::Body(unit, gathered) => Ok(self.body(unit, gathered)),
            State::Trailer(unit, body) => Ok(self.trailer(unit, body)),
            State::Confirm(unit, body, trailer) => Ok(self.confirm(unit, body, trailer)),
            State::Resync(resync) => self.resync(resync),
            State::Failed(error) => Err(error),
            State::Ended => Ok(self.wait(State::Ended)),
        }
    }

    fn wait(&mut self, state: State) -> Step {
        self.state = state;
        Step::Starved
    }

    fn file_header(&mut self) -> Result<Step, Error> {
        let mut raw = [0; FileHeader::LEN];
        let held = self.feed.copy_to(&mut raw);
        let pos = self.feed.pos();
        FileHeader::check_start(&raw[..held]).map_err(|kind| Error::new(pos, kind))?;
        if held < FileHeader::LEN {
            return Ok(self.wait(State::FileHeader));
        }
        let header = FileHeader::parse(&raw).map_err(|kind| Error::new(pos, kind))?;
        self.dialect = Dialect::default();
        self.feed.skip(held);
        self.state = State::Gap(header.padding + 4);
        Ok(Step::Again)
    }

    fn tag_header(&mut self) -> Result<Step, Error> {
        let Some(raw) = self.feed.peek() else {
            return Ok(self.wait(State::TagHeader));
        };
        if FileHeader::is_at(&raw) {
            self.counters.embedded_headers += 1;
            self.state = State::FileHeader;
            return Ok(Step::Again);
        }
        let pos = self.feed.pos();
        let header = match TagHeader::parse(&raw) {
            Some(header) if self.dialect.knows(&header) => header,
            _ => {
                self.lose(0);
                return Ok(Step::Again);
            }
        };
        if header.is_encrypted {
            return Err(Error::new(pos, ErrorKind::Encrypted));
        }
        if header.size > self.limits.max_tag_size {
            let max = self.limits.max_tag_size;
            return Err(Error::new(pos, ErrorKind::TagTooLarge { size: header.size, max }));
        }
        self.feed.skip(raw.len());
        self.state = State::Body(Unit { raw, header, pos }, BytesMut::new());
        Ok(Step::Again)
    }

    fn body(&mut self, unit: Unit, mut gathered: BytesMut) -> Step {
        let size = unit.header.size as usize;
        if gathered.is_empty() && self.feed.front_len() >= size {
            let body = self.feed.take(size);
            self.state = State::Trailer(unit, body);
            return Step::Again;
        }
        while gathered.len() < size {
            let missing = size - gathered.len();
            let part = self.feed.take(missing);
            if part.is_empty() {
                return self.wait(State::Body(unit, gathered));
            }
            if gathered.capacity() - gathered.len() < part.len() {
                gathered.reserve(missing.min(gathered.len().max(self.feed.piece_size()).max(part.len())));
            }
            gathered.extend_from_slice(&part);
        }
        self.state = State::Trailer(unit, gathered.freeze());
        Step::Again
    }

    fn trailer(&mut self, unit: Unit, body: Bytes) -> Step {
        let Some(trailer) = self.feed.peek() else {
            // The last PreviousTagSize of a stream is often cut off, and proves nothing that is needed.
            if !self.is_finished {
                return self.wait(State::Trailer(unit, body));
            }
            self.feed.skip(self.feed.len());
            return self.accept(unit.header, body);
        };
        self.feed.skip(trailer.len());
        let is_explained = self.dialect.explains(trailer, unit.header.size);
        self.dialect.observe_trailer(trailer);
        if is_explained {
            return self.accept(unit.header, body);
        }
        self.counters.prev_size_mismatches += 1;
        self.state = State::Confirm(unit, body, trailer);
        Step::Again
    }

    fn confirm(&mut self, unit: Unit, body: Bytes, trailer: [u8; 4]) -> Step {
        let is_tag = match self.feed.peek() {
            Some(raw) => {
                header::follows(&raw, |next| next.stream_id == unit.header.stream_id || self.dialect.knows(next))
            }
            None if self.is_finished => true,
            None => return self.wait(State::Confirm(unit, body, trailer)),
        };
        if is_tag {
            return self.accept(unit.header, body);
        }
        let len = unit.raw.len() + body.len() + trailer.len();
        if unit.pos < self.rolled_back {
            self.counters.skipped_bytes += len as u64;
            self.lose(0);
            return Step::Again;
        }
        self.rolled_back = self.feed.pos();
        self.feed.unread(Bytes::copy_from_slice(&trailer));
        self.feed.unread(body);
        self.feed.unread(Bytes::copy_from_slice(&unit.raw));
        self.lose(len);
        Step::Again
    }

    fn accept(&mut self, header: TagHeader, body: Bytes) -> Step {
        self.dialect.observe_stream_id(header.stream_id);
        self.state = State::TagHeader;
        let Some(kind) = header.kind else {
            self.counters.amf3_tags += 1;
            return Step::Again;
        };
        if body.is_empty() {
            self.counters.empty_tags += 1;
            return Step::Again;
        }
        Step::Tag(Tag { kind, timestamp: header.timestamp, body })
    }

    /// Searches from here on; `known` bytes were already there and do not count against the window.
    fn lose(&mut self, known: usize) {
        self.counters.resyncs += 1;
        let window = self.limits.resync_window.saturating_add(known);
        self.state = State::Resync(Resync::new(window, self.limits.max_tag_size));
    }

    fn resync(&mut self, mut resync: Resync) -> Result<Step, Error> {
        loop {
            match resync.scan(self.is_finished && self.feed.is_empty()) {
                Scan::Found { skipped, stream_id } => {
                    self.counters.skipped_bytes += skipped as u64;
                    self.dialect = Dialect::of_stream_id(stream_id);
                    self.feed.unread(resync.into_rest(skipped));
                    return Ok(Step::Again);
                }
                Scan::Nothing => {
                    let start = self.feed.pos() - resync.len() as u64;
                    return Err(Error::new(start, ErrorKind::LostSync { window: self.limits.resync_window }));
                }
                Scan::Starved => {
                    let part = self.feed.take(resync.appetite());
                    if part.is_empty() {
                        return Ok(self.wait(State::Resync(resync)));
                    }
                    resync.push(&part);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
