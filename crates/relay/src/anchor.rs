//! Where a line of timestamps stands against the wall clock.

use std::time::{Duration, Instant};

/// The live edge of a line: the highest `dts − arrival` of the last seconds.
///
/// The freshest tag defines it, so that bursts and jitter (which only make tags late) do not move it; the window lets
/// it follow a source whose clock drifts.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    epoch: Instant,
    current: Option<Window>,
    before: Option<Window>,
    improved: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    highest: i64,
}

impl Anchor {
    /// An anchor without tags. Anchors that are compared share one `epoch`.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, current: None, before: None, improved: None }
    }

    /// A tag of this DTS arrived.
    pub(crate) fn observe(&mut self, dts: i64, arrived: Instant) {
        let lead = dts - self.millis(arrived);
        if self.value().is_none_or(|value| lead > value + NOTABLE) {
            self.improved = Some(arrived);
        }
        match &mut self.current {
            Some(window) if arrived.saturating_duration_since(window.began) < WINDOW => {
                window.highest = window.highest.max(lead);
            }
            current => self.before = current.replace(Window { began: arrived, highest: lead }),
        }
    }

    /// `dts − (time since the epoch)` at the live edge, in ms; `None` before the first tag.
    pub(crate) fn value(&self) -> Option<i64> {
        [self.current, self.before].into_iter().flatten().map(|window| window.highest).max()
    }

    /// When the burst that a server sends at connect is over and [`value`](Self::value) means the live edge.
    pub(crate) fn settles_at(&self) -> Option<Instant> {
        self.improved.map(|improved| improved + SETTLED)
    }

    /// Moments before the epoch count below zero.
    fn millis(&self, at: Instant) -> i64 {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
        match at.checked_duration_since(self.epoch) {
            Some(after) => millis(after),
            None => -millis(self.epoch.saturating_duration_since(at)),
        }
    }
}

/// Two windows are looked at, so the edge forgets within this to twice this.
const WINDOW: Duration = Duration::from_secs(10);
/// A smaller improvement is jitter, in ms.
const NOTABLE: i64 = 30;
/// A burst is over when the edge has not moved for this long.
const SETTLED: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_burst_moves_the_edge_up_to_the_live_tag() {
        let epoch = Instant::now();
        let mut anchor = Anchor::new(epoch);
        for n in 0..25i64 {
            anchor.observe(n * 40, epoch + Duration::from_millis(n.unsigned_abs()));
        }
        assert_eq!(anchor.value(), Some(24 * 40 - 24));
        assert_eq!(anchor.settles_at(), Some(epoch + Duration::from_millis(24) + SETTLED));
    }

    #[test]
    fn tags_from_before_the_epoch_count() {
        let start = Instant::now();
        let mut anchor = Anchor::new(start + Duration::from_secs(5));
        anchor.observe(7_000, start + Duration::from_secs(2));
        assert_eq!(anchor.value(), Some(10_000));
    }

    #[test]
    fn late_tags_do_not_move_the_edge_and_a_slow_clock_does_in_time() {
        let epoch = Instant::now();
        let mut anchor = Anchor::new(epoch);
        anchor.observe(0, epoch);
        anchor.observe(40, epoch + Duration::from_millis(700));
        assert_eq!(anchor.value(), Some(0));
        for second in 1..=40u64 {
            let at = epoch + Duration::from_secs(second);
            anchor.observe(i64::try_from(second * 990).unwrap(), at);
        }
        assert!(anchor.value().unwrap() < -100, "40 s of a clock 1 % slow: {:?}", anchor.value());
    }
}
