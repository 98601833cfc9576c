//! What happens, for those who look: a ledger per relay and one stream of events for all.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use relay::EventKind;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::status::timestamp;

/// One event as it is told to the outside.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Goes up by one per event of the process.
    pub seq: u64,
    /// When, as RFC 3339 in UTC.
    pub at: String,
    /// The relay.
    pub relay: String,
    /// The input concerned.
    pub input: Option<String>,
    /// The output concerned.
    pub output: Option<String>,
    /// `state fault splice skip hold`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The machine word for the cause.
    pub reason: &'static str,
    /// The DTS before, in ms, where time is concerned.
    pub dts_before: Option<i64>,
    /// The DTS after.
    pub dts_after: Option<i64>,
    /// For people.
    pub detail: String,
}

/// What is known when an event is recorded.
#[derive(Clone, Debug, Default)]
pub struct Happened<'a> {
    /// The input concerned.
    pub input: Option<&'a str>,
    /// The output concerned.
    pub output: Option<&'a str>,
    /// DTS before and after, in ms.
    pub dts: Option<(i64, i64)>,
    /// For people.
    pub detail: &'a str,
}

/// The process's stream of events. A listener who is too slow misses the oldest.
#[derive(Clone, Debug)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<Told>>,
    seq: Arc<AtomicU64>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(LISTENER_BACKLOG), seq: Arc::default() }
    }
}

impl EventBus {
    /// The events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Told>> {
        self.sender.subscribe()
    }
}

/// One relay's ledger: the last [`LEDGER`] events, also sent to the bus.
#[derive(Clone, Debug)]
pub struct Ledger {
    relay: String,
    bus: EventBus,
    events: Arc<Mutex<VecDeque<Arc<Told>>>>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(relay: String, bus: EventBus) -> Self {
        Self { relay, bus, events: Arc::default() }
    }

    /// Puts an event on record.
    pub fn record(&self, kind: EventKind, reason: &'static str, happened: &Happened<'_>) {
        let (dts_before, dts_after) = happened.dts.unzip();
        let mut events = self.lock();
        let told = Arc::new(Told {
            seq: self.bus.seq.fetch_add(1, Relaxed) + 1,
            at: timestamp(),
            relay: self.relay.clone(),
            input: happened.input.map(str::to_owned),
            output: happened.output.map(str::to_owned),
            kind: kind.name(),
            reason,
            dts_before,
            dts_after,
            detail: happened.detail.to_owned(),
        });
        events.push_back(Arc::clone(&told));
        if events.len() > LEDGER {
            events.pop_front();
        }
        // Nobody may be listening.
        let _ = self.bus.sender.send(told);
    }

    /// The events on record, oldest first.
    pub fn events(&self) -> Vec<Arc<Told>> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Told>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events kept per relay.
pub const LEDGER: usize = 256;
/// Events that a slow listener may be behind.
const LISTENER_BACKLOG: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_keeps_the_newest_and_the_bus_tells_every_relays_events() {
        let bus = EventBus::default();
        let mut listener = bus.subscribe();
        let (one, two) = (Ledger::new("one".into(), bus.clone()), Ledger::new("two".into(), bus.clone()));
        for _ in 0..LEDGER + 1 {
            one.record(EventKind::Fault, "jump", &Happened { dts: Some((1, 2)), ..Happened::default() });
        }
        two.record(EventKind::Splice, "eof", &Happened { input: Some("backup"), ..Happened::default() });
        assert_eq!(one.events().len(), LEDGER);
        assert_eq!(one.events()[0].seq, 2);
        assert_eq!(two.events()[0].seq, LEDGER as u64 + 2);
        let first = listener.try_recv().unwrap();
        assert_eq!((first.relay.as_str(), first.dts_before, first.dts_after), ("one", Some(1), Some(2)));
    }
}
