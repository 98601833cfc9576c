//! Scripted inputs on a virtual clock, and what becomes of them.

use flv::{Class, Kind};

use super::*;

/// A live encode: 25 fps with a keyframe each second, audio every 20 ms. `name` makes its bytes its own.
#[derive(Clone, Copy)]
pub(super) struct Encode {
    pub(super) name: u8,
    /// Source DTS at time 0.
    pub(super) base: i64,
    pub(super) audio: bool,
    pub(super) video: bool,
    /// How far behind the live edge it is delivered, in ms.
    pub(super) late: i64,
}

impl Encode {
    pub(super) fn new(name: u8) -> Self {
        Self { name, base: 0, audio: true, video: true, late: 0 }
    }

    pub(super) fn headers(self) -> Vec<Tag> {
        let mut tags = vec![];
        if self.video {
            tags.push(tag(Kind::Video, 0, vec![0x17, 0, 0, 0, 0, 1, self.name]));
        }
        if self.audio {
            tags.push(tag(Kind::Audio, 0, vec![0xAF, 0, 0x12, self.name]));
        }
        tags
    }

    /// The tags of the 20 ms slot at `at`.
    pub(super) fn slot(self, at: i64) -> Vec<Tag> {
        let stamp = ((self.base + at) as u64 & 0xFFFF_FFFF) as u32;
        let number = (at / 20).to_be_bytes();
        let mut tags = vec![];
        if self.video && at % 40 == 0 {
            let first = if at % 1_000 == 0 { 0x17 } else { 0x27 };
            tags.push(tag(Kind::Video, stamp, [&[first, 1, 0, 0, 0, self.name][..], &number].concat()));
        }
        if self.audio {
            tags.push(tag(Kind::Audio, stamp, [&[0xAF, 1, self.name][..], &number].concat()));
        }
        tags
    }
}

pub(super) fn tag(kind: Kind, timestamp: u32, body: Vec<u8>) -> Tag {
    Tag { kind, timestamp, body: body.into() }
}

pub(super) struct World {
    pub(super) failover: Failover,
    pub(super) start: Instant,
    pub(super) now: i64,
    /// What each input delivers now; `None` is silence.
    pub(super) feeds: Vec<Option<Encode>>,
    pub(super) log: Vec<Placed>,
    /// The same as outputs would read it.
    pub(super) held: Log,
    pub(super) done: Vec<String>,
    pub(super) splices: Vec<(&'static str, i64, i64)>,
    pub(super) states: Vec<(&'static str, String)>,
}

impl World {
    pub(super) fn new(policy: FailoverPolicy, kinds: &[InputKind]) -> Self {
        Self::with_timeline(policy, &TimelinePolicy::default(), kinds)
    }

    pub(super) fn with_timeline(policy: FailoverPolicy, timeline: &TimelinePolicy, kinds: &[InputKind]) -> Self {
        let start = Instant::now();
        let inputs = kinds.iter().enumerate().map(|(n, kind)| (format!("in{n}"), *kind));
        let mut world = Self {
            failover: Failover::new(policy, timeline, LogPolicy::default(), inputs, start),
            start,
            now: 0,
            feeds: vec![None; kinds.len()],
            log: vec![],
            held: Log::new(LogPolicy::default()),
            done: vec![],
            splices: vec![],
            states: vec![],
        };
        world.drain();
        world
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now.unsigned_abs())
    }

    pub(super) fn report(&mut self, input: usize, report: Report) {
        let now = self.instant();
        self.failover.handle(input, report, now);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.failover.next_action() {
            match action {
                Action::Emit(placed) => {
                    self.held.push(&placed, self.instant());
                    self.log.push(placed);
                }
                Action::Record(event) if event.kind == EventKind::Splice => {
                    let (before, after) = event.dts.unwrap();
                    self.splices.push((event.reason, before, after));
                }
                Action::Record(event) => self.states.push((event.reason, event.detail)),
                other => {
                    if let Action::Restart(input, _) | Action::Stop(input) = other {
                        self.feeds[input] = None;
                    }
                    self.done.push(format!("{other:?}"));
                }
            }
        }
    }

    /// `input` delivers what `encode` carried `late` ms ago, from its last keyframe then on.
    pub(super) fn connect_late(&mut self, input: usize, encode: Encode, late: i64) {
        self.report(input, Report::Connecting);
        self.report(input, Report::Connected);
        self.report(input, Report::Bytes(1_000));
        for header in encode.headers() {
            self.report(input, Report::Tag(header));
        }
        let now = self.now - late;
        for at in (now / 1_000 * 1_000..now).step_by(20) {
            for tag in encode.slot(at) {
                self.report(input, Report::Tag(tag));
            }
        }
        self.feeds[input] = Some(Encode { late, ..encode });
    }

    /// `input` connects and delivers `encode` from its last keyframe on, as a server with a GOP cache does.
    pub(super) fn connect(&mut self, input: usize, encode: Encode) {
        self.connect_late(input, encode, 0);
    }

    pub(super) fn lose(&mut self, input: usize, reason: Reason) {
        self.feeds[input] = None;
        self.report(input, Report::Lost { reason });
    }

    /// Everything goes on in real time for `ms`.
    pub(super) fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.now < end {
            for input in 0..self.feeds.len() {
                let Some(encode) = self.feeds[input] else { continue };
                self.report(input, Report::Bytes(500));
                for tag in encode.slot(self.now - encode.late) {
                    self.report(input, Report::Tag(tag));
                }
            }
            // Timers are kept to the millisecond.
            for _ in 0..20 {
                let now = self.instant();
                if self.failover.wake_at() <= now || self.now % 100 == 0 {
                    self.failover.tick(now);
                    self.drain();
                }
                self.now += 1;
                let now = self.instant();
                if self.failover.wake_at() <= now {
                    self.failover.tick(now);
                    self.drain();
                }
            }
        }
    }

    pub(super) fn check_monotonic(&self) {
        let mut last = [i64::MIN; 2];
        for placed in &self.log {
            let track = usize::from(matches!(placed.class, Class::Audio | Class::AudioHeader));
            assert!(placed.dts >= last[track], "{placed:?} after {}", last[track]);
            last[track] = placed.dts;
        }
    }

    pub(super) fn media(&self) -> impl Iterator<Item = &Placed> {
        self.log
            .iter()
            .filter(|placed| !matches!(placed.class, Class::AudioHeader | Class::VideoHeader | Class::Metadata))
    }

    pub(super) fn headers(&self) -> Vec<(Class, i64)> {
        let headers = self.log.iter().filter(|placed| matches!(placed.class, Class::AudioHeader | Class::VideoHeader));
        headers.map(|placed| (placed.class, placed.dts)).collect()
    }

    pub(super) fn newest(&self) -> i64 {
        self.media().map(|placed| placed.dts).max().unwrap()
    }

    pub(super) fn largest_gap(&self) -> i64 {
        let video: Vec<_> =
            self.media().filter(|placed| placed.class != Class::Audio).map(|placed| placed.dts).collect();
        video.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }
}
