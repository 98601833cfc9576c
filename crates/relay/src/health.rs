//! Is an input delivering what it should?

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use flv::Class;

use crate::{
    fault::Reason,
    policy::{FailoverPolicy, Rate},
    repair::Track,
};

/// What is wrong with a connected input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Which detector fired.
    pub(crate) reason: Reason,
    /// The connection is of no use and is made anew. Otherwise the input is left only when a better one is there.
    pub(crate) lost: bool,
}

/// Watches one connection of an input. All limits are of [`FailoverPolicy`].
#[derive(Clone, Debug)]
pub(crate) struct Health {
    since: Instant,
    bytes: Instant,
    tags: Instant,
    audio: Option<Instant>,
    video: Option<Instant>,
    key: Option<Instant>,
    gop: Option<Duration>,
    key_dts: Option<i64>,
    pace: VecDeque<(Instant, i64)>,
    /// `dts − time since the connection` every few seconds.
    lead: VecDeque<(Instant, i64)>,
    faults: VecDeque<Instant>,
    too_many_faults: bool,
    /// A fault has been reason to leave the input, and is until then.
    left_until: Option<Instant>,
}

/// The tracks that an input has ever had: one that existed is missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracks {
    /// Audio tags have come.
    pub(crate) audio: bool,
    /// Video tags have come.
    pub(crate) video: bool,
}

impl Health {
    /// A connection made at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: now,
            tags: now,
            audio: None,
            video: None,
            key: None,
            gop: None,
            key_dts: None,
            pace: VecDeque::new(),
            lead: VecDeque::new(),
            faults: VecDeque::new(),
            too_many_faults: false,
            left_until: None,
        }
    }

    /// Bytes came, or (vod) are not due before.
    pub(crate) fn bytes(&mut self, at: Instant) {
        self.bytes = at;
    }

    /// A tag of any kind came.
    pub(crate) fn tag(&mut self, now: Instant) {
        self.tags = now;
    }

    /// A media tag came; `dts` is its place on the repaired line.
    pub(crate) fn media(&mut self, track: Track, class: Class, dts: i64, now: Instant) {
        match track {
            Track::Audio => self.audio = Some(now),
            Track::Video => self.video = Some(now),
        }
        if class == Class::Key {
            self.gop =
                self.key_dts.map(|before| Duration::from_millis((dts - before).max(0).unsigned_abs())).or(self.gop);
            self.key = Some(now);
            self.key_dts = Some(dts);
        }
        // The burst that a server sends at connect would pass for a fast source.
        let settled = now.saturating_duration_since(self.since) >= Duration::from_secs(1);
        let due = self.pace.back().is_none_or(|&(at, _)| now.saturating_duration_since(at) >= Duration::from_secs(1));
        let lead_due =
            self.lead.back().is_none_or(|&(at, _)| now.saturating_duration_since(at) >= CLOCK_WINDOW / LEAD_SAMPLES);
        if settled && lead_due {
            let passed = i64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(i64::MAX / 4);
            self.lead.push_back((now, dts - passed));
            if self.lead.len() > LEAD_SAMPLES as usize + 1 {
                self.lead.pop_front();
            }
        }
        if settled && due {
            self.pace.push_back((now, dts));
            while self.pace.front().is_some_and(|&(at, _)| now.saturating_duration_since(at) > PACE_WINDOW * 2) {
                self.pace.pop_front();
            }
        }
    }

    /// A timestamp or framing fault came. `leave` says that one alone is reason enough to take another input.
    pub(crate) fn fault(&mut self, limit: Rate, leave: bool, now: Instant) {
        if leave {
            self.left_until = Some(now + limit.window);
        }
        self.faults.push_back(now);
        while self.faults.front().is_some_and(|&at| now.saturating_duration_since(at) > limit.window) {
            self.faults.pop_front();
        }
        if self.faults.len() > limit.count as usize {
            self.too_many_faults = true;
            self.faults.clear();
        }
    }

    /// What is wrong now, the gravest first.
    pub(crate) fn trouble(&self, policy: &FailoverPolicy, ever: Tracks, now: Instant) -> Option<Trouble> {
        let silent = |since: Option<Instant>, limit: Duration| {
            now.saturating_duration_since(since.unwrap_or(self.since)) >= limit
        };
        let overdue = policy.keyframe_overdue.max(self.gop.unwrap_or_default() * 2);
        let lost = |reason| Some(Trouble { reason, lost: true });
        let poor = |reason| Some(Trouble { reason, lost: false });
        if silent(Some(self.bytes), policy.stall_timeout) {
            lost(Reason::NoBytes)
        } else if silent(Some(self.tags), policy.stall_timeout) {
            lost(Reason::NoTags)
        } else if self.too_many_faults {
            lost(Reason::DtsFaults)
        } else if self.left_until.is_some_and(|until| now < until) {
            poor(Reason::DtsFaults)
        } else if ever.video && silent(self.video, policy.no_video) {
            poor(Reason::NoVideo)
        } else if ever.audio && silent(self.audio, policy.no_audio) {
            poor(Reason::NoAudio)
        } else if self.video.is_some() && silent(self.key, overdue) {
            poor(Reason::KeyframeOverdue)
        } else if self.is_slow(policy.slow_ratio) {
            poor(Reason::Slow)
        } else if self.is_off_the_clock() {
            poor(Reason::Clock)
        } else {
            None
        }
    }

    /// What is wrong with a vod that waits for its bytes. It has more items: while nobody can take its place it goes on.
    pub(crate) fn starvation(&self, policy: &FailoverPolicy, now: Instant) -> Option<Trouble> {
        let starves = now.saturating_duration_since(self.bytes) >= policy.stall_timeout;
        starves.then_some(Trouble { reason: Reason::NoBytes, lost: false })
    }

    /// The usual distance of keyframes, once two have come.
    pub(crate) fn gop(&self) -> Option<Duration> {
        self.gop
    }

    /// When the next keyframe is due, as far as the GOP is regular.
    pub(crate) fn next_key(&self) -> Option<Instant> {
        Some(self.key? + self.gop?)
    }

    /// A video tag has come.
    pub(crate) fn has_video(&self) -> bool {
        self.video.is_some()
    }

    /// When the connection was made.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Timestamps and arrival have drifted apart against the input's own baseline of a minute ago. Slower drifts are
    /// the ordinary difference of two clocks, and gaps of both leave it unmoved.
    fn is_off_the_clock(&self) -> bool {
        match (self.lead.front(), self.lead.back()) {
            (Some(&(then, before)), Some(&(now, after))) => {
                now.saturating_duration_since(then) >= CLOCK_WINDOW && (after - before).abs() > LARGEST_DRIFT
            }
            _ => false,
        }
    }

    fn is_slow(&self, ratio: f64) -> bool {
        let Some(&(newest_at, newest)) = self.pace.back() else { return false };
        let Some(&(oldest_at, oldest)) =
            self.pace.iter().rev().find(|&&(at, _)| newest_at.saturating_duration_since(at) >= PACE_WINDOW)
        else {
            return false;
        };
        let passed = newest_at.saturating_duration_since(oldest_at).as_secs_f64();
        (newest - oldest) as f64 / 1_000.0 < passed * ratio
    }
}

/// `slow_ratio` is measured over this much real time.
pub(crate) const PACE_WINDOW: Duration = Duration::from_secs(10);

/// The baseline of an input's clock is this old.
const CLOCK_WINDOW: Duration = Duration::from_secs(60);
/// Samples of the lead within the window.
const LEAD_SAMPLES: u32 = 12;
/// Drift within the window that is no ordinary clock's, in ms.
const LARGEST_DRIFT: i64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Tracks = Tracks { audio: true, video: true };

    struct Script {
        health: Health,
        start: Instant,
    }

    impl Script {
        fn new() -> Self {
            let start = Instant::now();
            Self { health: Health::new(start), start }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Both tracks in `speed` × real time from `from` to `to` ms, a keyframe per second of media.
        fn run(&mut self, from: u64, to: u64, speed: f64, audio: bool, video: bool, keys: bool) {
            for ms in (from..to).step_by(40) {
                let now = self.at(ms);
                let dts = (ms as f64 * speed) as i64;
                self.health.bytes(now);
                self.health.tag(now);
                if video {
                    let class = if keys && ms % 1_000 == 0 { Class::Key } else { Class::Inter };
                    self.health.media(Track::Video, class, dts, now);
                }
                if audio {
                    self.health.media(Track::Audio, Class::Audio, dts, now);
                }
            }
        }

        fn trouble(&self, ms: u64) -> Option<Reason> {
            self.health.trouble(&FailoverPolicy::default(), BOTH, self.at(ms)).map(|trouble| trouble.reason)
        }
    }

    #[test]
    fn a_healthy_input_has_no_trouble() {
        let mut script = Script::new();
        script.run(0, 30_000, 1.0, true, true, true);
        assert_eq!(script.trouble(30_000), None);
        assert_eq!(script.health.gop(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn each_detector_names_its_reason() {
        type Case = (&'static str, fn(&mut Script), u64, Option<Reason>);
        let cases: [Case; 10] = [
            ("silence, just before", |s| s.run(0, 5_000, 1.0, true, true, true), 7_900, None),
            ("silence", |s| s.run(0, 5_000, 1.0, true, true, true), 7_960, Some(Reason::NoBytes)),
            (
                "bytes without tags",
                |s| {
                    s.run(0, 5_000, 1.0, true, true, true);
                    let now = s.at(8_000);
                    s.health.bytes(now);
                },
                8_000,
                Some(Reason::NoTags),
            ),
            (
                "no video",
                |s| {
                    s.run(0, 5_000, 1.0, true, true, true);
                    s.run(5_000, 9_000, 1.0, true, false, true);
                },
                9_000,
                Some(Reason::NoVideo),
            ),
            (
                "no audio",
                |s| {
                    s.run(0, 5_000, 1.0, true, true, true);
                    s.run(5_000, 9_000, 1.0, false, true, true);
                },
                9_000,
                Some(Reason::NoAudio),
            ),
            ("never a keyframe", |s| s.run(0, 10_040, 1.0, true, true, false), 10_040, Some(Reason::KeyframeOverdue)),
            ("slow", |s| s.run(0, 14_000, 0.7, true, true, true), 14_000, Some(Reason::Slow)),
            ("a fast clock", |s| s.run(0, 75_000, 1.1, true, true, true), 75_000, Some(Reason::Clock)),
            ("a clock a little fast", |s| s.run(0, 75_000, 1.05, true, true, true), 75_000, None),
            ("slow, within bounds", |s| s.run(0, 14_000, 0.85, true, true, true), 14_000, None),
        ];
        for (what, play, at, reason) in cases {
            let mut script = Script::new();
            play(&mut script);
            assert_eq!(script.trouble(at), reason, "{what}");
        }
    }

    #[test]
    fn more_faults_than_the_limit_lose_the_input() {
        let mut script = Script::new();
        script.run(0, 2_000, 1.0, true, true, true);
        let limit = Rate { count: 3, window: Duration::from_secs(10) };
        for n in 0..3 {
            script.health.fault(limit, false, script.at(1_000 + n));
        }
        assert_eq!(script.trouble(2_000), None);
        script.health.fault(limit, false, script.at(1_900));
        assert_eq!(script.trouble(2_000), Some(Reason::DtsFaults));
    }

    #[test]
    fn a_join_burst_is_not_pace() {
        let mut script = Script::new();
        for ms in 0..100u64 {
            script.health.media(Track::Video, Class::Inter, ms as i64 * 100, script.at(ms));
        }
        script.run(1_000, 14_000, 0.5, true, true, true);
        assert_eq!(script.trouble(14_000), Some(Reason::Slow));
    }
}
