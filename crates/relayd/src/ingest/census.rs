//! Who is connected to the ingest, and who has to go when it is full.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Closed;
use crate::{address_block::AddressBlock, config::LimitsConfig, throttle::Throttle};

/// Counts the connections to the ingest, makes room for new ones, and keeps the books on why they ended.
///
/// **A newcomer is let in to try, and somebody else has to go.** When too many wait to be let in, the oldest of them is
/// closed; it is taken from the address that has the most of them. If the newcomer were refused instead, a crowd that
/// says nothing would keep every honest publisher out for as long as it comes back each time a deadline passes: that
/// costs it a few connections per second. A publisher needs a few round trips from its connection to its publish
/// command; to push it out within that time, a crowd has to come up with hundreds of *addresses*, again and again,
/// since a crowd of one address pushes out only itself. Those who have been let in are never pushed out.
#[derive(Debug)]
pub struct Census {
    connections: usize,
    per_address: usize,
    unauthenticated: usize,
    state: Mutex<State>,
    total: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    throttle: Mutex<Throttle>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    connections: usize,
    strangers: usize,
    sources: HashMap<AddressBlock, Crowd>,
    /// So many addresses are a reason to look for those that can be forgotten.
    tidy_at: usize,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Crowd {
    connections: usize,
    /// Those not let in yet, oldest first.
    strangers: BTreeMap<u64, Stranger>,
    /// Nobody from here has a key looked at before.
    barred_until: Option<Instant>,
}

#[derive(Debug)]
struct Stranger {
    peer: SocketAddr,
    pushed_out: CancellationToken,
    /// Its end has been counted already.
    is_counted: bool,
}

/// A connection's place in the census; given back when it is dropped.
#[derive(Debug)]
pub struct Guest {
    census: Arc<Census>,
    id: u64,
    peer: SocketAddr,
    is_let_in: bool,
    is_counted: bool,
}

impl Census {
    /// Nobody is connected yet.
    pub fn new(limits: &LimitsConfig) -> Self {
        Self {
            connections: limits.ingest_connections,
            per_address: limits.ingest_per_address,
            unauthenticated: limits.ingest_unauthenticated,
            state: Mutex::default(),
            total: AtomicU64::new(0),
            closed: [const { AtomicU64::new(0) }; Closed::ALL.len()],
            throttle: Mutex::default(),
        }
    }

    /// Takes a connection in, and the signal that it has to go. When there is no room even so, it is to be closed: that
    /// has been counted and logged.
    pub fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<(Guest, CancellationToken)> {
        self.total.fetch_add(1, Relaxed);
        let source = AddressBlock::of(peer.ip());
        let mut state = self.lock();
        if let Err(cause) = self.make_room(&mut state, source) {
            drop(state);
            self.count(cause);
            self.tell(peer, cause, &"there is no room");
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.connections += 1;
        state.strangers += 1;
        let pushed_out = CancellationToken::new();
        let crowd = state.sources.entry(source).or_default();
        crowd.connections += 1;
        crowd.strangers.insert(id, Stranger { peer, pushed_out: pushed_out.clone(), is_counted: false });
        let census = Arc::clone(self);
        Some((Guest { census, id, peer, is_let_in: false, is_counted: false }, pushed_out))
    }

    /// Connections since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Connections that wait to be let in, and those that were.
    pub fn present(&self) -> (usize, usize) {
        let state = self.lock();
        (state.strangers, state.connections - state.strangers)
    }

    /// How many connections ended, by cause.
    pub fn closed(&self) -> impl Iterator<Item = (Closed, u64)> {
        Closed::ALL.into_iter().map(|cause| (cause, self.closed[cause as usize].load(Relaxed)))
    }

    fn make_room(&self, state: &mut State, source: AddressBlock) -> Result<(), Closed> {
        let of_source = state.sources.get(&source);
        if of_source.is_some_and(|crowd| crowd.connections >= self.per_address) {
            return self.push_out(state, Some(source), Closed::PerAddress);
        }
        if state.strangers >= self.unauthenticated {
            return self.push_out(state, state.largest_crowd(), Closed::Unauthenticated);
        }
        if state.connections >= self.connections {
            return self.push_out(state, state.largest_crowd(), Closed::Connections);
        }
        Ok(())
    }

    /// The oldest stranger of an address goes. An error when there is none.
    fn push_out(&self, state: &mut State, source: Option<AddressBlock>, cause: Closed) -> Result<(), Closed> {
        let source = source.ok_or(cause)?;
        let oldest = state.sources.get(&source).and_then(|crowd| crowd.strangers.keys().next().copied());
        let stranger = state.leave(source, oldest.ok_or(cause)?).ok_or(cause)?;
        stranger.pushed_out.cancel();
        if !stranger.is_counted {
            self.count(cause);
            self.tell(stranger.peer, cause, &"pushed out by a newer connection");
        }
        Ok(())
    }

    fn count(&self, cause: Closed) {
        self.closed[cause as usize].fetch_add(1, Relaxed);
    }

    /// At most one line per second and cause.
    fn tell(&self, peer: SocketAddr, cause: Closed, detail: &dyn Display) {
        let reason = cause.name();
        if cause.is_ordinary() {
            debug!(%peer, reason, %detail, "closed");
            return;
        }
        let admitted = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.admit(("closed", reason), Instant::now())
        };
        if let Some(suppressed) = admitted {
            warn!(%peer, reason, %detail, suppressed, "closed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Where it comes from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// It has shown its key: nobody pushes it out any more.
    pub fn let_in(&mut self) {
        let mut state = self.census.lock();
        let crowd = state.sources.entry(AddressBlock::of(self.peer.ip())).or_default();
        if crowd.strangers.remove(&self.id).is_some() {
            state.strangers -= 1;
        } else {
            // Pushed out this very moment, which has been told: it comes in again.
            crowd.connections += 1;
            state.connections += 1;
            self.census.total.fetch_add(1, Relaxed);
        }
        self.is_let_in = true;
    }

    /// When its key is looked at: later than now while its address is barred.
    pub fn turn(&self) -> Option<Instant> {
        self.census.lock().sources.get(&AddressBlock::of(self.peer.ip()))?.barred_until
    }

    /// Its key was not accepted. Its address is barred for a while: no key from there is looked at before, and then all
    /// that wait are looked at together. One after the other would be harder on those who guess, and would let them
    /// keep an honest publisher of the same address out, behind a router or a proxy, for as long as they like.
    pub fn failed(&self, now: Instant, delay: Duration) -> Instant {
        let until = now + delay;
        let mut state = self.census.lock();
        let crowd = state.sources.entry(AddressBlock::of(self.peer.ip())).or_default();
        crowd.barred_until = crowd.barred_until.max(Some(until));
        until
    }

    /// Says why it is closed; counted once.
    pub fn closed(&mut self, cause: Closed, detail: &dyn Display) {
        if !std::mem::replace(&mut self.is_counted, true) {
            {
                let mut state = self.census.lock();
                let crowd = state.sources.get_mut(&AddressBlock::of(self.peer.ip()));
                match crowd.and_then(|crowd| crowd.strangers.get_mut(&self.id)) {
                    Some(stranger) => stranger.is_counted = true,
                    None if self.is_let_in => {}
                    // It was pushed out, which has been counted.
                    None => return,
                }
            }
            self.census.count(cause);
            self.census.tell(self.peer, cause, detail);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.closed(Closed::Stopped, &"nobody wants it any more");
        let source = AddressBlock::of(self.peer.ip());
        let mut state = self.census.lock();
        if self.is_let_in {
            state.connections -= 1;
            state.let_go(source);
        } else {
            let _ = state.leave(source, self.id);
        }
    }
}

impl State {
    /// The address with the most strangers, among several of them that of the oldest one.
    fn largest_crowd(&self) -> Option<AddressBlock> {
        let crowds = self.sources.iter().filter_map(|(source, crowd)| {
            let (oldest, _) = crowd.strangers.first_key_value()?;
            Some((crowd.strangers.len(), std::cmp::Reverse(*oldest), *source))
        });
        crowds.max_by_key(|&(size, oldest, _)| (size, oldest)).map(|(_, _, source)| source)
    }

    fn leave(&mut self, source: AddressBlock, id: u64) -> Option<Stranger> {
        let stranger = self.sources.get_mut(&source)?.strangers.remove(&id)?;
        self.connections -= 1;
        self.strangers -= 1;
        self.let_go(source);
        Some(stranger)
    }

    /// An address has one connection less. It is forgotten with its last one, or, when it is barred, some time later.
    fn let_go(&mut self, source: AddressBlock) {
        let now = Instant::now();
        let is_barred = |crowd: &Crowd| crowd.barred_until.is_some_and(|until| until > now);
        if let Some(crowd) = self.sources.get_mut(&source) {
            crowd.connections -= 1;
            if crowd.connections == 0 && !is_barred(crowd) {
                self.sources.remove(&source);
            }
        }
        if self.sources.len() > self.tidy_at {
            self.sources.retain(|_, crowd| crowd.connections > 0 || is_barred(crowd));
            self.tidy_at = FEW_SOURCES.max(2 * self.sources.len());
        }
    }
}

/// So many addresses are not worth tidying.
const FEW_SOURCES: usize = 256;

#[cfg(test)]
mod tests;
