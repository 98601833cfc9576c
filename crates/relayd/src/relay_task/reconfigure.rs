//! Another configuration for a relay that runs: what has not changed in it notices nothing.

use std::time::{Duration, Instant};

use relay::{Listed, Was};
use tracing::info;

use super::{
    RelayTask,
    children::{InputSlot, OutputSlot},
};
use crate::config::RelayConfig;

impl RelayTask {
    /// Takes another configuration of the same name. Inputs are known by their names, outputs by their ids.
    pub(super) fn reconfigure(&mut self, config: RelayConfig) {
        let now = Instant::now();
        let before = std::mem::replace(&mut self.config, config);
        // The lists first: whatever happens then, they are those of the configuration.
        let inputs = self.take_inputs(&before);
        self.take_outputs(&before);
        for output in 0..self.outputs.len() {
            if !self.outputs[output].has_task() {
                self.start_output(output, Duration::ZERO);
            }
        }
        self.fanout.log().set_policy(self.config.log);
        let has_other_inputs = self.config.inputs != before.inputs;
        let has_ended = self.running.as_ref().map_or(self.finished.is_some(), |running| running.finish);
        let is_to_start = self.config.autostart && !before.autostart;
        if is_to_start || (has_other_inputs && has_ended) {
            self.wanted = true;
        }
        // A relay that rests makes its decisions anew from the configuration.
        if let Some(running) = self.running.as_mut().filter(|_| !self.rest.is_on()) {
            let config = &self.config;
            running.failover.set_policies(config.failover.clone(), &config.timeline, config.log);
            if has_other_inputs {
                running.failover.rearrange(inputs, now);
            }
        }
        self.act(now);
        info!(inputs = self.inputs.len(), outputs = self.outputs.len(), "reconfigured");
    }

    /// Unchanged inputs keep their tasks wherever they stand now; the tasks of others end.
    fn take_inputs(&mut self, before: &RelayConfig) -> Vec<Listed> {
        let mut slots: Vec<_> = std::mem::take(&mut self.inputs).into_iter().map(Some).collect();
        let mut list = Vec::new();
        for config in &self.config.inputs {
            let old = before.inputs.iter().position(|old| old.name == config.name);
            let mut slot: InputSlot = old.and_then(|old| slots.get_mut(old)).and_then(Option::take).unwrap_or_default();
            let was = match old {
                None => Was::New,
                Some(old) if before.inputs[old] == *config => Was::Same(old),
                Some(old) => Was::Changed(old),
            };
            if let Was::Changed(_) = was {
                slot.let_go();
            }
            self.inputs.push(slot);
            list.push(Listed { name: config.name.clone(), kind: config.source.kind(), was });
        }
        list
    }

    /// Sessions that are no longer asked for end; the next of the same output begins when its last one has ended.
    fn take_outputs(&mut self, before: &RelayConfig) {
        let mut slots: Vec<_> = std::mem::take(&mut self.outputs).into_iter().map(Some).collect();
        for config in &self.config.outputs {
            let old = before.outputs.iter().position(|old| old.id == config.id);
            let slot = old.and_then(|old| slots.get_mut(old)).and_then(Option::take);
            let mut slot = slot.unwrap_or_else(|| OutputSlot::new(config, &self.ledger));
            slot.end_unless(config);
            self.outputs.push(slot);
        }
        slots.into_iter().flatten().for_each(|gone| gone.end());
    }
}
