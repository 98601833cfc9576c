//! How long to wait before the next attempt.

use std::time::{Duration, Instant};

use crate::policy::RetryPolicy;

/// Exponential backoff with full jitter: the n-th wait is uniform in `[min, min(max, min·2^n)]`.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
    failing_since: Option<Instant>,
    live_since: Option<Instant>,
}

impl Backoff {
    /// A backoff that has seen no failure.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0, failing_since: None, live_since: None }
    }

    /// The attempt succeeded. Only 30 s of success forget the failures before: a peer that accepts and closes at once
    /// is not knocked at like a healthy one.
    pub fn succeeded(&mut self, now: Instant) {
        self.live_since = Some(now);
    }

    /// The attempt failed, or what had succeeded ended. `jitter` is uniform in `[0, 1)`.
    /// Returns the wait, or `None` when `give_up_after` is spent.
    pub fn failed(&mut self, now: Instant, jitter: f64) -> Option<Duration> {
        if self.live_since.take().is_some_and(|since| now.saturating_duration_since(since) >= STABLE) {
            self.failures = 0;
            self.failing_since = None;
        }
        let since = *self.failing_since.get_or_insert(now);
        if self.policy.give_up_after.is_some_and(|limit| now.saturating_duration_since(since) >= limit) {
            return None;
        }
        let ceiling = self.policy.min.saturating_mul(1u32 << self.failures.min(20)).min(self.policy.max);
        self.failures = self.failures.saturating_add(1);
        let spread = ceiling.saturating_sub(self.policy.min);
        Some(self.policy.min + spread.mul_f64(jitter.clamp(0.0, 1.0)))
    }

    /// Like [`failed`](Self::failed) for a refusal that only time mends (a key in use, a key denied): at least a
    /// quarter of `max`, so that the platform is not asked again at once.
    pub fn refused(&mut self, now: Instant, jitter: f64) -> Option<Duration> {
        self.failed(now, jitter).map(|wait| wait.max(self.policy.max / 4))
    }

    /// An operator asked for a fresh start.
    pub fn reset(&mut self) {
        *self = Self::new(self.policy);
    }
}

/// Success this long forgets the failures before.
const STABLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { min: Duration::from_millis(500), max: Duration::from_secs(60), give_up_after: None }
    }

    #[test]
    fn the_upper_bound_doubles_up_to_max() {
        let now = Instant::now();
        let mut backoff = Backoff::new(policy());
        let bounds: Vec<_> = (0..9).map(|_| backoff.failed(now, 1.0).unwrap().as_millis()).collect();
        assert_eq!(bounds, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn thirty_seconds_of_success_forget_and_a_short_one_does_not() {
        let now = Instant::now();
        let mut backoff = Backoff::new(policy());
        for _ in 0..5 {
            backoff.failed(now, 1.0);
        }
        backoff.succeeded(now);
        assert!(backoff.failed(now + Duration::from_secs(29), 1.0).unwrap() > Duration::from_secs(10));
        backoff.succeeded(now);
        assert_eq!(backoff.failed(now + Duration::from_secs(30), 1.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_refusal_waits_a_quarter_of_max() {
        assert_eq!(Backoff::new(policy()).refused(Instant::now(), 0.0), Some(Duration::from_secs(15)));
    }

    #[test]
    fn give_up_after_counts_from_the_first_failure() {
        let now = Instant::now();
        let limit = Some(Duration::from_secs(5));
        let mut backoff = Backoff::new(RetryPolicy { give_up_after: limit, ..policy() });
        assert!(backoff.failed(now, 0.5).is_some());
        assert!(backoff.failed(now + Duration::from_secs(4), 0.5).is_some());
        assert_eq!(backoff.failed(now + Duration::from_secs(5), 0.5), None);
    }

    proptest! {
        #[test]
        fn the_wait_stays_between_min_and_max(jitters in proptest::collection::vec(0.0f64..1.0, 1..60)) {
            let mut backoff = Backoff::new(policy());
            for jitter in jitters {
                let wait = backoff.failed(Instant::now(), jitter).unwrap();
                prop_assert!((policy().min..=policy().max).contains(&wait));
            }
        }
    }
}
