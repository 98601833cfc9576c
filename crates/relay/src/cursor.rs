//! An output's place in the log.

use std::time::{Duration, Instant};

use flv::Class;
use rtmp::wire::WireForm;

use crate::{
    log::Log,
    policy::{Flush, OnFormatChange, OnLag, OutputPolicy},
    stretch::Stretch,
};

/// What an output reads with: its place, and what its lag makes it leave out.
///
/// Lag has three stages (time or bytes, whichever is worse; what waits for its flush is none): from a fifth of `max_lag` disposable frames are left out;
/// from `max_lag` video skips to the newest keyframe ahead; from twice `max_lag` the session is given up. Audio is
/// never left out before the last stage.
#[derive(Clone, Debug)]
pub struct Cursor {
    policy: OutputPolicy,
    place: Place,
    skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first entry of a session, which lies at `not_before` or later.
    Joining { not_before: u64 },
    /// In the session that began at the DTS `base`.
    Reading { next: u64, base: i64, video: Video, joined: Joined },
}

/// When a session began. What was in the log by then is a head start, not lag: a long GOP makes nobody late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Joined {
    at: Instant,
    /// The end of the log then.
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Video {
    Sent,
    /// Left out up to the keyframe of this number, or up to whichever comes first.
    SkippedTo(Option<u64>),
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Everything there was, or as much as the batch takes, was handed over.
    Read {
        /// Media tags and headers handed over.
        tags: u64,
        /// There is more.
        more: bool,
    },
    /// There is no place to begin yet.
    NoEntryPoint,
    /// The lag has reached the stage at which the session is given up.
    Lagged,
    /// A sequence header changed, and the policy asks for a new session.
    FormatChanged {
        /// What was handed over before it.
        tags: u64,
    },
}

/// How much one read may hand over: the tag that reaches a limit is still handed over.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Tags.
    pub tags: u64,
    /// Wire bytes.
    pub bytes: usize,
}

impl Cursor {
    /// A cursor that joins at the log's entry point.
    pub fn new(policy: OutputPolicy) -> Self {
        Self { policy, place: Place::Joining { not_before: 0 }, skipped: 0 }
    }

    /// Begins a new session at the log's entry point. After a change of format it lies behind that change.
    pub fn rejoin(&mut self) {
        if let Place::Reading { .. } = self.place {
            self.place = Place::Joining { not_before: 0 };
        }
    }

    /// The DTS at which the session began.
    pub fn base(&self) -> Option<i64> {
        match self.place {
            Place::Joining { .. } => None,
            Place::Reading { base, .. } => Some(base),
        }
    }

    /// Video is being left out up to a keyframe.
    pub fn is_skipping(&self) -> bool {
        matches!(self.place, Place::Reading { video: Video::SkippedTo(_), .. })
    }

    /// Tags left out since the cursor was made.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// There is something to read.
    pub fn is_behind(&self, log: &Log) -> bool {
        match self.place {
            Place::Joining { not_before } => log.entry_point().is_some_and(|entry| entry >= not_before),
            Place::Reading { next, .. } => next < log.end(),
        }
    }

    /// When the oldest unread entry came into the log.
    pub fn oldest_unread(&self, log: &Log) -> Option<Instant> {
        let Place::Reading { next, joined, .. } = self.place else { return None };
        log.get(next.max(log.start())).map(|entry| entry.arrived.max(joined.at))
    }

    /// Judges the lag of an output that cannot read because its socket takes nothing. True when the session is to be
    /// given up.
    pub fn is_lost(&mut self, log: &Log, now: Instant) -> bool {
        let Place::Reading { next, video, joined, .. } = &mut self.place else { return false };
        let next = (*next).max(log.start());
        match stage(&self.policy, log, next, *joined, now) {
            Stage::InTime | Stage::Late => false,
            Stage::TooLate if self.policy.on_lag == OnLag::Skip => {
                *video = skip(log, next, *video);
                false
            }
            Stage::TooLate | Stage::Lost => true,
        }
    }

    /// Reads a stretch as a whole, if that is just what [`read`](Self::read) would hand over; else does nothing and
    /// answers false. `continues` is asked last, and only if nothing else speaks against it.
    pub fn step(&mut self, stretch: &Stretch, now: Instant, continues: impl FnOnce() -> bool) -> bool {
        let Place::Reading { next, base, video: Video::Sent, .. } = &mut self.place else { return false };
        let age = now.saturating_duration_since(stretch.oldest);
        let in_step = *next == stretch.from
            && *base <= stretch.min_dts
            && age.saturating_sub(interval(&self.policy)) < self.policy.max_lag / LATE_PARTS
            // Those that wait for their flush included: at worst it is read.
            && stretch.bytes < (self.policy.max_lag_bytes / LATE_PARTS as usize) as u64
            && !(stretch.replaces_header && self.policy.on_format_change == OnFormatChange::Reconnect)
            && continues();
        if in_step {
            *next = stretch.end;
        }
        in_step
    }

    /// Hands the entries that are ready to `write`, each with the DTS it is to be stamped with.
    pub fn read(&mut self, log: &Log, now: Instant, batch: Batch, write: impl FnMut(&WireForm, i64)) -> Reading {
        self.read_up_to(log.end(), log, now, batch, write)
    }

    /// The same, as if the log ended at `end`: what follows is not for this session, as after the end of its programme.
    pub fn read_up_to(
        &mut self,
        end: u64,
        log: &Log,
        now: Instant,
        batch: Batch,
        mut write: impl FnMut(&WireForm, i64),
    ) -> Reading {
        let mut tags = 0;
        let mut bytes = 0;
        let mut hand = |wire: &WireForm, dts: i64| {
            write(wire, dts);
            bytes += wire.bytes_len();
            tags += 1;
            tags >= batch.tags || bytes >= batch.bytes
        };
        let mut full = false;
        let (mut next, base, mut video, joined) = match self.place {
            Place::Reading { next, base, video, joined } => (next, base, video, joined),
            Place::Joining { not_before } => {
                let Some(entry_point) = log.entry_point().filter(|number| (not_before..end).contains(number)) else {
                    return Reading::NoEntryPoint;
                };
                let Some(entry) = log.get(entry_point) else { return Reading::NoEntryPoint };
                for header in entry.headers.iter().flat_map(|headers| headers.iter()) {
                    full |= hand(header, entry.dts);
                }
                (entry_point, entry.dts, Video::Sent, Joined { at: now, end: log.end() })
            }
        };
        if next < log.start() {
            // The log's own bounds were tighter than max_lag: what it let go of is gone for this output.
            self.skipped += log.start() - next;
            next = log.start();
            video = Video::SkippedTo(None);
        }
        let late = match stage(&self.policy, log, next, joined, now) {
            Stage::InTime => false,
            Stage::Late => true,
            Stage::TooLate if self.policy.on_lag == OnLag::Skip => {
                video = skip(log, next, video);
                true
            }
            Stage::TooLate | Stage::Lost => return Reading::Lagged,
        };
        while !full
            && next < end
            && let Some(entry) = log.get(next)
        {
            // Audio and video change one after the other; the second change belongs to the session that the first began.
            let is_change = entry.replaces_header && entry.dts - base > SAME_CHANGE;
            if is_change && self.policy.on_format_change == OnFormatChange::Reconnect {
                self.place = Place::Joining { not_before: next };
                return Reading::FormatChanged { tags };
            }
            if entry.class == Class::Key
                && matches!(video, Video::SkippedTo(until) if until.is_none_or(|key| key <= next))
            {
                video = Video::Sent;
            }
            let left_out = match entry.class {
                Class::Disposable => late || video != Video::Sent,
                Class::Key | Class::Inter | Class::VideoOther | Class::VideoEnd => video != Video::Sent,
                _ => false,
            };
            // What lies before the first keyframe belongs to no session (audio that arrived behind it).
            let is_header = matches!(entry.class, Class::VideoHeader | Class::AudioHeader | Class::Metadata);
            let before_the_start = entry.dts < base && !is_header;
            if left_out {
                self.skipped += 1;
            } else if !before_the_start {
                full = hand(&entry.wire, entry.dts);
            }
            next += 1;
        }
        self.place = Place::Reading { next, base, video, joined };
        Reading::Read { tags, more: next < end }
    }
}

fn stage(policy: &OutputPolicy, log: &Log, next: u64, joined: Joined, now: Instant) -> Stage {
    let Some(oldest) = log.get(next) else { return Stage::InTime };
    let since = oldest.arrived.max(joined.at);
    let waited = now.saturating_duration_since(since).saturating_sub(interval(policy));
    let time = waited.as_secs_f64() / policy.max_lag.as_secs_f64();
    let bytes = overdue(policy, log, next.max(joined.end), now) as f64 / policy.max_lag_bytes.max(1) as f64;
    match time.max(bytes) {
        share if share >= 2.0 => Stage::Lost,
        share if share >= 1.0 => Stage::TooLate,
        share if share >= 1.0 / f64::from(LATE_PARTS) => Stage::Late,
        _ => Stage::InTime,
    }
}

/// Unread bytes that do not just wait for their flush.
fn overdue(policy: &OutputPolicy, log: &Log, from: u64, now: Instant) -> u64 {
    match policy.flush {
        Flush::Frame => log.bytes_from(from),
        Flush::Every(interval) => now.checked_sub(interval).map_or(0, |moment| log.bytes_by(from, moment)),
    }
}

/// How long an entry waits for its flush without being late.
fn interval(policy: &OutputPolicy) -> Duration {
    match policy.flush {
        Flush::Frame => Duration::ZERO,
        Flush::Every(interval) => interval,
    }
}

enum Stage {
    InTime,
    Late,
    TooLate,
    Lost,
}

/// Where video goes on: the newest keyframe that is still ahead; when there is none, the next to come.
fn skip(log: &Log, next: u64, video: Video) -> Video {
    match log.newest_key() {
        Some(key) if key == next => video,
        Some(key) if key > next => Video::SkippedTo(Some(key)),
        _ => Video::SkippedTo(None),
    }
}

/// The first stage of lag is this part of the limit.
const LATE_PARTS: u32 = 5;
/// Headers that change this shortly after a session began are part of the change that began it, in ms.
const SAME_CHANGE: i64 = 1_000;

#[cfg(test)]
mod tests;
