//! Going on where a log ends.

use std::time::Instant;

use flv::Class;
use rtmp::wire;

use super::{Cut, Failover, Phase};
use crate::{
    alignment::{Mark, Print},
    fault::Reason,
    log::{Entry, Log},
    repair::Track,
    timeline::Timeline,
};

impl Failover {
    /// Lets these decisions, which are new, go on behind what `log` holds, in place of `before`: the programme and its
    /// sessions stay one. With a `reason`, the next tag relayed is a splice for it; without, the relay starts again.
    ///
    /// Of `before` only numbers, the operator's choice and the phase are taken over: what else it holds may be what led
    /// to a panic. An input with the same tags is known by those of the log, so that it can go on exactly.
    pub fn resume(&mut self, before: &Self, log: &Log, reason: Option<Reason>, now: Instant) {
        for input in &mut self.inputs {
            if let Some(before) = before.inputs.iter().find(|before| before.name == input.name) {
                input.count_on(before);
            }
        }
        self.splices = before.splices.clone();
        self.reverts = before.reverts.clone();
        let chosen = before.inputs.get(before.selected).filter(|_| before.selected != 0);
        if let Some(chosen) = chosen {
            self.selected = self.inputs.iter().position(|input| input.name == chosen.name).unwrap_or(0);
            self.want_inputs();
        }
        let Some(reached) = log.last(wire::Track::Video).max(log.last(wire::Track::Audio)) else { return };

        let held = log.entries().filter_map(|entry| Some((track_of(entry.class)?, entry.dts, entry.arrived)));
        // What the log no longer holds has been sent all the same.
        let last = [(Track::Audio, wire::Track::Audio), (Track::Video, wire::Track::Video)]
            .into_iter()
            .filter_map(|(track, of_log)| Some((track, log.last(of_log)?, now)));
        self.timeline = Timeline::reaching(self.started, held.chain(last));
        debug_assert_eq!(self.timeline.reached(), Some(reached));
        self.sent = log.headers();
        self.recall(log);
        if let Some(reason) = reason {
            // A hold that had begun goes on; one that begins now counts from here.
            let at = before.cut.filter(|_| before.feed.is_none()).map_or(now, |cut| cut.at);
            self.cut = Some(Cut { reason, at, is_return: false });
            self.phase = if before.phase == Phase::Finished { Phase::Starting } else { before.phase };
        }
    }

    /// Remembers the newest tags of the log as relayed.
    fn recall(&mut self, log: &Log) {
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            bytes += entry.wire.bytes_len();
            bytes <= RECALLED
        };
        let newest: Vec<_> = log.entries().rev().take_while(within).collect();
        for entry in newest.into_iter().rev() {
            let Some(track) = track_of(entry.class) else { continue };
            let body = entry.body();
            self.relayed.push(track, Mark { print: Print::of(track, &body), dts: entry.dts, raw: None, number: 0 });
            self.last_bodies.push(track, body);
        }
    }
}

/// The track of a tag that carries time.
fn track_of(class: Class) -> Option<Track> {
    match class {
        Class::Key | Class::Inter | Class::Disposable | Class::VideoOther => Some(Track::Video),
        Class::Audio => Some(Track::Audio),
        _ => None,
    }
}

/// Bytes of the log that are looked at again: the last seconds of any stream.
const RECALLED: usize = 16 << 20;
