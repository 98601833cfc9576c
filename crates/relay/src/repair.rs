//! One input's timestamps, made one unbroken line.

use std::time::{Duration, Instant};

use crate::{
    anchor::Anchor,
    fault::{Fault, FaultKind},
    unwrap::Unwrap,
};

/// Audio or video: the two tracks that carry time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    /// Audio tags.
    Audio,
    /// Video tags.
    Video,
}

impl Track {
    fn other(self) -> Self {
        match self {
            Self::Audio => Self::Video,
            Self::Video => Self::Audio,
        }
    }

    /// The frame interval assumed until the track has shown its own, in ms.
    fn usual_interval(self) -> i64 {
        match self {
            Self::Audio => 23,
            Self::Video => 40,
        }
    }
}

/// Where a tag lies on its input's repaired line, and what was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Milliseconds; never lower than the track's value before.
    pub dts: i64,
    /// A step that was repaired.
    pub fault: Option<Fault>,
    /// The source's clock wrapped just here.
    pub wrapped: bool,
}

/// Maps one connection's wire timestamps to a line that never goes back on a track, with one offset for both tracks.
///
/// A step that cannot be real begins a new *epoch*: a new offset, chosen so that the line goes on where it stood.
/// The track that steps later keeps the old offset until its own tags fit the new one better, for two seconds at most.
#[derive(Clone, Debug)]
pub struct Repair {
    max_jump: Duration,
    unwrap: Unwrap,
    offset: i64,
    /// The offset before, and when it was left.
    previous: Option<(i64, Instant)>,
    audio: Option<Lane>,
    video: Option<Lane>,
    apart_since: Option<Instant>,
    skewed: bool,
    misplaced: bool,
    clock: Clock,
}

/// The line against the wall clock. A repair cannot know to the millisecond where the line would have gone on; what it
/// puts in too much shows in the arrival of later tags.
#[derive(Clone, Debug, Default)]
struct Clock {
    started: Option<Instant>,
    /// Of the present epoch.
    edge: Option<Anchor>,
    /// Where the edge stood before the first repair.
    baseline: Option<i64>,
}

/// What a track has shown so far.
#[derive(Clone, Copy, Debug)]
struct Lane {
    last: i64,
    arrived: Instant,
    interval: i64,
}

impl Repair {
    /// A line for a new connection; it starts at the source's own DTS.
    pub fn new(max_jump: Duration) -> Self {
        Self {
            max_jump,
            unwrap: Unwrap::default(),
            offset: 0,
            previous: None,
            audio: None,
            video: None,
            apart_since: None,
            skewed: false,
            misplaced: false,
            clock: Clock::default(),
        }
    }

    /// Judges steps forward by another `max_jump` from now on.
    pub(crate) fn set_max_jump(&mut self, max_jump: Duration) {
        self.max_jump = max_jump;
    }

    /// Places a media tag that arrived at `arrived`. Sequence headers carry no time of their own and do not come here.
    pub fn place(&mut self, track: Track, raw: u32, arrived: Instant) -> Repaired {
        let (source, wrapped) = self.unwrap.place(raw);
        self.settle_on_an_offset(track, source, arrived);
        let dts = source + self.offset;
        let Some(lane) = self.lane(track) else {
            return self.first_of_track(track, source, dts, arrived, wrapped);
        };
        let step = dts - lane.last;
        let furthest = millis(arrived.saturating_duration_since(lane.arrived) + self.max_jump);
        if (0..=furthest).contains(&step) {
            let interval = if (1..1_000).contains(&step) { step } else { lane.interval };
            let fault = self.order_fault(track, dts, arrived);
            self.put(track, Lane { last: dts, arrived, interval });
            return Repaired { dts, fault, wrapped };
        }
        if (-LARGEST_CLAMP..0).contains(&step) {
            let fault = Some(Fault { kind: FaultKind::Repeat, before: lane.last, after: dts });
            self.put(track, Lane { arrived, ..lane });
            return Repaired { dts: lane.last, fault, wrapped };
        }
        let kind = if step < 0 { FaultKind::Rollback } else { FaultKind::Jump };
        self.new_epoch(track, source, arrived, Fault { kind, before: lane.last, after: dts }, wrapped)
    }

    /// While two offsets are possible, takes the one under which the tag lies nearer to where it is expected. A track
    /// that returns to the old offset takes the line back to it: the step was an outlier, not a new epoch.
    fn settle_on_an_offset(&mut self, track: Track, source: i64, arrived: Instant) {
        let Some((previous, left)) = self.previous else { return };
        if arrived.saturating_duration_since(left) > TRANSITION {
            self.previous = None;
            return;
        }
        let Some(lane) = self.lane(track) else { return };
        let expected = lane.last + lane.interval;
        let miss = |offset: i64| (source + offset - expected).abs();
        if miss(previous) < miss(self.offset) {
            self.previous = Some((self.offset, left));
            self.offset = previous;
        }
    }

    fn first_of_track(&mut self, track: Track, source: i64, dts: i64, arrived: Instant, wrapped: bool) -> Repaired {
        let far = self.lane(track.other()).filter(|other| (dts - other.last).abs() > FURTHEST_START);
        if let Some(other) = far {
            let kind = if dts < other.last { FaultKind::Rollback } else { FaultKind::Jump };
            return self.new_epoch(track, source, arrived, Fault { kind, before: other.last, after: dts }, wrapped);
        }
        self.put(track, Lane { last: dts, arrived, interval: track.usual_interval() });
        Repaired { dts, fault: None, wrapped }
    }

    /// The line goes on after the last tag of both tracks, by a frame or by the time that really passed, less what
    /// earlier repairs put in too much: a file that loops for days would otherwise run ahead of the clock.
    fn new_epoch(&mut self, track: Track, source: i64, arrived: Instant, fault: Fault, wrapped: bool) -> Repaired {
        let lanes = || [self.audio, self.video].into_iter().flatten();
        let reached = lanes().map(|lane| lane.last).max().unwrap_or(0);
        let silent = lanes().map(|lane| arrived.saturating_duration_since(lane.arrived)).min().unwrap_or_default();
        let interval = self.lane(track).map_or(track.usual_interval(), |lane| lane.interval);
        let lowest = self.lane(track).map_or(reached, |lane| reached.max(lane.last + 1));
        let dts = (reached + interval.max(millis(silent)) - self.clock.take_ahead()).max(lowest);
        self.previous = Some((self.offset, arrived));
        self.offset = dts - source;
        self.put(track, Lane { last: dts, arrived, interval });
        Repaired { dts, fault: Some(fault), wrapped }
    }

    /// Skew and bad interleaving are told once each time they begin.
    fn order_fault(&mut self, track: Track, dts: i64, arrived: Instant) -> Option<Fault> {
        let other = self.lane(track.other())?;
        let behind = other.last - dts;
        // The track in front says nothing about the order of the one behind.
        let begins = behind > LARGEST_DISORDER && !self.misplaced;
        if behind > 0 {
            self.misplaced = behind > LARGEST_DISORDER;
        }

        if behind.abs() <= LARGEST_SKEW {
            self.apart_since = None;
            self.skewed = false;
        } else {
            let since = *self.apart_since.get_or_insert(arrived);
            if !self.skewed && arrived.saturating_duration_since(since) > SKEW_PATIENCE {
                self.skewed = true;
                return Some(Fault { kind: FaultKind::Skew, before: other.last, after: dts });
            }
        }
        begins.then_some(Fault { kind: FaultKind::Interleave, before: other.last, after: dts })
    }

    fn lane(&self, track: Track) -> Option<Lane> {
        match track {
            Track::Audio => self.audio,
            Track::Video => self.video,
        }
    }

    fn put(&mut self, track: Track, lane: Lane) {
        self.clock.observe(lane.last, lane.arrived);
        match track {
            Track::Audio => self.audio = Some(lane),
            Track::Video => self.video = Some(lane),
        }
    }
}

impl Clock {
    fn observe(&mut self, dts: i64, arrived: Instant) {
        let started = *self.started.get_or_insert(arrived);
        self.edge.get_or_insert_with(|| Anchor::new(started)).observe(dts, arrived);
    }

    /// How far the line is ahead of where it stood before the first repair, in ms; an epoch ends here.
    fn take_ahead(&mut self) -> i64 {
        let Some(edge) = self.edge.take().and_then(|edge| edge.value()) else { return 0 };
        (edge - *self.baseline.get_or_insert(edge)).max(0)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Up to here a step back is jitter of the muxer and is clamped, in ms.
const LARGEST_CLAMP: i64 = 100;
/// How far the first tag of a track may lie from the other track, in ms.
const FURTHEST_START: i64 = 10_000;
/// How long the other track may stay on the old offset.
const TRANSITION: Duration = Duration::from_secs(2);
/// Audio and video further apart than this are skewed, in ms.
const LARGEST_SKEW: i64 = 1_000;
/// How long skew may last before it is a fault.
const SKEW_PATIENCE: Duration = Duration::from_secs(3);
/// A tag further behind the other track than this is badly interleaved, in ms.
const LARGEST_DISORDER: i64 = 500;

#[cfg(test)]
mod tests;
