//! The time that live feeds share.

use std::time::Duration;

use tokio::time::Instant;

/// The position of a live stream as a function of real time. Feeds of one clock are edges of one broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    lead: Duration,
}

impl Clock {
    /// A stream that has already been running for `lead`.
    pub fn with_lead(lead: Duration) -> Self {
        Self { start: Instant::now(), lead }
    }

    /// How far the stream is now, in ms.
    pub fn position(&self) -> u64 {
        self.position_at(Instant::now())
    }

    /// How far the stream was at a moment, in ms.
    pub fn position_at(&self, moment: Instant) -> u64 {
        (moment.saturating_duration_since(self.start) + self.lead).as_millis() as u64
    }

    /// When the stream reaches a position in ms; the start for every position before it.
    pub fn at(&self, position: u64) -> Instant {
        self.start + Duration::from_millis(position).saturating_sub(self.lead)
    }
}
