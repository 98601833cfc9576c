//! How a relay's task that panicked rests.

use std::time::{Duration, Instant};

/// After the first panic it goes on at once; after each that follows soon it rests longer.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Panics in a row.
    crashes: u32,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Rest {
    /// A panic. Returns how long the rest that begins with it is.
    pub(super) fn crashed(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= STABLE) {
            self.crashes = 0;
        }
        let pause = match self.crashes {
            0 => Duration::ZERO,
            more => SHORTEST.saturating_mul(1 << (more - 1).min(16)).min(LONGEST),
        };
        self.crashes += 1;
        self.last = Some(now);
        self.until = Some(now + pause);
        pause
    }

    /// Between a panic and the call of [`end`](Self::end).
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// When it is to end.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.until
    }

    /// It is to end now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    pub(super) fn end(&mut self) {
        self.until = None;
    }
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// This long without a panic forgets those before.
const STABLE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_nothing_to_half_a_minute_and_is_forgotten_in_time() {
        let start = Instant::now();
        let mut rest = Rest::default();
        let pauses: Vec<_> = (0..8).map(|n| rest.crashed(start + Duration::from_secs(n)).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert!(rest.is_on() && !rest.is_over(start + Duration::from_secs(36)));
        assert!(rest.is_over(start + Duration::from_secs(37)));
        rest.end();
        assert!(!rest.is_on() && !rest.is_over(start + Duration::from_secs(100)));
        assert_eq!(rest.crashed(start + Duration::from_secs(126)).as_secs(), 30);
        assert_eq!(rest.crashed(start + Duration::from_secs(246)).as_secs(), 0);
    }
}
