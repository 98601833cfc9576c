//! How much an input delivers.

use std::time::{Duration, Instant};

/// Bytes per second over the last window of two to four seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitrate {
    began: Instant,
    bytes: u64,
    per_second: f64,
}

impl Bitrate {
    /// Nothing has come before `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, bytes: 0, per_second: 0.0 }
    }

    /// Bytes came.
    pub(crate) fn add(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        self.measure(now);
    }

    /// Ends the window when it is over, also when nothing came: the rate of an input that is silent is 0.
    pub(crate) fn measure(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= WINDOW {
            let per_second = self.bytes as f64 / passed.as_secs_f64();
            *self = Self { began: now, bytes: 0, per_second };
        }
    }

    /// Bits per second.
    pub(crate) fn bits(&self) -> u64 {
        (self.per_second * 8.0) as u64
    }
}

/// The rate is a mean over at least this long.
const WINDOW: Duration = Duration::from_secs(2);
