//! The bounded ring of entries that outputs read.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flv::Class;
use rtmp::wire::{Track, WireForm};

use crate::{cost, headers::HeaderSet, policy::LogPolicy};

/// A tag on the programme's timeline, ready for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What the tag is. Metadata and sequence headers come only when their bytes have changed.
    pub class: Class,
    /// The programme's DTS in ms.
    pub dts: i64,
    /// The tag's body.
    pub body: Bytes,
}

/// One tag in the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the tag is.
    pub class: Class,
    /// The programme's DTS in ms.
    pub dts: i64,
    /// When it came into the log: lag counts from here.
    pub arrived: Instant,
    /// Its RTMP bytes, shared by every output.
    pub wire: WireForm,
    /// The headers in force, on entries where an output may begin.
    pub headers: Option<Arc<HeaderForms>>,
    /// It is a sequence header other than the one before it.
    pub replaces_header: bool,
    /// Bytes of all entries before this one since the log began.
    offset: u64,
}

impl Entry {
    /// The tag's body, copied out of the chunks.
    pub(crate) fn body(&self) -> Bytes {
        body_of(&self.wire)
    }
}

/// The headers in force at some entry, in wire form.
#[derive(Clone, Debug, Default)]
pub struct HeaderForms {
    /// onMetaData.
    pub metadata: Option<WireForm>,
    /// The video sequence header.
    pub video: Option<WireForm>,
    /// The audio sequence header.
    pub audio: Option<WireForm>,
}

impl HeaderForms {
    /// Those there are, in the order in which a session begins.
    pub fn iter(&self) -> impl Iterator<Item = &WireForm> {
        [&self.metadata, &self.video, &self.audio].into_iter().flatten()
    }
}

/// The programme's newest tags, numbered; bounded by bytes and by media time, whichever is reached first.
///
/// Writing never waits for a reader. Each entry's wire form is made here, once: its header carries the delta to the
/// entry before it on the same track.
#[derive(Debug)]
pub struct Log {
    policy: LogPolicy,
    entries: VecDeque<Entry>,
    first: u64,
    /// The number of the present programme's first entry.
    begins: u64,
    /// How many programmes have ended.
    programme: u64,
    written: u64,
    last: [Option<i64>; 3],
    headers: Arc<HeaderForms>,
    /// By track, what the newest header costs whose entry has left: entries that are held still refer to it.
    left_headers: [usize; 3],
    /// By track, where the header in force was forgotten: entries before that still refer to it, none behind does.
    forgotten: [Option<u64>; 3],
    has_video: bool,
    /// Video frames held.
    videos: usize,
    newest_key: Option<u64>,
    /// A keyframe has left the log before the next one came.
    gop_does_not_fit: bool,
}

impl Log {
    /// An empty log.
    pub fn new(policy: LogPolicy) -> Self {
        Self {
            policy,
            entries: VecDeque::new(),
            first: 0,
            begins: 0,
            programme: 0,
            written: 0,
            last: [None; 3],
            headers: Arc::default(),
            left_headers: [0; 3],
            forgotten: [None; 3],
            has_video: false,
            videos: 0,
            newest_key: None,
            gop_does_not_fit: false,
        }
    }

    /// Bounds it anew. Headers that have become too large are no longer in force, as in the rings that they came from:
    /// they would take all the room of the entries to come.
    pub fn set_policy(&mut self, policy: LogPolicy) {
        self.policy = policy;
        let mut headers = HeaderForms::clone(&self.headers);
        for slot in [&mut headers.metadata, &mut headers.video, &mut headers.audio] {
            if let Some(form) = slot.take_if(|form| body_len(form) > policy.max_header()) {
                self.forgotten[index(form.track())] = Some(self.end());
            }
        }
        self.headers = Arc::new(headers);
        self.trim(self.entries.back().map_or(0, |newest| newest.dts));
    }

    /// Appends a tag and lets go of what exceeds the bounds.
    pub fn push(&mut self, placed: &Placed, now: Instant) {
        let Some(track) = track_of(placed.class) else { return };
        let last = &mut self.last[index(track)];
        let wire = match track {
            Track::Data => WireForm::new(track, placed.dts, *last, &[SET_DATA_FRAME, &placed.body]),
            Track::Audio | Track::Video => WireForm::new(track, placed.dts, *last, &[&placed.body]),
        };
        *last = Some(placed.dts);
        let replaces_header = self.note_header(placed.class, &wire);

        let number = self.end();
        if placed.class == Class::Key {
            self.newest_key = Some(number);
            self.has_video = true;
        }
        let is_entry_point = placed.class == Class::Key || (placed.class == Class::Audio && !self.has_video);
        let headers = is_entry_point.then(|| Arc::clone(&self.headers));
        let offset = self.written;
        self.written += cost(placed.class, &wire) as u64;
        self.videos += usize::from(is_video(placed.class));
        self.entries.push_back(Entry {
            class: placed.class,
            dts: placed.dts,
            arrived: now,
            wire,
            headers,
            replaces_header,
            offset,
        });
        self.trim(placed.dts);
    }

    /// Takes note of a header; true when it is a sequence header that takes another's place.
    fn note_header(&mut self, class: Class, wire: &WireForm) -> bool {
        let mut headers = HeaderForms::clone(&self.headers);
        let slot = match class {
            Class::Metadata => &mut headers.metadata,
            Class::VideoHeader => &mut headers.video,
            Class::AudioHeader => &mut headers.audio,
            _ => return false,
        };
        let before = slot.replace(wire.clone()).is_some();
        self.headers = Arc::new(headers);
        // A reader may have sent the one that was forgotten.
        let forgotten = self.forgotten[index(wire.track())].take().is_some();
        (before || forgotten) && class != Class::Metadata
    }

    fn trim(&mut self, newest: i64) {
        let max_time = self.policy.reach_ms();
        self.stop_counting_forgotten();
        while let Some(oldest) = self.entries.front() {
            if self.bytes() <= self.policy.max_bytes && newest.saturating_sub(oldest.dts) <= max_time {
                break;
            }
            if self.newest_key == Some(self.first) {
                self.newest_key = None;
                self.gop_does_not_fit = self.videos > 1;
            }
            self.videos -= usize::from(is_video(oldest.class));
            if is_header(oldest.class) {
                self.left_headers[index(oldest.wire.track())] = cost(oldest.class, &oldest.wire);
            }
            self.entries.pop_front();
            self.first += 1;
            self.stop_counting_forgotten();
        }
        cost::fit(&mut self.entries);
        if self.videos == 0 {
            // The programme has gone on without video for as long as the log reaches back.
            self.has_video = false;
        }
    }

    /// Once no entry refers to a forgotten header any more, it is gone.
    fn stop_counting_forgotten(&mut self) {
        for (left, forgotten) in self.left_headers.iter_mut().zip(self.forgotten) {
            if forgotten.is_some_and(|end| self.first >= end) {
                *left = 0;
            }
        }
    }

    /// The number of the present programme, which goes up when one ends.
    pub fn programme(&self) -> u64 {
        self.programme
    }

    /// Where the programme of this number ends, as far as is known.
    pub fn end_of(&self, programme: u64) -> u64 {
        if programme < self.programme { self.begins } else { self.end() }
    }

    /// The programme ends: readers may finish, and nobody begins with what is held now.
    pub fn end_programme(&mut self) {
        self.begins = self.end();
        self.programme += 1;
        self.newest_key = None;
        self.has_video = false;
    }

    /// The number of the oldest entry held.
    pub fn start(&self) -> u64 {
        self.first
    }

    /// The number that the next entry gets.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The entry of that number, while it is held.
    pub fn get(&self, number: u64) -> Option<&Entry> {
        let index = number.checked_sub(self.first)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// What is held, oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The newest DTS on a track, held or not.
    pub(crate) fn last(&self, track: Track) -> Option<i64> {
        self.last[index(track)]
    }

    /// The headers in force at the end, as tag bodies.
    pub(crate) fn headers(&self) -> HeaderSet {
        let HeaderForms { metadata, video, audio } = &*self.headers;
        let [metadata, video, audio] = [metadata, video, audio].map(|form| form.as_ref().map(body_of));
        HeaderSet { metadata, video, audio }
    }

    /// Where an output begins: the newest keyframe, or the newest audio of a programme without video.
    pub fn entry_point(&self) -> Option<u64> {
        if self.has_video {
            return self.newest_key;
        }
        let begins = |entry: &Entry| entry.class == Class::Audio && entry.headers.is_some();
        let newest = self.entries.iter().rposition(begins)?;
        Some(self.first + newest as u64).filter(|&number| number >= self.begins)
    }

    /// The newest keyframe held.
    pub fn newest_key(&self) -> Option<u64> {
        self.newest_key
    }

    /// True once, when a keyframe has left the log before the next one came: joiners find no place to begin.
    pub fn take_gop_warning(&mut self) -> bool {
        self.newest_key.is_none() && std::mem::take(&mut self.gop_does_not_fit)
    }

    /// Bytes between the start of that entry and the end of the log.
    pub fn bytes_from(&self, number: u64) -> u64 {
        self.get(number).map_or(0, |entry| self.written - entry.offset)
    }

    /// Bytes of the entries from that one on that had come by `moment`.
    pub(crate) fn bytes_by(&self, number: u64, moment: Instant) -> u64 {
        let Some(from) = self.get(number) else { return 0 };
        let end = self.entries.partition_point(|entry| entry.arrived <= moment);
        let end = self.entries.get(end).map_or(self.written, |entry| entry.offset);
        end.saturating_sub(from.offset)
    }

    /// Bytes held: entries, and the headers in force whose entries have left.
    pub fn bytes(&self) -> usize {
        let entries = self.entries.front().map_or(0, |oldest| self.written - oldest.offset);
        usize::try_from(entries).unwrap_or(usize::MAX).saturating_add(self.left_headers.iter().sum())
    }

    /// Media time held.
    pub fn span(&self) -> Duration {
        match (self.entries.front(), self.entries.back()) {
            (Some(oldest), Some(newest)) => Duration::from_millis((newest.dts - oldest.dts).max(0).unsigned_abs()),
            _ => Duration::ZERO,
        }
    }
}

/// What [`Log::push`] made the form of.
fn body_of(form: &WireForm) -> Bytes {
    let mut body = BytesMut::with_capacity(form.payload_len());
    for slice in form.payload() {
        body.put_slice(&slice);
    }
    body.advance(body.len() - body_len(form));
    body.freeze()
}

fn body_len(form: &WireForm) -> usize {
    let before = if form.track() == Track::Data { SET_DATA_FRAME.len() } else { 0 };
    form.payload_len().saturating_sub(before)
}

/// The track of a class that is relayed at all.
fn track_of(class: Class) -> Option<Track> {
    match class {
        Class::Key | Class::Inter | Class::Disposable | Class::VideoHeader | Class::VideoOther | Class::VideoEnd => {
            Some(Track::Video)
        }
        Class::Audio | Class::AudioHeader => Some(Track::Audio),
        Class::Metadata => Some(Track::Data),
        Class::Empty | Class::Script => None,
    }
}

/// What an entry costs. A flood of tags of two bytes is bookkeeping and nothing else.
fn cost(class: Class, wire: &WireForm) -> usize {
    let set = if is_header(class) { size_of::<HeaderForms>() + cost::ALLOCATION } else { 0 };
    cost::of_bytes(wire.bytes_len()) + cost::of_place::<Entry>() + set
}

fn is_header(class: Class) -> bool {
    matches!(class, Class::VideoHeader | Class::AudioHeader | Class::Metadata)
}

fn is_video(class: Class) -> bool {
    matches!(class, Class::Key | Class::Inter | Class::Disposable | Class::VideoOther)
}

fn index(track: Track) -> usize {
    match track {
        Track::Video => 0,
        Track::Audio => 1,
        Track::Data => 2,
    }
}

/// AMF0 string "@setDataFrame": an RTMP server takes metadata only behind it.
pub const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

#[cfg(test)]
mod tests;
