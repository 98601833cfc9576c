//! The time that source and sink share.

use std::time::Instant;

/// Counts from its making, on the system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn micros(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}
