//! The threads that carry media.

use std::{
    io,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Threads of one runtime each, as many as the machine has cores.
///
/// A relay lives on one lane: its inputs, its decisions and its outputs run there one after the other, so that a tag
/// passes from socket to sockets without waking another thread. Only a relay with more outputs than a lane takes
/// spreads over several. (On a runtime whose threads share their tasks, every frame wakes them all, and they contend
/// for the log: a third of the cost of an output.) What is not media runs on the main runtime.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lanes: Vec<Lane>,
    stop: CancellationToken,
}

/// One thread and its runtime.
#[derive(Clone, Debug)]
pub struct Lane {
    index: usize,
    handle: Handle,
    load: Arc<Load>,
}

#[derive(Debug, Default)]
struct Load {
    relays: AtomicUsize,
    outputs: AtomicUsize,
}

impl Lanes {
    /// One lane per core.
    pub fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let lanes = (0..count).map(|index| Lane::start(index, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner { lanes, stop })))
    }

    /// A place for a relay: the lane with the fewest, then with the fewest outputs.
    pub fn for_relay(&self) -> Seat {
        let load = |lane: &&Lane| (lane.load.relays.load(Relaxed), lane.load.outputs.load(Relaxed));
        Seat::take(self.least(load), |load| &load.relays)
    }

    /// A place for an output of a relay at `home`: there, unless that lane is full and another one is emptier.
    pub fn for_output(&self, home: &Lane) -> Seat {
        let outputs = |lane: &&Lane| lane.load.outputs.load(Relaxed);
        let lane = if outputs(&home) < OUTPUTS_PER_LANE { home } else { self.least(outputs) };
        Seat::take(lane, |load| &load.outputs)
    }

    fn least<K: Ord>(&self, key: impl Fn(&&Lane) -> K) -> &Lane {
        self.0.lanes.iter().min_by_key(key).expect("there is a lane for every core, and at least one")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lane {
    fn start(index: usize, stop: CancellationToken) -> io::Result<Self> {
        let (tell, told) = mpsc::sync_channel(1);
        // The runtime is made where it ends: one that is dropped inside another panics.
        thread::Builder::new().name(format!("lane-{index}")).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return tell.send(Err(error)).unwrap_or_default(),
            };
            if tell.send(Ok(runtime.handle().clone())).is_ok() {
                runtime.block_on(stop.cancelled());
            }
        })?;
        let handle = told.recv().map_err(|_| io::Error::other("the lane's thread has ended"))??;
        Ok(Self { index, handle, load: Arc::default() })
    }

    /// Its number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What spawns tasks there.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// A relay's or an output's place on a lane; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    lane: Lane,
    count: fn(&Load) -> &AtomicUsize,
}

impl Seat {
    fn take(lane: &Lane, count: fn(&Load) -> &AtomicUsize) -> Self {
        count(&lane.load).fetch_add(1, Relaxed);
        Self { lane: lane.clone(), count }
    }

    /// The lane.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        (self.count)(&self.lane.load).fetch_sub(1, Relaxed);
    }
}

/// Outputs that a relay's own lane takes before others help: at some 10 µs per write they are served in 5 ms.
const OUTPUTS_PER_LANE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_spread_and_outputs_stay_at_home_until_it_is_full() {
        let lanes = Lanes::start().expect("threads");
        let count = lanes.0.lanes.len();
        let relays: Vec<_> = (0..count).map(|_| lanes.for_relay()).collect();
        let mut homes: Vec<_> = relays.iter().map(|seat| seat.lane().index()).collect();
        homes.sort_unstable();
        assert_eq!(homes, (0..count).collect::<Vec<_>>());

        let home = relays[count - 1].lane();
        let mut outputs: Vec<_> = (0..OUTPUTS_PER_LANE).map(|_| lanes.for_output(home)).collect();
        assert!(outputs.iter().all(|seat| seat.lane().index() == home.index()));
        let another = lanes.for_output(home);
        assert_eq!(another.lane().index() == home.index(), count == 1);
        outputs.pop();
        assert_eq!(lanes.for_output(home).lane().index(), home.index());
    }

    #[test]
    fn tasks_end_with_the_lanes() {
        let lanes = Lanes::start().expect("threads");
        let (alive, ended) = mpsc::channel::<()>();
        lanes.for_relay().lane().handle().spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(lanes);
        assert!(ended.recv().is_err());
    }
}
