//! Proof that an input carries the very tags that are being relayed.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::repair::Track;

/// What identifies a tag among those of one programme: its track, its length and sampled words.
///
/// Equal tags have equal prints; the reverse is proven by bytes where it matters, at the splice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(u64);

impl Print {
    /// The print of a media tag's body.
    pub fn of(track: Track, body: &[u8]) -> Self {
        let mut hash = mix(track as u64, body.len() as u64);
        let edge = body.len().min(EDGE);
        for piece in [&body[..edge], &body[body.len() - edge..]] {
            for word in piece.chunks(8) {
                hash = mix(hash, word_of(word));
            }
        }
        // Frames of one encode differ nearly everywhere, so a few words of the middle tell them apart.
        for word in body.chunks_exact(8).step_by((body.len() / 8 / SAMPLES).max(1)) {
            hash = mix(hash, word_of(word));
        }
        Self(hash)
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// A tag by its print and place.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// What identifies it.
    pub print: Print,
    /// On the line that it is marked on: an input's repaired one, or the programme's.
    pub dts: i64,
    /// The timestamp as it came from the source, where it is known.
    pub raw: Option<u32>,
    /// Its number in the input's ring.
    pub number: u64,
}

/// The marks of one line, track by track, for as long as rings reach back.
#[derive(Clone, Debug)]
pub struct Marks {
    audio: Lane,
    video: Lane,
    reach: i64,
}

/// One track's marks, addressed by a number that never repeats.
#[derive(Clone, Debug, Default)]
struct Lane {
    marks: VecDeque<Mark>,
    first: u64,
}

impl Marks {
    /// Marks of the newest `reach` ms.
    pub fn new(reach: i64) -> Self {
        Self { audio: Lane::default(), video: Lane::default(), reach }
    }

    /// How far back marks are kept, in ms.
    pub fn reach(&self) -> i64 {
        self.reach
    }

    /// Keeps marks of the newest `reach` ms from now on.
    pub(crate) fn set_reach(&mut self, reach: i64) {
        self.reach = reach;
    }

    /// Adds the newest mark of a track and lets go of what lies too far back.
    pub fn push(&mut self, track: Track, mark: Mark) {
        let oldest = mark.dts - self.reach;
        let lane = self.lane_mut(track);
        // Equal timestamps are legal, so time alone bounds nothing. Room is made first: the queue never doubles beyond.
        while lane.marks.len() >= MAX_MARKS || lane.marks.front().is_some_and(|mark| mark.dts < oldest) {
            lane.marks.pop_front();
            lane.first += 1;
        }
        lane.marks.push_back(mark);
    }

    fn lane(&self, track: Track) -> &Lane {
        match track {
            Track::Audio => &self.audio,
            Track::Video => &self.video,
        }
    }

    fn lane_mut(&mut self, track: Track) -> &mut Lane {
        match track {
            Track::Audio => &mut self.audio,
            Track::Video => &mut self.video,
        }
    }

    /// The tracks on which there are marks.
    fn tracks(&self) -> impl Iterator<Item = Track> {
        TRACKS.into_iter().filter(|&track| !self.lane(track).marks.is_empty())
    }
}

impl Lane {
    fn end(&self) -> u64 {
        self.first + self.marks.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Mark> {
        self.marks.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

/// An input's tags against those relayed: unknown, or locked.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// The input's own line.
    pub marks: Marks,
    lock: Option<Lock>,
}

/// On each track, the pair of marks to be compared next; all pairs before it were equal.
#[derive(Clone, Copy, Debug)]
struct Lock {
    audio: Option<Pair>,
    video: Option<Pair>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    relayed: u64,
    input: u64,
}

/// Where an input's ring goes on after the last tags relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The ring numbers of the tags that equal the last ones relayed; the next of each track is new.
    pub audio: Option<u64>,
    /// Likewise.
    pub video: Option<u64>,
    /// What to add to the input's DTS to go on where the programme's stand.
    pub offset: i64,
}

/// What a locked input has of the tags after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has the last tags relayed.
    Has(Continuation),
    /// It is behind by this many ms and will have them.
    Behind(i64),
}

impl Alignment {
    /// Nothing is known; marks are kept for `reach` ms.
    pub fn new(reach: i64) -> Self {
        Self { marks: Marks::new(reach), lock: None }
    }

    /// The input is proven to carry what is relayed.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Forgets what was proven.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// Looks for the one offset under which the two lines are the same; while locked, compares what has come since.
    pub fn update(&mut self, relayed: &Marks) {
        match self.lock {
            Some(mut lock) => self.lock = self.compare(&mut lock, relayed).then_some(lock),
            None => self.lock = self.search(relayed),
        }
    }

    /// Advances over the pairs that have become complete; false at the first that differs.
    fn compare(&self, lock: &mut Lock, relayed: &Marks) -> bool {
        for (track, pair) in [(Track::Audio, &mut lock.audio), (Track::Video, &mut lock.video)] {
            let (ours, theirs) = (self.marks.lane(track), relayed.lane(track));
            let Some(pair) = pair else {
                // A track that begins later has not been compared: the lock does not speak for it.
                if ours.marks.is_empty() && theirs.marks.is_empty() {
                    continue;
                }
                return false;
            };
            while pair.input < ours.end() && pair.relayed < theirs.end() {
                let (Some(our), Some(their)) = (ours.get(pair.input), theirs.get(pair.relayed)) else { return false };
                if our.print != their.print {
                    return false;
                }
                pair.input += 1;
                pair.relayed += 1;
            }
        }
        true
    }

    /// Every track present, at least [`PROOF`] tags in a row, one candidate only.
    fn search(&self, relayed: &Marks) -> Option<Lock> {
        let leading = if relayed.video.marks.is_empty() { Track::Audio } else { Track::Video };
        if !relayed.tracks().eq(self.marks.tracks()) {
            return None;
        }
        let (ours, theirs) = (self.marks.lane(leading), relayed.lane(leading));
        let (our_newest, their_newest) = (ours.marks.back()?, theirs.marks.back()?);
        // Whichever line is ahead holds the other's newest tag somewhere.
        let behind =
            theirs.marks.iter().filter(|their| their.print == our_newest.print).map(|their| (their, our_newest));
        let ahead = ours.marks.iter().filter(|our| our.print == their_newest.print).map(|our| (their_newest, our));
        let mut found: Vec<(i64, bool, Lock)> = Vec::new();
        for (examined, (their, our)) in behind.chain(ahead).enumerate() {
            if examined >= MAX_CANDIDATES {
                return None;
            }
            let offset = their.dts - our.dts;
            if found.iter().any(|(known, ..)| (known - offset).abs() <= TOLERANCE) {
                continue;
            }
            if let Some(lock) = self.lock_at(offset, relayed) {
                found.push((offset, their.raw.is_some() && their.raw == our.raw, lock));
            }
        }
        match found.as_slice() {
            [(.., lock)] => Some(*lock),
            // Periodic content fits at several offsets; only the source's own timestamps can tell which is meant.
            several => {
                let mut same_source_dts = several.iter().filter(|(_, same, _)| *same);
                let (.., lock) = same_source_dts.next()?;
                same_source_dts.next().is_none().then_some(*lock)
            }
        }
    }

    fn lock_at(&self, offset: i64, relayed: &Marks) -> Option<Lock> {
        let mut lock = Lock { audio: None, video: None };
        for track in relayed.tracks() {
            let pair = pair_at(self.marks.lane(track), relayed.lane(track), offset)?;
            match track {
                Track::Audio => lock.audio = Some(pair),
                Track::Video => lock.video = Some(pair),
            }
        }
        Some(lock)
    }

    /// Where the input goes on after the last tags relayed; `None` unless locked.
    pub fn standing(&self, relayed: &Marks) -> Option<Standing> {
        let lock = self.lock?;
        let mut continuation = Continuation { audio: None, video: None, offset: 0 };
        for (track, pair) in [(Track::Audio, lock.audio), (Track::Video, lock.video)] {
            let Some(pair) = pair else { continue };
            let lane = relayed.lane(track);
            let (last, equal) = (lane.marks.back()?, self.marks.lane(track).get(pair.input.checked_sub(1)?)?);
            if pair.relayed < lane.end() {
                return Some(Standing::Behind(last.dts - lane.get(pair.relayed)?.dts));
            }
            let equal_number = match track {
                Track::Audio => &mut continuation.audio,
                Track::Video => &mut continuation.video,
            };
            *equal_number = Some(equal.number);
            // Video comes last and decides: its frames are what a step would show in.
            continuation.offset = last.dts - equal.dts;
        }
        Some(Standing::Has(continuation))
    }
}

/// Compares two lanes tag by tag over all that they share under `offset`, and gives the pair after it.
fn pair_at(ours: &Lane, theirs: &Lane, offset: i64) -> Option<Pair> {
    let start = theirs.marks.front()?.dts.max(ours.marks.front()?.dts + offset);
    let from = |lane: &Lane, offset: i64| lane.marks.partition_point(|mark| mark.dts + offset < start - TOLERANCE);
    let (our_first, their_first) = (from(ours, offset), from(theirs, 0));
    // A millisecond of rounding may put the first shared tag of one lane before the start.
    [(0, 0), (1, 0), (0, 1)].into_iter().find_map(|(our_skip, their_skip)| {
        let (our_first, their_first) = (our_first + our_skip, their_first + their_skip);
        let pairs = ours.marks.iter().skip(our_first).zip(theirs.marks.iter().skip(their_first));
        let mut count = 0;
        for (our, their) in pairs {
            if our.print != their.print || (our.dts + offset - their.dts).abs() > TOLERANCE {
                return None;
            }
            count += 1;
        }
        (count >= PROOF).then(|| Pair {
            input: ours.first + (our_first + count) as u64,
            relayed: theirs.first + (their_first + count) as u64,
        })
    })
}

/// The bodies of the last tags relayed on each track, for the proof by bytes. They outlive the ring that they came from,
/// so they have a bound of their own.
#[derive(Clone, Debug)]
pub(crate) struct LastBodies {
    audio: VecDeque<Bytes>,
    video: VecDeque<Bytes>,
    /// Bytes of either track.
    max_bytes: usize,
}

impl LastBodies {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { audio: VecDeque::new(), video: VecDeque::new(), max_bytes }
    }

    pub(crate) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.trim();
    }

    pub(crate) fn push(&mut self, track: Track, body: Bytes) {
        let bodies = match track {
            Track::Audio => &mut self.audio,
            Track::Video => &mut self.video,
        };
        bodies.push_back(body);
        self.trim();
    }

    fn trim(&mut self) {
        for bodies in [&mut self.audio, &mut self.video] {
            while bodies.len() > PROOF || bodies.iter().map(Bytes::len).sum::<usize>() > self.max_bytes {
                bodies.pop_front();
            }
        }
    }

    /// True when `bodies`, newest first, begin with those relayed last on the track.
    pub(crate) fn equal<'a>(&self, track: Track, bodies: impl Iterator<Item = &'a Bytes>) -> bool {
        let own = match track {
            Track::Audio => &self.audio,
            Track::Video => &self.video,
        };
        let mut compared = 0;
        let equal = own.iter().rev().zip(bodies).all(|(ours, theirs)| {
            compared += 1;
            ours == theirs
        });
        equal && compared > 0
    }
}

const TRACKS: [Track; 2] = [Track::Audio, Track::Video];
/// Marks kept per track: ten seconds of 400 tags each. The ring does not count them; they are 128 KiB at most.
const MAX_MARKS: usize = 4_096;
/// Equal tags in a row, on every track, that make a lock.
const PROOF: usize = 8;
/// Rounding of audio timestamps, in ms.
const TOLERANCE: i64 = 2;
/// More places than these to begin mean a picture that stands still.
const MAX_CANDIDATES: usize = 64;
/// Bytes at either end of a body that go into its print.
const EDGE: usize = 32;
/// Words of the middle that go into it.
const SAMPLES: usize = 8;

#[cfg(test)]
mod tests;
