//! The time of day: it is shown, signed URLs are judged by it, and its jumps are told. Nothing else is decided by it.

use std::time::{Duration, Instant, SystemTime};

/// The system's clock now.
#[expect(clippy::disallowed_methods, reason = "the one place that asks for the time of day")]
pub(crate) fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// Notices when the system's clock is set, or when the machine has slept.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    shown: SystemTime,
    at: Instant,
}

impl ClockWatch {
    pub(crate) fn new(shown: SystemTime, at: Instant) -> Self {
        Self { shown, at }
    }

    /// How many seconds further the system's clock is than the time that has passed since the last look, when that is
    /// more than slewing does.
    pub(crate) fn jump(&mut self, shown: SystemTime, at: Instant) -> Option<f64> {
        let seconds = |from: SystemTime, to: SystemTime| match to.duration_since(from) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        };
        let passed = at.saturating_duration_since(self.at).as_secs_f64();
        let jump = seconds(self.shown, shown) - passed;
        (self.shown, self.at) = (shown, at);
        (jump.abs() >= NOTABLE.as_secs_f64()).then_some(jump)
    }
}

/// How often to look.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// A clock that is being slewed is off by less.
const NOTABLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn a_step_either_way_is_told_once_and_slewing_is_not() {
        let (start, day) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let mut watch = ClockWatch::new(day, start);
        let mut look = |passed: u64, shown: f64| {
            watch.jump(day + Duration::from_secs_f64(shown), start + Duration::from_secs(passed)).map(f64::round)
        };
        assert_eq!(look(10, 10.005), None);
        assert_eq!(look(20, 3_620.0), Some(3_600.0));
        assert_eq!(look(30, 3_630.0), None);
        assert_eq!(look(40, 40.0), Some(-3_600.0));
        assert_eq!(look(50, 50.9), None);
    }
    /// What carries media and decides about it is none of them: no jump of the clock can reach it.
    #[test]
    fn only_these_ask_for_the_time_of_day() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut found) = (vec![root.clone()], vec![]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if fs::read_to_string(&path).unwrap().contains("time_of_day") {
                    found.push(path.strip_prefix(&root).unwrap().to_owned());
                }
            }
        }
        found.sort();
        // The watch over the clock itself; a time to be shown; the expiry of a signed URL; times to be shown.
        let expected = ["clock.rs", "daemon.rs", "http/mod.rs", "ingest/admit.rs", "status.rs"];
        assert_eq!(found, expected.map(Path::new));
    }
}
