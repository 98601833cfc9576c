//! When a list's tags are due.

use std::time::Duration;

use tokio::time::Instant;

/// The list's own clock: it begins with the first tag, and goes on in real time from item to item.
#[derive(Default)]
pub(super) struct Pacer {
    start: Option<Instant>,
    /// The furthest media time that was asked for.
    reached: Duration,
}

impl Pacer {
    /// When the tag at media time `at`, in ms, is due. It is there at `now`.
    pub(super) fn due(&mut self, at: u64, now: Instant) -> Instant {
        let at = Duration::from_millis(at);
        let start = self.start.get_or_insert(now);
        // What has been held up for long is played in real time all the same, not all at once. A track that lies behind
        // the other one in the file is not held up.
        self.reached = self.reached.max(at);
        if now > *start + self.reached + HELD_UP {
            *start = now - self.reached;
        }
        *start + at
    }

    /// When media time `at`, in ms, comes if nothing is held up; none before the first tag.
    pub(super) fn expected(&self, at: u64) -> Option<Instant> {
        Some(self.start? + Duration::from_millis(at))
    }

    /// The media time at `now`, in ms.
    pub(super) fn position(&self, now: Instant) -> u64 {
        let passed = self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether a wait up to `due` has to be announced, lest it pass for silence.
pub(super) fn is_long(due: Instant, now: Instant) -> bool {
    due > now + SHORT_WAIT
}

/// What comes later than this is not caught up with: the list goes on behind the gap.
const HELD_UP: Duration = Duration::from_secs(1);
/// Half of the shortest `stall_timeout` that a configuration may have: what is a little late is no silence either.
const SHORT_WAIT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// For each tag, when it is there and its media time, in ms: when it is due.
    fn dues(tags: &[(u64, u64)]) -> Vec<u64> {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        let due = |&(now, at): &(u64, u64)| {
            let due = pacer.due(at, start + Duration::from_millis(now));
            u64::try_from((due - start).as_millis()).expect("a test is short")
        };
        tags.iter().map(due).collect()
    }

    #[test]
    fn tags_are_due_in_real_time_from_the_first_on() {
        assert_eq!(dues(&[(500, 0), (500, 40), (540, 80), (3_000, 2_000)]), [500, 540, 580, 2_500]);
    }

    #[test]
    fn what_comes_late_by_more_than_a_second_moves_the_line() {
        assert_eq!(dues(&[(0, 0), (1_040, 40), (1_040, 80)]), [0, 40, 80]);
        assert_eq!(dues(&[(0, 0), (1_041, 40), (1_041, 80), (1_081, 120)]), [0, 1_041, 1_081, 1_121]);
    }

    #[test]
    fn a_track_behind_the_other_in_the_file_is_not_held_up() {
        // Three seconds of video, then the audio that belongs to them.
        let tags = [(0, 0), (0, 3_000), (3_000, 0), (3_000, 1_500), (3_000, 2_980), (3_000, 3_040), (3_040, 6_000)];
        assert_eq!(dues(&tags), [0, 3_000, 0, 1_500, 2_980, 3_040, 6_000]);
        // All of it comes late.
        assert_eq!(dues(&[(0, 0), (5_000, 3_000), (5_000, 20), (5_000, 3_040)]), [0, 5_000, 2_020, 5_040]);
    }

    #[test]
    fn the_end_of_an_item_is_expected_on_the_same_line() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        assert_eq!((pacer.expected(0), pacer.position(start)), (None, 0));
        pacer.due(0, start);
        let late = start + Duration::from_secs(5);
        pacer.due(1_000, late);
        assert_eq!(pacer.expected(3_000), Some(late + Duration::from_secs(2)));
        assert_eq!(pacer.position(late), 1_000);
    }

    #[test]
    fn a_wait_that_may_pass_for_silence_is_announced() {
        let now = Instant::now();
        let waits = [0, 40, 50, 51, 99, 100].map(|ms| is_long(now + Duration::from_millis(ms), now));
        assert_eq!(waits, [false, false, false, true, true, true]);
    }
}
