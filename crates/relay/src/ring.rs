//! The newest media tags of one input.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;
use flv::Class;

use crate::{alignment::Print, headers::HeaderSet, policy::LogPolicy, repair::Track};

/// A media tag on its input's repaired line.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Its track.
    pub(crate) track: Track,
    /// Its class; never a header.
    pub(crate) class: Class,
    /// Its place on the input's repaired line, in ms.
    pub(crate) dts: i64,
    /// When it came.
    pub(crate) arrived: Instant,
    /// Its timestamp as it came.
    pub(crate) raw: u32,
    /// What identifies its body.
    pub(crate) print: Print,
    /// Its body.
    pub(crate) body: Bytes,
    /// It has gone into the log.
    pub(crate) relayed: bool,
    /// The headers in force with it.
    pub(crate) headers: Arc<HeaderSet>,
}

/// A bounded ring of an input's tags, addressed by a number that never repeats.
#[derive(Debug)]
pub(crate) struct Ring {
    policy: LogPolicy,
    held: VecDeque<Held>,
    first: u64,
    bytes: usize,
    newest_key: Option<u64>,
    /// Tags let go of that had not been relayed.
    passed_over: u64,
}

impl Ring {
    /// An empty ring. Bounded by bytes (bodies plus their bookkeeping) and by media time.
    pub(crate) fn new(policy: LogPolicy) -> Self {
        Self { policy, held: VecDeque::new(), first: 0, bytes: 0, newest_key: None, passed_over: 0 }
    }

    /// Appends a tag and lets go of what exceeds the bounds.
    pub(crate) fn push(&mut self, held: Held) {
        self.bytes += cost(&held);
        if held.class == Class::Key {
            self.newest_key = Some(self.end());
        }
        self.held.push_back(held);
        self.trim();
    }

    /// Bounds it anew.
    pub(crate) fn set_policy(&mut self, policy: LogPolicy) {
        self.policy = policy;
        self.trim();
    }

    fn trim(&mut self) {
        let newest = self.held.back().map_or(0, |newest| newest.dts);
        let max_time = self.policy.reach_ms();
        while let Some(oldest) = self.held.front() {
            if self.bytes <= self.policy.max_bytes && newest.saturating_sub(oldest.dts) <= max_time {
                break;
            }
            self.bytes -= cost(oldest);
            self.passed_over += u64::from(!oldest.relayed);
            self.held.pop_front();
            self.first += 1;
        }
    }

    /// Forgets everything; numbers go on.
    pub(crate) fn clear(&mut self) {
        self.first = self.end();
        self.newest_key = None;
        self.passed_over += self.held.iter().filter(|held| !held.relayed).count() as u64;
        self.held = VecDeque::new();
        self.bytes = 0;
    }

    /// Goes on counting where another ring ends; what that one holds is passed over.
    pub(crate) fn count_on(&mut self, before: &Self) {
        self.passed_over = before.passed_over + before.held.iter().filter(|held| !held.relayed).count() as u64;
    }

    /// The number of the oldest tag held.
    pub(crate) fn start(&self) -> u64 {
        self.first
    }

    /// The number that the next tag gets.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    /// The tag of that number, while it is held.
    pub(crate) fn get(&self, number: u64) -> Option<&Held> {
        let index = number.checked_sub(self.first)?;
        self.held.get(usize::try_from(index).ok()?)
    }

    /// The tag of that number goes into the log.
    pub(crate) fn relay(&mut self, number: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(held) = index.and_then(|index| self.held.get_mut(index)) {
            held.relayed = true;
        }
    }

    /// Tags let go of that had not been relayed: those of a standby, and those before a splice.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The number of the newest keyframe, while it is held.
    pub(crate) fn newest_key(&self) -> Option<u64> {
        self.newest_key.filter(|&number| number >= self.first)
    }

    /// The number of the newest tag, while one is held.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.end().checked_sub(1).filter(|&number| number >= self.first)
    }
}

fn cost(held: &Held) -> usize {
    held.body.len() + size_of::<Held>()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn held(dts: i64, len: usize) -> Held {
        Held {
            track: Track::Video,
            class: Class::Inter,
            dts,
            arrived: Instant::now(),
            raw: dts as u32,
            print: Print::of(Track::Video, b""),
            relayed: false,
            body: Bytes::from(vec![0; len]),
            headers: Arc::default(),
        }
    }

    #[test]
    fn bytes_and_time_bound_it_and_numbers_stay() {
        let mut ring = Ring::new(LogPolicy { max_time: Duration::from_secs(1), max_bytes: 10_000 });
        for n in 0..100 {
            ring.push(held(n * 40, 10));
        }
        assert_eq!((ring.start(), ring.end()), (74, 100));
        assert_eq!(ring.get(99).unwrap().dts, 99 * 40);
        assert!(ring.get(73).is_none());
        ring.push(held(100 * 40, 9_000));
        assert!(ring.bytes <= 10_000);
        ring.push(held(101 * 40, 20_000));
        assert_eq!(ring.start(), ring.end(), "a tag beyond the bound is not held at all");
        ring.clear();
        assert_eq!(ring.end(), 102);
    }
}
