//! How fast a ring's backlog may leave.

use std::time::{Duration, Instant};

/// Lets media out at eight times real time: outputs and players take a burst of seconds badly.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    start: Instant,
    dts: i64,
}

impl Meter {
    /// Media from the DTS `dts` on may leave from `start` on.
    pub(crate) fn new(dts: i64, start: Instant) -> Self {
        Self { start, dts }
    }

    /// When a tag of this DTS may leave; `None` if it may now.
    pub(crate) fn due(&self, dts: i64, now: Instant) -> Option<Instant> {
        let behind = u64::try_from(dts - self.dts).unwrap_or(0);
        let due = self.start + Duration::from_millis(behind / SPEED);
        (due > now).then_some(due)
    }
}

/// Times real time.
const SPEED: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_backlog_takes_an_eighth_of_a_second() {
        let start = Instant::now();
        let meter = Meter::new(5_000, start);
        assert_eq!(meter.due(5_000, start), None);
        assert_eq!(meter.due(6_000, start), Some(start + Duration::from_millis(125)));
        assert_eq!(meter.due(6_000, start + Duration::from_millis(125)), None);
        assert_eq!(meter.due(4_990, start), None);
    }
}
