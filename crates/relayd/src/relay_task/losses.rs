//! Which lost tags of an input are still to be told.

use std::time::Instant;

use crate::{status::DroppedByCause, throttle::Throttle};

/// What one input has lost, as far as the log tells it.
#[derive(Debug, Default)]
pub(super) struct Losses {
    told: DroppedByCause,
    throttle: Throttle,
}

impl Losses {
    /// The causes that deserve a line now, each with the tags lost to it since its last one. What has to wait its turn is
    /// part of the next line.
    pub(super) fn due(&mut self, lost: &DroppedByCause, now: Instant) -> Vec<(&'static str, u64)> {
        let mut due = Vec::new();
        for (&(cause, count), (_, told)) in lost.iter().zip(&mut self.told) {
            // Another run counts anew.
            if count < *told {
                *told = 0;
            }
            if count > *told && self.throttle.admit(("drop", cause), now).is_some() {
                due.push((cause, count - *told));
                *told = count;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lost(empty: u64, script: u64) -> DroppedByCause {
        let others = ["sequence_end", "unstarted", "oversized", "passed_over"].map(|cause| (cause, 0));
        let [end, unstarted, oversized, passed_over] = others;
        [("empty", empty), ("script", script), end, unstarted, oversized, passed_over]
    }

    #[test]
    fn every_loss_is_told_once_and_late_at_worst() {
        let (start, mut losses) = (Instant::now(), Losses::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(losses.due(&lost(0, 0), at(0)), []);
        assert_eq!(losses.due(&lost(2, 0), at(0)), [("empty", 2)]);
        assert_eq!(losses.due(&lost(5, 1), at(500)), [("script", 1)]);
        assert_eq!(losses.due(&lost(6, 1), at(999)), []);
        // Nothing more has come since, and yet nothing is forgotten.
        assert_eq!(losses.due(&lost(6, 1), at(1_000)), [("empty", 4)]);
        assert_eq!(losses.due(&lost(6, 1), at(9_000)), []);
        assert_eq!(losses.due(&lost(1, 1), at(10_000)), [("empty", 1)]);
    }
}
