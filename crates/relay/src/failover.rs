//! Which input feeds the programme, and from which tag on.

mod choosing;
mod rearranging;
mod relaying;
mod resuming;
mod splicing;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Weak,
    time::{Duration, Instant},
};

use flv::{Tag, amf0};

use crate::{
    alignment::{LastBodies, Marks},
    cost,
    event::{Event, EventKind},
    fault::{Fault, Reason},
    headers::HeaderSet,
    input::{Input, InputKind, Link},
    log::Placed,
    meter::Meter,
    policy::{FailoverPolicy, LogPolicy, TimelinePolicy},
    timeline::Timeline,
};

pub use self::rearranging::{Listed, Was};

/// What an input's task reports. Inputs are numbered in the order of the configuration, which is their priority.
#[derive(Clone, Debug)]
pub enum Report {
    /// An attempt to connect began.
    Connecting,
    /// A push input waits for its publisher.
    Waiting,
    /// A vod is opened and validated and waits for [`Action::Play`].
    Ready,
    /// Media is about to come: the response was accepted, the publisher was let in, the vod began to play.
    Connected,
    /// Bytes came.
    Bytes(u64),
    /// A tag came.
    Tag(Tag),
    /// A vod paces itself: its next tag is there and waits until then, or what it has played lasts until then.
    Due(Instant),
    /// So many tags without a body came, and were dropped.
    EmptyTags(u64),
    /// The framing was lost and found again; what follows is behind a gap.
    Resynced,
    /// The connection ended; the task waits before it tries again.
    Lost {
        /// Why.
        reason: Reason,
    },
    /// A vod has played all its loops.
    Ended,
}

/// What the relay task has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Put this into the log.
    Emit(Placed),
    /// Let this input's task connect.
    Start(usize),
    /// End this input's task.
    Stop(usize),
    /// The input's connection is of no use: close it and begin anew after a backoff.
    Restart(usize, Reason),
    /// Let this vod play from its first item.
    Play(usize),
    /// The hold has ended: let the outputs end their sessions cleanly.
    EndSessions,
    /// Every input has ended for good: stop the relay.
    Finish,
    /// Put this on record.
    Record(Event),
}

/// Where the relay stands between its start and its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No media yet, or none since a hold ended.
    Starting,
    /// An input feeds.
    Running,
    /// No input feeds; outputs keep their sessions.
    Holding,
    /// Every input has ended for good.
    Finished,
}

/// Chooses the input that feeds, places its tags on the programme's timeline, and hands them out as actions.
///
/// Plain state: it is told what happens and what time it is, and answers with [`Action`]s. It never waits.
#[derive(Debug)]
pub struct Failover {
    policy: FailoverPolicy,
    /// What onMetaData may hold.
    metadata: amf0::Limits,
    timeline_policy: TimelinePolicy,
    ring_policy: LogPolicy,
    inputs: Vec<Input>,
    selected: usize,
    /// The operator asked for `selected` and it does not feed yet.
    switch_pending: bool,
    phase: Phase,
    feed: Option<Feed>,
    /// What the last feed ended with.
    cut: Option<Cut>,
    timeline: Timeline,
    /// What has been relayed since the last splice to other media.
    relayed: Marks,
    last_bodies: LastBodies,
    next_search: Instant,
    sent: HeaderSet,
    /// A set of which everything has been sent: known again, but not held.
    settled: Weak<HeaderSet>,
    started: Instant,
    splices: BTreeMap<Reason, u64>,
    reverts: VecDeque<Instant>,
    reverts_exhausted: bool,
    wake_at: Instant,
    actions: VecDeque<Action>,
}

/// The input that feeds, and how far its ring has been relayed.
#[derive(Clone, Debug)]
struct Feed {
    input: usize,
    next: u64,
    beginning: Beginning,
    since: Instant,
    meter: Option<Meter>,
}

/// Which tags of the ring, from the feed's first on, belong to it.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// Audio from before this source DTS belongs to media that is not relayed.
    Keyframe { source: i64 },
    /// Tags up to these numbers equal tags that were relayed already.
    Exact { audio: Option<u64>, video: Option<u64> },
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    reason: Reason,
    at: Instant,
    /// A healthy feed was left for an input that is to be waited for.
    is_return: bool,
}

/// Where a splice would put a tag of an input's ring.
#[derive(Clone, Copy, Debug)]
struct SplicePoint {
    number: u64,
    source: i64,
    at: i64,
    ahead: i64,
}

impl Failover {
    /// A relay's decisions from its start at `now`, with its inputs in order of priority.
    pub fn new(
        policy: FailoverPolicy,
        timeline: &TimelinePolicy,
        ring: LogPolicy,
        inputs: impl IntoIterator<Item = (String, InputKind)>,
        now: Instant,
    ) -> Self {
        let inputs: Vec<_> =
            inputs.into_iter().map(|(name, kind)| Input::new(name, kind, timeline.clone(), ring, now)).collect();
        let mut failover = Self {
            policy,
            metadata: amf0::Limits::default(),
            timeline_policy: timeline.clone(),
            ring_policy: ring,
            inputs,
            selected: 0,
            switch_pending: false,
            phase: Phase::Starting,
            feed: None,
            cut: None,
            timeline: Timeline::new(now),
            relayed: Marks::new(ring.reach_ms()),
            last_bodies: LastBodies::new(ring.max_proof()),
            next_search: now,
            sent: HeaderSet::default(),
            settled: Weak::new(),
            started: now,
            splices: BTreeMap::new(),
            reverts: VecDeque::new(),
            reverts_exhausted: false,
            wake_at: now,
            actions: VecDeque::new(),
        };
        failover.want_inputs();
        failover
    }

    /// With other limits for onMetaData than the default ones; what exceeds them is dropped and counted.
    #[must_use]
    pub fn with_metadata_limits(mut self, limits: amf0::Limits) -> Self {
        self.metadata = limits;
        self
    }

    /// Takes in what an input's task reports.
    pub fn handle(&mut self, input: usize, report: Report, now: Instant) {
        let begins_anew = matches!(report, Report::Connecting | Report::Waiting | Report::Ready | Report::Connected);
        if begins_anew && self.active() == Some(input) {
            // Its ring starts over: what the feed has not relayed is gone with the connection before.
            self.lose(input, Reason::Connect, Link::Backoff, now);
        }
        // A task that was told to end may still have reports on the way.
        let Some(it) = self.inputs.get_mut(input).filter(|it| it.wanted) else { return };
        match report {
            Report::Connecting => it.disconnected(Link::Connecting),
            Report::Waiting => {
                it.disconnected(Link::Idle);
                it.has_failed = true;
            }
            Report::Ready => it.ready(now),
            Report::Connected => it.connected(now),
            Report::Bytes(bytes) => it.received(bytes, now),
            Report::Due(at) => it.is_due(at),
            Report::EmptyTags(count) => it.counters.empty_tags += count,
            Report::Resynced => {
                it.resynced(now);
                let fault = Fault { kind: crate::FaultKind::Resync, before: 0, after: 0 };
                self.record_fault(input, fault);
            }
            Report::Tag(tag) => {
                // A task that has been told to begin anew may still have tags on the way.
                if it.link == Link::Up
                    && let Some(fault) = it.observe(tag, &self.metadata, now)
                {
                    self.record_fault(input, fault);
                }
            }
            Report::Lost { reason } => self.lose(input, reason, Link::Backoff, now),
            Report::Ended => self.lose(input, Reason::Eof, Link::Ended, now),
        }
        self.tick(now);
    }

    /// Looks at everything that depends on time alone. Due at [`wake_at`](Self::wake_at).
    pub fn tick(&mut self, now: Instant) {
        self.wake_at = now + DETECTOR_INTERVAL;
        self.find_trouble(now);
        self.align(now);
        self.choose(now);
        self.relay_what_is_due(now);
        self.judge_phase(now);
    }

    /// The operator wants this input to feed. It does as soon as it can; until then the present one goes on.
    pub fn switch(&mut self, input: usize, now: Instant) {
        if input >= self.inputs.len() {
            return;
        }
        self.selected = input;
        self.switch_pending = self.feed.as_ref().is_some_and(|feed| feed.input != input);
        self.want_inputs();
        self.tick(now);
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        let next = self.actions.pop_front();
        cost::fit(&mut self.actions);
        next
    }

    /// When [`tick`](Self::tick) is due, unless something is reported earlier.
    ///
    /// It counts from the last tick: however often it is asked for meanwhile, it comes no later.
    pub fn wake_at(&self) -> Instant {
        self.wake_at
    }

    /// Where the relay stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The input that feeds.
    pub fn active(&self) -> Option<usize> {
        self.feed.as_ref().map(|feed| feed.input)
    }

    /// The input that is to feed whenever it can.
    pub fn selected(&self) -> usize {
        self.selected
    }

    /// Splices so far, by reason.
    pub fn splices(&self) -> &BTreeMap<Reason, u64> {
        &self.splices
    }

    /// The programme's DTS reached, in ms.
    pub fn timeline_ms(&self) -> i64 {
        self.timeline.reached().unwrap_or(0)
    }

    /// The inputs, in order of priority.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The input whose tags `input` is proven to carry, when it is another.
    pub fn aligned_with(&self, input: usize) -> Option<usize> {
        self.active().filter(|&active| active != input && self.inputs[input].alignment.is_locked())
    }

    /// The word for an input's state.
    pub fn input_state(&self, input: usize, now: Instant) -> &'static str {
        let it = &self.inputs[input];
        match it.link {
            Link::Idle => "idle",
            Link::Connecting => "connecting",
            Link::Restarting | Link::Backoff => "backoff",
            Link::Ended => "ended",
            Link::Ready => "standby",
            Link::Up if it.told.is_some() => "stalled",
            Link::Up if self.active() == Some(input) => "live",
            Link::Up if it.is_usable(now) => "standby",
            Link::Up => "connecting",
        }
    }

    fn judge_phase(&mut self, now: Instant) {
        let before = self.phase;
        if self.feed.is_some() {
            self.phase = Phase::Running;
        } else if !self.inputs.is_empty() && self.inputs.iter().all(|input| input.link == Link::Ended) {
            if self.phase != Phase::Finished {
                self.actions.push_back(Action::Finish);
            }
            self.phase = Phase::Finished;
        } else if let Some(cut) = self.cut {
            let ends = cut.at + self.policy.hold;
            // An input that waits for its keyframe is about to feed: nothing is held yet.
            if self.phase == Phase::Running && self.candidate(now).is_none() {
                self.phase = Phase::Holding;
            }
            if self.phase == Phase::Holding && now >= ends {
                self.phase = Phase::Starting;
                self.actions.push_back(Action::EndSessions);
            } else if self.phase == Phase::Holding {
                self.look_again(ends);
            }
        }
        match (before, self.phase) {
            (Phase::Running, Phase::Holding) => {
                let reason = self.cut.map_or("", |cut| cut.reason.name());
                self.record(None, EventKind::Hold, reason, "no input feeds: outputs keep their sessions");
            }
            (Phase::Holding, Phase::Starting) => {
                self.record(None, EventKind::Hold, "ended", "the hold is over: outputs end their sessions");
            }
            _ => {}
        }
    }

    fn record_fault(&mut self, input: usize, fault: Fault) {
        let event = Event::new(EventKind::Fault, Some(input), fault.kind.name(), String::new())
            .with_dts(fault.before, fault.after);
        self.actions.push_back(Action::Record(event));
    }

    fn record(&mut self, input: Option<usize>, kind: EventKind, reason: &'static str, detail: &str) {
        self.actions.push_back(Action::Record(Event::new(kind, input, reason, detail.to_owned())));
    }
}

/// Detectors and timers without a moment of their own are looked at this often.
const DETECTOR_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
