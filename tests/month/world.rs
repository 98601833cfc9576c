//! The path of decisions from inputs to sessions, on a clock of the test's own.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use flv::{Class, Kind};
use relay::{
    Action, Batch, EventKind, Failover, FailoverPolicy, InputKind, Log, LogPolicy, Placed, Reason, Report, Stretch,
    TimelinePolicy,
};
use testkit::readers::Personality;

use crate::{
    encode::{Encode, Frame},
    output::{Output, Relayed},
};

/// How many of the encodes' frames exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Density {
    /// All of them.
    Full,
    /// A keyframe and an audio frame every so many ms: enough for a clock to be seen.
    Sparse(u64),
}

/// One input's source.
#[derive(Debug)]
struct Feed {
    encode: Encode,
    metadata: u8,
    connected: bool,
    /// It is connected and silent.
    stalled: bool,
    /// It has no video.
    muted: bool,
    shift: i64,
    video: u64,
    audio: u64,
}

/// A passing of the programme to an input: which, why, and whether with the very next tag.
pub(crate) type Splice = (usize, &'static str, bool);

pub(crate) struct World {
    start: Instant,
    now: u64,
    density: Density,
    failover: Failover,
    log: Log,
    feeds: Vec<Feed>,
    relayed: Relayed,
    /// The end of the log when outputs were last written to.
    flushed: u64,
    outputs: BTreeMap<String, Output>,
    /// Since they were last taken.
    pub(crate) splices: Vec<Splice>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What was said of inputs: reasons of losses and of trouble.
    pub(crate) told: Vec<(Option<usize>, &'static str)>,
    /// Programme DTS minus position of what is relayed; changes where the programme is spliced or repaired only.
    offset: Option<i64>,
    may_change_until: u64,
    /// The extremes of the lead since they were last asked for.
    leads: Option<(i64, i64)>,
    pub(crate) tags: u64,
    pub(crate) largest_log: usize,
}

impl World {
    /// Inputs in order of priority, none connected yet.
    pub(crate) fn new(encodes: &[Encode]) -> Self {
        let start = Instant::now();
        // Sparse frames are rarer than the usual limits allow.
        let policy = FailoverPolicy {
            stall_timeout: PATIENCE / 2,
            no_video: PATIENCE,
            no_audio: PATIENCE,
            keyframe_overdue: PATIENCE,
            ..FailoverPolicy::default()
        };
        let inputs = (0..encodes.len()).map(|n| (format!("in{n}"), InputKind::Pull));
        let failover = Failover::new(policy, &TimelinePolicy::default(), LogPolicy::default(), inputs, start);
        let feed = |&encode| Feed {
            encode,
            metadata: 0,
            connected: false,
            stalled: false,
            muted: false,
            shift: 0,
            video: 0,
            audio: 0,
        };
        Self {
            start,
            now: 0,
            density: Density::Full,
            failover,
            log: Log::new(LogPolicy::default()),
            feeds: encodes.iter().map(feed).collect(),
            relayed: Relayed::default(),
            flushed: 0,
            outputs: BTreeMap::new(),
            splices: Vec::new(),
            faults: BTreeMap::new(),
            told: Vec::new(),
            offset: None,
            may_change_until: 0,
            leads: None,
            tags: 0,
            largest_log: 0,
        }
    }

    // --- what is asked of it

    /// How often outputs have written what all in step write, and how often what they read by themselves.
    pub(crate) fn ways(&self) -> (u64, u64) {
        let ways = self.outputs.values().map(Output::ways);
        ways.fold((0, 0), |(stepped, read), (more, too)| (stepped + more, read + too))
    }

    pub(crate) fn output(&self, name: &str) -> &Output {
        &self.outputs[name]
    }

    /// How far the programme ran ahead of the wall clock since the last call, at least and at most: the DTS of what was
    /// relayed minus the moment at which it was due.
    pub(crate) fn take_leads(&mut self) -> RangeInclusive<i64> {
        let (low, high) = self.leads.take().expect("something was relayed");
        low..=high
    }

    // --- what is done to it

    pub(crate) fn set_density(&mut self, density: Density) {
        self.density = density;
    }

    /// The input connects and is served from its last keyframe on.
    pub(crate) fn connect(&mut self, input: usize) {
        let feed = &mut self.feeds[input];
        let position = feed.encode.position(self.now) / 1_000 * 1_000;
        (feed.connected, feed.stalled) = (true, false);
        feed.video = Frame::number_at(Kind::Video, position);
        feed.audio = Frame::number_at(Kind::Audio, position);
        for report in [Report::Connecting, Report::Connected] {
            self.report(input, report);
        }
        self.send_headers(input);
    }

    pub(crate) fn lose(&mut self, input: usize) {
        self.feeds[input].connected = false;
        self.report(input, Report::Lost { reason: Reason::Connect });
    }

    pub(crate) fn stall(&mut self, input: usize) {
        self.feeds[input].stalled = true;
    }

    /// Every timestamp from now on is moved by `by` ms.
    pub(crate) fn shift(&mut self, input: usize, by: i64) {
        self.feeds[input].shift += by;
    }

    /// The encode's metadata changes.
    pub(crate) fn change_metadata(&mut self, input: usize) {
        self.feeds[input].metadata += 1;
        self.send_headers(input);
    }

    /// The encode has sound only, from now on or no longer.
    pub(crate) fn mute_video(&mut self, input: usize, muted: bool) {
        let feed = &mut self.feeds[input];
        feed.muted = muted;
        feed.video = Frame::number_at(Kind::Video, feed.encode.position(self.now).next_multiple_of(1_000));
    }

    pub(crate) fn join(&mut self, name: &str) {
        self.join_as(name, &Personality::ALL);
    }

    /// A session begins, read by these.
    pub(crate) fn join_as(&mut self, name: &str, personalities: &[Personality]) {
        self.insert(name, Output::new(personalities));
    }

    /// A session begins that always reads the log by itself.
    pub(crate) fn join_alone(&mut self, name: &str) {
        self.insert(name, Output::new(&Personality::ALL).alone());
    }

    fn insert(&mut self, name: &str, mut output: Output) {
        output.pump(None, &self.log, &self.relayed, self.instant());
        assert!(self.outputs.insert(name.to_owned(), output).is_none(), "{name} is there already");
    }

    /// The session ends; it has to have had media.
    pub(crate) fn leave(&mut self, name: &str) {
        let output = self.outputs.remove(name).expect("it has joined");
        assert!(output.messages() > 1_000, "{name} has read {} messages", output.messages());
    }

    /// Everything goes on up to this moment.
    pub(crate) fn run_to(&mut self, until: u64) {
        while let Some((due, input, kind)) = self.next_frame().filter(|&(due, ..)| due < until) {
            self.tick_up_to(due);
            self.now = self.now.max(due);
            self.deliver(input, kind);
        }
        self.tick_up_to(until);
        self.now = until;
    }

    /// Timers between frames, where frames are dense enough for them to matter.
    fn tick_up_to(&mut self, until: u64) {
        if self.density != Density::Full {
            return;
        }
        loop {
            let wake = self.failover.wake_at();
            let at = wake.saturating_duration_since(self.start).as_micros().div_ceil(1_000) as u64;
            if at >= until {
                return;
            }
            self.now = at.max(self.now);
            let now = self.instant();
            self.failover.tick(now);
            self.act();
        }
    }

    fn next_frame(&self) -> Option<(u64, usize, Kind)> {
        let feeds = self.feeds.iter().enumerate().filter(|(_, feed)| feed.connected && !feed.stalled);
        feeds
            .map(|(input, feed)| {
                let at = |kind, number| feed.encode.wall(Frame { name: 0, kind, number }.position());
                let (video, audio) = (at(Kind::Video, feed.video), at(Kind::Audio, feed.audio));
                if feed.muted || audio < video { (audio, input, Kind::Audio) } else { (video, input, Kind::Video) }
            })
            .min_by_key(|&(due, input, _)| (due, input))
    }

    fn deliver(&mut self, input: usize, kind: Kind) {
        let feed = &mut self.feeds[input];
        let number = if kind == Kind::Audio { &mut feed.audio } else { &mut feed.video };
        let tag = feed.encode.tag(kind, *number, feed.shift);
        *number = match self.density {
            Density::Full => *number + 1,
            Density::Sparse(step) => {
                let position = Frame { name: 0, kind, number: *number }.position();
                Frame::number_at(kind, (position / step + 1) * step)
            }
        };
        self.tags += 1;
        self.report(input, Report::Bytes(tag.body.len() as u64));
        self.report(input, Report::Tag(tag));
    }

    fn send_headers(&mut self, input: usize) {
        let feed = &self.feeds[input];
        for header in feed.encode.headers(feed.metadata) {
            self.report(input, Report::Bytes(header.body.len() as u64));
            self.report(input, Report::Tag(header));
        }
    }

    fn report(&mut self, input: usize, report: Report) {
        let now = self.instant();
        self.failover.handle(input, report, now);
        self.act();
    }

    fn act(&mut self) {
        let (mut emitted, now) = (false, self.instant());
        while let Some(action) = self.failover.next_action() {
            match action {
                Action::Emit(placed) => {
                    emitted = true;
                    self.check(&placed);
                    self.log.push(&placed, now);
                    self.relayed.push(placed, &self.log);
                }
                Action::Record(event) => {
                    match event.kind {
                        EventKind::Splice => {
                            let input = event.input.expect("a splice goes to an input");
                            let exact = event.detail.ends_with("exactly");
                            self.splices.push((input, event.reason, exact));
                        }
                        EventKind::Fault => *self.faults.entry(event.reason).or_default() += 1,
                        _ => self.told.push((event.input, event.reason)),
                    }
                    if event.kind != EventKind::State {
                        self.may_change_until = self.now + 1_000;
                    }
                }
                Action::Start(_) => {}
                Action::Restart(input, reason) => {
                    self.feeds[input].connected = false;
                    self.failover.handle(input, Report::Lost { reason }, now);
                }
                other => panic!("{other:?} at {} ms", self.now),
            }
        }
        if emitted {
            self.largest_log = self.largest_log.max(self.log.bytes());
            // Made ready once for all, as a flusher does.
            let stretch = Stretch::new(&self.log, self.flushed, BATCH);
            self.flushed = self.log.end();
            for output in self.outputs.values_mut() {
                output.pump(stretch.as_ref(), &self.log, &self.relayed, now);
            }
        }
    }

    /// A frame is a source's, and audio and video keep the one offset that the last splice or repair gave them.
    fn check(&mut self, placed: &Placed) {
        let kind = match placed.class {
            Class::Audio => Kind::Audio,
            Class::Key | Class::Inter => Kind::Video,
            _ => return,
        };
        let frame = Frame::of(kind, &placed.body).unwrap_or_else(|| panic!("{:?} is of no encode", placed.class));
        let offset = placed.dts - frame.position() as i64;
        let before = *self.offset.get_or_insert(offset);
        if self.now >= self.may_change_until {
            assert_eq!(offset, before, "{frame:?} at {} ms lies elsewhere than the frame before it", self.now);
        }
        self.offset = Some(offset);
        let feed = self.feeds.iter().find(|feed| feed.encode.name == frame.name).expect("it is of an encode");
        let lead = placed.dts - feed.encode.wall(frame.position()) as i64;
        let (low, high) = self.leads.unwrap_or((lead, lead));
        self.leads = Some((low.min(lead), high.max(lead)));
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }
}

/// As much as a flusher makes ready at once.
const BATCH: Batch = Batch { tags: 64, bytes: 256 << 10 };
/// Half of it is longer than the distance of sparse frames.
const PATIENCE: Duration = Duration::from_secs(120);
