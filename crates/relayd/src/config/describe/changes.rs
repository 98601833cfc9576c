//! What a reload changes.

use super::table::{Fact, Table, TableName, list};
use crate::config::Config;

/// What differs between two configurations, one line each, secrets masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What can be changed while running.
    pub live: Vec<String>,
    /// What cannot.
    pub needs_restart: Vec<String>,
}

impl Config {
    /// What differs in `new`. A change that the mask hides is named without its values.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        let (old_tables, new_tables) = (self.tables(), new.tables());
        let find = |tables: &[Table], name: &TableName| tables.iter().position(|table| table.name == *name);
        // A relay that comes or goes is told as a whole.
        let is_told = |among: &[Table], name: &TableName| {
            name.part.is_none() || find(among, &TableName { part: None, ..name.clone() }).is_some()
        };
        for table in &old_tables {
            match find(&new_tables, &table.name) {
                Some(other) => table.changes(&new_tables[other], &mut changes),
                None if is_told(&new_tables, &table.name) => changes.live.push(format!("{} removed", table.name)),
                None => {}
            }
        }
        for Table { name, .. } in &new_tables {
            if find(&old_tables, name).is_none() && is_told(&old_tables, name) {
                changes.live.push(format!("{name} added"));
            }
        }
        for relay in &new.relays {
            let Some(old) = self.relays.iter().find(|old| old.name == relay.name) else { continue };
            let inputs = order(&old.inputs, &relay.inputs, |input| &input.name);
            let outputs = order(&old.outputs, &relay.outputs, |output| &output.id);
            for (what, order) in [("inputs", inputs), ("outputs", outputs)] {
                let line = order.map(|order| format!("relay {}: {what} in the order {order}", relay.name));
                changes.live.extend(line);
            }
        }
        changes
    }
}

impl Table {
    fn changes(&self, new: &Self, changes: &mut Changes) {
        for Fact { key, shown, print } in &new.facts {
            if LISTS.contains(key) {
                continue;
            }
            let line = match self.facts.iter().find(|fact| fact.key == *key) {
                Some(old) if old.shown != *shown => format!("{}: {key}: {} -> {shown}", self.name, old.shown),
                Some(old) if old.print != *print => format!("{}: {key}: changed", self.name),
                Some(_) => continue,
                None => format!("{}: {key}: {shown}", self.name),
            };
            let stops = self.name.part.is_none() && (*key, shown.as_str()) == ("autostart", "false");
            let line = if stops { format!("{line} (what runs goes on)") } else { line };
            let is_this =
                |(whole, fixed): &(&str, &str)| self.name.whole == *whole && (fixed == key || fixed.is_empty());
            let needs_restart = self.name.part.is_none() && NEED_RESTART.iter().any(is_this);
            if needs_restart { &mut changes.needs_restart } else { &mut changes.live }.push(line);
        }
    }
}

/// The new order of a list, when those that were in it before stand otherwise.
fn order<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &String) -> Option<String> {
    let common = |these: &[T], those: &[T]| -> Vec<String> {
        let is_common = |it: &&T| those.iter().any(|other| name(other) == name(it));
        these.iter().filter(is_common).map(|it| name(it).clone()).collect()
    };
    (common(old, new) != common(new, old)).then(|| list(new.iter().map(&name)))
}

/// Facts that `--check` shows and that other tables tell of.
const LISTS: [&str; 2] = ["inputs", "outputs"];
/// What is set up once, when the process starts: a key, or (`""`) a whole table.
const NEED_RESTART: [(&str, &str); 2] = [("log", "format"), ("limits", "")];
