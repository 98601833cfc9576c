//! At most one log line per second and kind.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Lets the first of a kind through, then one per second; the others are counted.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    kinds: HashMap<(&'static str, &'static str), Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    suppressed: u64,
}

impl Throttle {
    /// The number of lines suppressed since the last of this kind, or `None` when this one is to be suppressed too.
    pub(crate) fn admit(&mut self, kind: (&'static str, &'static str), now: Instant) -> Option<u64> {
        let Some(seen) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind, Seen { last: now, suppressed: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(seen.last) < INTERVAL {
            seen.suppressed += 1;
            return None;
        }
        seen.last = now;
        Some(std::mem::take(&mut seen.suppressed))
    }
}

const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_second_and_kind_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(throttle.admit(("fault", "jump"), at(0)), Some(0));
        assert_eq!(throttle.admit(("fault", "rollback"), at(1)), Some(0));
        assert_eq!(throttle.admit(("fault", "jump"), at(500)), None);
        assert_eq!(throttle.admit(("fault", "jump"), at(999)), None);
        assert_eq!(throttle.admit(("fault", "jump"), at(1_000)), Some(2));
        assert_eq!(throttle.admit(("fault", "jump"), at(2_000)), Some(0));
    }
}
