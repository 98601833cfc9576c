//! Another list of inputs, other policies: what has not changed goes on.

use std::time::Instant;

use super::Failover;
use crate::{
    fault::Reason,
    input::{Input, InputKind},
    policy::{FailoverPolicy, LogPolicy, TimelinePolicy},
};

/// An input of a new list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: InputKind,
    /// Which input of the list before it is.
    pub was: Was,
}

/// What an input of a new list was before, by its number then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// Nothing.
    New,
    /// The very same: its connection goes on, with all that is known of it.
    Same(usize),
    /// Another source under the same name: its numbers go on, its connection has ended.
    Changed(usize),
}

impl Failover {
    /// Other limits hold from now on. What they change is decided at the next tick.
    pub fn set_policies(&mut self, policy: FailoverPolicy, timeline: &TimelinePolicy, ring: LogPolicy) {
        for input in &mut self.inputs {
            input.set_policies(timeline.clone(), ring);
        }
        self.relayed.set_reach(ring.reach_ms());
        self.last_bodies.set_max_bytes(ring.max_proof());
        // Rings and log have forgotten them.
        self.sent.forget_larger_than(ring.max_header());
        (self.policy, self.timeline_policy, self.ring_policy) = (policy, timeline.clone(), ring);
    }

    /// Takes a new list of inputs, in order of priority. Actions and reports count by it from here on; those before
    /// have all been taken. The tasks of inputs that are not [`Was::Same`] have ended.
    ///
    /// A feed that is not kept is cut off, and another input goes on. An operator's choice of another than the first
    /// stays, as long as that input is listed; otherwise the first is selected.
    pub fn rearrange(&mut self, list: Vec<Listed>, now: Instant) {
        let kept = |old: usize| list.iter().position(|new| new.was == Was::Same(old));
        if self.active().is_some_and(|active| kept(active).is_none()) {
            self.cut_off(Reason::Manual, now);
        }
        if let Some(feed) = &mut self.feed {
            feed.input = kept(feed.input).unwrap_or(feed.input);
        }
        let chosen = self.selected;
        let listed = |new: &Listed| new.was == Was::Same(chosen) || new.was == Was::Changed(chosen);
        let choice = list.iter().position(listed).filter(|_| chosen != 0);
        self.selected = choice.unwrap_or(0);
        self.switch_pending &= choice.is_some() && self.feed.is_some();

        let mut before: Vec<_> = std::mem::take(&mut self.inputs).into_iter().map(Some).collect();
        let mut take = |old: usize| before.get_mut(old).and_then(Option::take);
        for Listed { name, kind, was } in list {
            let new = || Input::new(name, kind, self.timeline_policy.clone(), self.ring_policy, self.started);
            self.inputs.push(match was {
                Was::New => new(),
                Was::Same(old) => take(old).unwrap_or_else(new),
                Was::Changed(old) => {
                    let mut input = new();
                    if let Some(before) = take(old) {
                        input.count_on(&before);
                    }
                    input
                }
            });
        }
        self.want_inputs();
        self.tick(now);
    }
}
