//! Which input feeds the programme, and from which tag on.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use flv::{Class, Tag};

use crate::{
    event::{Event, EventKind},
    fault::{Fault, Reason},
    headers::HeaderSet,
    input::{Input, InputKind, Link},
    log::Placed,
    meter::Meter,
    policy::{FailoverPolicy, LogPolicy, Revert, TimelinePolicy},
    repair::Track,
    ring::Held,
    timeline::Timeline,
};

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
    inputs: Vec<Input>,
    selected: usize,
    /// The operator asked for `selected` and it does not feed yet.
    switch_pending: bool,
    phase: Phase,
    feed: Option<Feed>,
    /// What the last feed ended with.
    cut: Option<Cut>,
    timeline: Timeline,
    sent: HeaderSet,
    /// A set of which everything has been sent.
    settled: Arc<HeaderSet>,
    started: Instant,
    splices: u64,
    reverts: VecDeque<Instant>,
    reverts_exhausted: bool,
    wake_at: Option<Instant>,
    actions: VecDeque<Action>,
}

/// The input that feeds, and how far its ring has been relayed.
#[derive(Clone, Debug)]
struct Feed {
    input: usize,
    next: u64,
    /// Audio from before this source DTS belongs to media that is not relayed.
    from: i64,
    since: Instant,
    meter: Option<Meter>,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    reason: Reason,
    at: Instant,
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
            inputs,
            selected: 0,
            switch_pending: false,
            phase: Phase::Starting,
            feed: None,
            cut: None,
            timeline: Timeline::new(now),
            sent: HeaderSet::default(),
            settled: Arc::default(),
            started: now,
            splices: 0,
            reverts: VecDeque::new(),
            reverts_exhausted: false,
            wake_at: None,
            actions: VecDeque::new(),
        };
        failover.want_inputs();
        failover
    }

    /// Takes in what an input's task reports.
    pub fn handle(&mut self, input: usize, report: Report, now: Instant) {
        let Some(it) = self.inputs.get_mut(input) else { return };
        match report {
            Report::Connecting => it.disconnected(Link::Connecting),
            Report::Waiting => {
                it.disconnected(Link::Idle);
                it.has_failed = true;
            }
            Report::Ready => it.disconnected(Link::Ready),
            Report::Connected => it.connected(now),
            Report::Bytes(bytes) => it.received(bytes, now),
            Report::Resynced => {
                it.resynced(now);
                let fault = Fault { kind: crate::FaultKind::Resync, before: 0, after: 0 };
                self.record_fault(input, fault);
            }
            Report::Tag(tag) => {
                // A task that has been told to begin anew may still have tags on the way.
                if it.link == Link::Up
                    && let Some(fault) = it.observe(tag, now)
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
        self.wake_at = None;
        self.find_trouble(now);
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
        self.actions.pop_front()
    }

    /// When [`tick`](Self::tick) is due, unless something is reported earlier.
    pub fn wake_at(&self, now: Instant) -> Instant {
        let detectors = now + DETECTOR_INTERVAL;
        self.wake_at.map_or(detectors, |wake_at| wake_at.min(detectors))
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

    /// Splices so far.
    pub fn splices(&self) -> u64 {
        self.splices
    }

    /// The programme's DTS reached, in ms.
    pub fn timeline_ms(&self) -> i64 {
        self.timeline.reached().unwrap_or(0)
    }

    /// The inputs, in order of priority.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
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

    // --- losing

    fn find_trouble(&mut self, now: Instant) {
        for input in 0..self.inputs.len() {
            let Some(trouble) = self.inputs[input].trouble(&self.policy, now) else {
                self.inputs[input].told = None;
                continue;
            };
            if trouble.lost || self.has_better_than(input, now) {
                self.actions.push_back(Action::Restart(input, trouble.reason));
                self.lose(input, trouble.reason, Link::Restarting, now);
            } else if self.inputs[input].told != Some(trouble.reason) {
                self.inputs[input].told = Some(trouble.reason);
                self.record(Some(input), EventKind::State, trouble.reason.name(), "goes on: no other input is healthy");
            }
        }
    }

    fn has_better_than(&self, input: usize, now: Instant) -> bool {
        (0..self.inputs.len()).any(|other| other != input && self.inputs[other].healthy_since(now).is_some())
    }

    /// The input's connection is gone. What it has delivered is still relayed.
    fn lose(&mut self, input: usize, reason: Reason, link: Link, now: Instant) {
        let was_up = matches!(self.inputs[input].link, Link::Up | Link::Restarting);
        if self.active() == Some(input) {
            if let Some(feed) = &mut self.feed {
                feed.meter = None;
            }
            self.relay_what_is_due(now);
            self.feed = None;
            self.cut = Some(Cut { reason, at: now });
        }
        let it = &mut self.inputs[input];
        let told = it.link == Link::Restarting;
        it.disconnected(link);
        it.has_failed = true;
        if !told && (was_up || link == Link::Ended) {
            self.record(Some(input), EventKind::State, reason.name(), "lost");
        }
    }

    // --- choosing

    fn choose(&mut self, now: Instant) {
        self.retire_unneeded_vods();
        let Some(candidate) = self.candidate(now) else {
            self.want_inputs();
            return;
        };
        let Some(feed) = &self.feed else {
            let reason = self.cut.map_or(Reason::Manual, |cut| cut.reason);
            self.splice_to(candidate, reason, now);
            self.want_inputs();
            return;
        };
        if candidate == feed.input {
            self.switch_pending &= candidate != self.selected;
            return;
        }
        if self.switch_pending && candidate == self.selected {
            self.splice_to(candidate, Reason::Manual, now);
        } else if candidate == self.selected && self.may_revert(candidate, now) {
            self.splice_to(candidate, Reason::Revert, now);
        }
    }

    /// The input that should feed: the selected one, then by priority; healthy before merely usable.
    fn candidate(&self, now: Instant) -> Option<usize> {
        let order =
            || std::iter::once(self.selected).chain((0..self.inputs.len()).filter(|&input| input != self.selected));
        let in_grace = self.timeline.reached().is_none() && now < self.started + self.policy.stall_timeout;
        for input in order() {
            let it = &self.inputs[input];
            if it.healthy_since(now).is_some() {
                return Some(input);
            }
            // At the start the selected input gets its chance before a lower one takes over.
            if in_grace && !it.has_failed && it.kind != InputKind::Push {
                return None;
            }
        }
        order().find(|&input| self.inputs[input].is_usable(now))
    }

    fn may_revert(&mut self, candidate: usize, now: Instant) -> bool {
        let Some(feed) = &self.feed else { return false };
        let healthy = self.inputs[candidate].healthy_since(now);
        let rested = healthy.is_some_and(|since| now.saturating_duration_since(since) >= self.policy.revert_after)
            && now.saturating_duration_since(feed.since) >= self.policy.min_dwell;
        if self.policy.revert == Revert::Manual || !rested || self.inputs[candidate].kind == InputKind::Vod {
            return false;
        }
        let limit = self.policy.max_reverts;
        while self.reverts.front().is_some_and(|&at| now.saturating_duration_since(at) > limit.window) {
            self.reverts.pop_front();
        }
        if self.reverts.len() < limit.count as usize {
            self.reverts_exhausted = false;
            return true;
        }
        if !std::mem::replace(&mut self.reverts_exhausted, true) {
            self.record(Some(candidate), EventKind::State, Reason::Revert.name(), "stays: max_reverts reached");
        }
        false
    }

    /// Hot standby wants every input; cold wants the selected one, the one that feeds, and while none feeds the next
    /// in order that is not known to be dead.
    fn want_inputs(&mut self) {
        let hot = self.policy.standby == crate::Standby::Hot;
        let needed = self.active().is_none();
        for input in 0..self.inputs.len() {
            let wanted = hot
                || input == self.selected
                || self.active() == Some(input)
                || (needed && self.inputs[..input].iter().all(|before| before.has_failed))
                || self.inputs[input].kind == InputKind::Push;
            let it = &mut self.inputs[input];
            if wanted && !it.wanted {
                it.wanted = true;
                self.actions.push_back(Action::Start(input));
            } else if !wanted && it.wanted && self.timeline.reached().is_some() && self.feed.is_some() {
                it.wanted = false;
                it.has_failed = false;
                it.disconnected(Link::Idle);
                self.actions.push_back(Action::Stop(input));
            }
        }
    }

    // --- splicing

    /// Lets `input` feed, if its ring has a place to begin now; otherwise sets when to look again.
    fn splice_to(&mut self, input: usize, reason: Reason, now: Instant) {
        if self.inputs[input].link == Link::Ready {
            if !std::mem::replace(&mut self.inputs[input].playing, true) {
                self.actions.push_back(Action::Play(input));
            }
            return;
        }
        let Some(point) = self.splice_point(input, now) else { return };
        let before = self.timeline.reached();
        let from = self.active();
        if let Some(from) = from {
            self.retire(from, reason);
        }
        self.timeline.splice_ahead(point.source, point.at, point.ahead);
        let meter = before.map(|_| Meter::new(point.source, now));
        self.feed = Some(Feed { input, next: point.number, from: point.source, since: now, meter });
        self.switch_pending = false;
        self.cut = None;
        if reason == Reason::Revert {
            self.reverts.push_back(now);
        }
        if let Some(before) = before {
            self.splices += 1;
            let detail = format!("to {}", self.inputs[input].name);
            let event = Event::new(EventKind::Splice, Some(input), reason.name(), detail).with_dts(before, point.at);
            self.actions.push_back(Action::Record(event));
        } else {
            self.record(Some(input), EventKind::State, "start", "feeds");
        }
        self.relay_audio_held_before(point);
    }

    /// The input that fed before: a vod goes back to its first item.
    fn retire(&mut self, input: usize, reason: Reason) {
        if self.inputs[input].kind == InputKind::Vod {
            self.inputs[input].disconnected(Link::Restarting);
            self.actions.push_back(Action::Restart(input, reason));
        }
    }

    /// A vod that was told to play, and that something better has overtaken.
    fn retire_unneeded_vods(&mut self) {
        let Some(active) = self.active() else { return };
        for input in 0..self.inputs.len() {
            let awaited = input == active || (self.switch_pending && input == self.selected);
            if self.inputs[input].playing && !awaited {
                self.retire(input, Reason::Revert);
            }
        }
    }

    fn splice_point(&mut self, input: usize, now: Instant) -> Option<SplicePoint> {
        let it = &self.inputs[input];
        let newest = it.entry_point(now)?;
        let newest_source = it.ring.get(newest)?.dts;
        let Some(reached) = self.timeline.reached() else {
            return Some(SplicePoint { number: newest, source: newest_source, at: 0, ahead: 0 });
        };
        let settles_at = it.anchor.settles_at()?;
        if now < settles_at {
            self.look_again(settles_at);
            return None;
        }
        let offset = self.timeline.wall_offset(&it.anchor)?;
        let placed = newest_source + offset;
        // While the old input still feeds, both lie on the same wall clock and differ by jitter only.
        let tolerance = if self.feed.is_some() { LIVE_TOLERANCE } else { 0 };
        if placed > reached - tolerance {
            let at = placed.max(reached + 1);
            return Some(SplicePoint { number: newest, source: newest_source, at, ahead: at - placed });
        }
        if self.feed.is_some() {
            // Nothing is missing: the next keyframe will do.
            return None;
        }
        let patience = self.cut.map_or(now, |cut| cut.at.max(settles_at) + KEYFRAME_PATIENCE);
        let due = it.next_key().filter(|&due| due <= patience);
        if let Some(due) = due
            && now < due + KEYFRAME_LATENESS
        {
            self.look_again(due + KEYFRAME_LATENESS);
            return None;
        }
        let at = reached + USUAL_INTERVAL;
        let ahead = at - placed;
        // Media that is repeated moves the line ahead of the wall clock; what piles up becomes latency in every player.
        (ahead <= LARGEST_REPEAT).then_some(SplicePoint { number: newest, source: newest_source, at, ahead })
    }

    /// Audio that arrived before the keyframe but belongs behind it would be missing otherwise.
    fn relay_audio_held_before(&mut self, point: SplicePoint) {
        let Some(feed) = &mut self.feed else { return };
        let ring = &self.inputs[feed.input].ring;
        let Some(key) = ring.get(point.number).cloned() else { return };
        let first = point.number.saturating_sub(DEEPEST_INTERLEAVE).max(ring.start());
        let early: Vec<_> = (first..point.number)
            .filter_map(|number| ring.get(number))
            .filter(|held| held.track == Track::Audio && held.dts >= point.source && key.track == Track::Video)
            .cloned()
            .collect();
        feed.next = point.number + 1;
        self.emit(&key);
        for held in &early {
            self.emit(held);
        }
    }

    fn look_again(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
    }

    // --- relaying

    fn relay_what_is_due(&mut self, now: Instant) {
        while let Some(feed) = &mut self.feed {
            let ring = &self.inputs[feed.input].ring;
            feed.next = feed.next.max(ring.start());
            let Some(held) = ring.get(feed.next) else {
                // Caught up with the live edge: from here on tags go out as they come.
                feed.meter = None;
                return;
            };
            if let Some(due) = feed.meter.as_ref().and_then(|meter| meter.due(held.dts, now)) {
                self.look_again(due);
                return;
            }
            let held = held.clone();
            feed.next += 1;
            if held.track == Track::Audio && held.dts < feed.from {
                let input = feed.input;
                self.inputs[input].counters.unstarted_tags += 1;
            } else {
                self.emit(&held);
            }
        }
    }

    fn emit(&mut self, held: &Held) {
        let dts = self.timeline.place(held.track, held.dts, held.arrived);
        self.emit_headers(held, dts);
        self.actions.push_back(Action::Emit(Placed { class: held.class, dts, body: held.body.clone() }));
    }

    /// Headers go out when their bytes differ from those sent, stamped with the tag they precede: those of a track
    /// before that track's next tag, those of a track that had none at once.
    fn emit_headers(&mut self, held: &Held, dts: i64) {
        if Arc::ptr_eq(&held.headers, &self.settled) {
            return;
        }
        let new = &held.headers;
        let candidates = [
            (Class::Metadata, &new.metadata, true),
            (Class::VideoHeader, &new.video, held.track == Track::Video),
            (Class::AudioHeader, &new.audio, held.track == Track::Audio),
        ];
        let mut settled = true;
        for (class, body, belongs_here) in candidates {
            let (Some(body), Some(sent)) = (body, self.sent.slot(class)) else { continue };
            if sent.as_ref() == Some(body) {
                continue;
            }
            if belongs_here || sent.is_none() {
                *sent = Some(body.clone());
                self.actions.push_back(Action::Emit(Placed { class, dts, body: body.clone() }));
            } else {
                settled = false;
            }
        }
        if settled {
            self.settled = Arc::clone(new);
        }
    }

    // --- phases

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
            if self.phase == Phase::Running {
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
/// How far behind the feeding input a keyframe of another may seem, in ms.
const LIVE_TOLERANCE: i64 = 100;
/// How long a keyframe that is due is waited for after a cut.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(900);
/// How late a keyframe may be.
const KEYFRAME_LATENESS: Duration = Duration::from_millis(50);
/// How far a repeat may put the line ahead of the wall clock, in ms; beyond it the next keyframe is waited for.
const LARGEST_REPEAT: i64 = 2_500;
/// The step over a cut where the wall clock gives none, in ms: a frame of 25 per second.
const USUAL_INTERVAL: i64 = 40;
/// How many tags before a keyframe are searched for audio that belongs behind it.
const DEEPEST_INTERLEAVE: u64 = 64;

#[cfg(test)]
mod tests;
