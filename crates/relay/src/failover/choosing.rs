//! Which input should feed: trouble, precedence, returns.

use std::time::{Duration, Instant};

use super::{Action, Cut, Failover};
use crate::{
    event::EventKind,
    fault::Reason,
    health::PACE_WINDOW,
    input::{InputKind, Link},
    policy::{Revert, Standby},
};

impl Failover {
    pub(super) fn find_trouble(&mut self, now: Instant) {
        self.inputs.iter_mut().for_each(|input| input.bitrate.measure(now));
        let troubles: Vec<_> = self.inputs.iter_mut().map(|input| input.trouble(&self.policy, now)).collect();
        for (input, trouble) in troubles.into_iter().enumerate() {
            let Some(trouble) = trouble else {
                self.inputs[input].told = None;
                continue;
            };
            if trouble.lost || self.has_better_than(input, trouble.reason, now) {
                self.actions.push_back(Action::Restart(input, trouble.reason));
                self.lose(input, trouble.reason, Link::Restarting, now);
            } else if self.inputs[input].told != Some(trouble.reason) {
                self.inputs[input].told = Some(trouble.reason);
                self.record(Some(input), EventKind::State, trouble.reason.name(), "goes on: no other input is healthy");
            }
        }
    }

    /// Another input is healthy, and has been for long enough to have shown the same trouble: two connections to one
    /// failing source would otherwise relieve each other for ever.
    fn has_better_than(&self, input: usize, reason: Reason, now: Instant) -> bool {
        let shows_after = match reason {
            Reason::NoVideo => self.policy.no_video,
            Reason::NoAudio => self.policy.no_audio,
            Reason::KeyframeOverdue => self.policy.keyframe_overdue,
            Reason::Slow => PACE_WINDOW,
            _ => Duration::ZERO,
        };
        (0..self.inputs.len()).filter(|&other| other != input).any(|other| {
            let healthy = self.inputs[other].healthy_since(now);
            healthy.is_some_and(|since| now.saturating_duration_since(since) >= shows_after)
        })
    }

    /// The input's connection is gone. What it has delivered is still relayed.
    pub(super) fn lose(&mut self, input: usize, reason: Reason, link: Link, now: Instant) {
        let was_up = matches!(self.inputs[input].link, Link::Up | Link::Restarting);
        if self.active() == Some(input) {
            self.cut_off(reason, now);
        }
        let it = &mut self.inputs[input];
        let told = it.link == Link::Restarting;
        it.disconnected(link);
        it.has_failed = true;
        if !told && (was_up || link == Link::Ended) {
            self.record(Some(input), EventKind::State, reason.name(), "lost");
        }
    }

    /// The feed ends, behind what it has delivered.
    pub(super) fn cut_off(&mut self, reason: Reason, now: Instant) {
        if let Some(feed) = &mut self.feed {
            feed.meter = None;
        }
        self.relay_what_is_due(now);
        self.feed = None;
        self.cut = Some(Cut { reason, at: now, is_return: false });
    }

    pub(super) fn choose(&mut self, now: Instant) {
        self.retire_unneeded_vods();
        if self.feed.is_none() && self.go_on_exactly(now) {
            return;
        }
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
            self.want_inputs();
            return;
        }
        if self.switch_pending && candidate == self.selected {
            self.change_over(candidate, Reason::Manual, now);
        } else if self.may_revert(candidate, now) {
            self.change_over(candidate, Reason::Revert, now);
        }
    }

    /// The inputs by precedence: the selected one, then as configured. There may be none, and then none is selected.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (selected, all) = (self.selected, 0..self.inputs.len());
        all.clone().filter(move |&input| input == selected).chain(all.filter(move |&input| input != selected))
    }

    /// The input that should feed: the selected one, then by priority; healthy before merely usable.
    pub(super) fn candidate(&self, now: Instant) -> Option<usize> {
        let in_grace = self.timeline.reached().is_none() && now < self.started + self.policy.stall_timeout;
        for input in self.order() {
            let it = &self.inputs[input];
            if it.healthy_since(now).is_some() {
                return Some(input);
            }
            // At the start the selected input gets its chance before a lower one takes over.
            if in_grace && !it.has_failed && it.kind != InputKind::Push {
                return None;
            }
        }
        self.order().find(|&input| self.inputs[input].is_usable(now))
    }

    fn may_revert(&mut self, candidate: usize, now: Instant) -> bool {
        let Some(feed) = &self.feed else { return false };
        let healthy = self.inputs[candidate].healthy_since(now);
        let rested = healthy.is_some_and(|since| now.saturating_duration_since(since) >= self.policy.revert_after)
            && now.saturating_duration_since(feed.since) >= self.policy.min_dwell;
        if self.policy.revert == Revert::Manual || !rested {
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
    pub(super) fn want_inputs(&mut self) {
        let hot = self.policy.standby == Standby::Hot;
        // An input in trouble that still feeds needs a better one as well.
        let needed = self.active().is_none_or(|active| self.inputs[active].told.is_some());
        for input in 0..self.inputs.len() {
            let wanted = hot
                || input == self.selected
                || self.active() == Some(input)
                || (needed && self.inputs[..input].iter().all(|before| before.has_failed || before.told.is_some()))
                || self.inputs[input].kind == InputKind::Push;
            let it = &mut self.inputs[input];
            if wanted && !it.wanted {
                it.wanted = true;
                self.actions.push_back(Action::Start(input));
            } else if !wanted && it.wanted && self.feed.is_some() {
                it.wanted = false;
                it.has_failed = false;
                it.disconnected(Link::Idle);
                self.actions.push_back(Action::Stop(input));
            }
        }
    }
}
