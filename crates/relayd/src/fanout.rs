//! One relay's log, shared by the task that writes it and the tasks that read it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use relay::{Log, LogPolicy, Placed};
use tokio::sync::watch;

use crate::lanes::Lane;

/// The log and the signal that it has grown.
///
/// Writing never waits for a reader: the lock is held for pushes and for the short, bounded reads of a cursor.
#[derive(Debug)]
pub struct Fanout {
    log: Mutex<Log>,
    head: watch::Sender<Head>,
    /// The head as each lane's readers see it, while there are any.
    lanes: Arc<Mutex<HashMap<usize, watch::Sender<Head>>>>,
}

/// What readers wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of the next entry at the last flush.
    pub end: u64,
    /// How many programmes have ended.
    pub programme: u64,
    /// The relay is gone: nothing will ever come again.
    pub over: bool,
}

impl Fanout {
    /// A log without entries.
    pub fn new(policy: LogPolicy) -> Self {
        Self { log: Mutex::new(Log::new(policy)), head: watch::Sender::new(Head::default()), lanes: Arc::default() }
    }

    /// Appends tags. Returns when a flush is due at the latest: at once, and done already, when a video frame or a
    /// header is among them; audio alone rides along with the next video for [`AUDIO_RIDES`].
    pub fn push(&self, tags: &[Placed], now: Instant) -> Option<Instant> {
        let mut log = self.log();
        for placed in tags {
            log.push(placed, now);
        }
        let gop_does_not_fit = log.take_gop_warning();
        drop(log);
        if gop_does_not_fit {
            tracing::warn!(
                "a GOP does not fit into the log: outputs that join wait for the next keyframe; raise log.max_bytes or log.max_time"
            );
        }
        if tags.iter().any(|placed| placed.class != flv::Class::Audio) {
            self.flush();
            return None;
        }
        (!tags.is_empty()).then(|| now + AUDIO_RIDES)
    }

    /// Wakes every reader that waits for frames.
    pub fn flush(&self) {
        let end = self.log().end();
        self.head.send_if_modified(|head| std::mem::replace(&mut head.end, end) != end);
    }

    /// Lets the sessions end when they have sent what there is.
    pub fn end_programme(&self) {
        let mut log = self.log();
        log.end_programme();
        let (end, programme) = (log.end(), log.programme());
        drop(log);
        self.head.send_modify(|head| (head.end, head.programme) = (end, programme));
    }

    /// Lets those who watch go: the relay is gone.
    pub fn close(&self) {
        self.head.send_modify(|head| head.over = true);
    }

    /// A reader's view of the head.
    pub fn subscribe(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// The same for readers on another lane. Each wake that crosses threads costs a system call: it is made once per lane,
    /// and a task there wakes the readers.
    pub fn subscribe_on(&self, lane: &Lane) -> watch::Receiver<Head> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let local = lanes.entry(lane.index()).or_insert_with(|| {
            let mut head = self.subscribe();
            let local = watch::Sender::new(*head.borrow_and_update());
            let (bell, lanes, lane_index) = (local.clone(), Arc::clone(&self.lanes), lane.index());
            lane.handle().spawn(async move {
                loop {
                    tokio::select! {
                        changed = head.changed() => match changed {
                            Ok(()) => _ = bell.send_replace(*head.borrow_and_update()),
                            Err(_) => return,
                        },
                        () = bell.closed() => {
                            // Under the lock nobody new subscribes.
                            let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
                            if bell.receiver_count() == 0 {
                                lanes.remove(&lane_index);
                                return;
                            }
                        }
                    }
                }
            });
            local
        });
        local.subscribe()
    }

    /// The log. Hold the guard for as short as can be.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        // A push that panicked leaves at worst an entry short of its bookkeeping; the readers go on.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long audio waits for a video frame to leave with: a write costs the same whatever it carries.
pub const AUDIO_RIDES: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Lanes;

    #[tokio::test]
    async fn a_bell_rings_for_as_long_as_somebody_listens() {
        let (lanes, fanout) = (Lanes::start().expect("threads"), Fanout::new(LogPolicy::default()));
        let seat = lanes.for_relay();
        let lane = seat.lane();
        let mut heads = [fanout.subscribe_on(lane), fanout.subscribe_on(lane)];
        let key = Placed { class: flv::Class::Key, dts: 0, body: vec![0x17, 1].into() };
        fanout.push(std::slice::from_ref(&key), Instant::now());
        for head in &mut heads {
            head.changed().await.expect("the bell is there");
            assert_eq!(head.borrow_and_update().end, 1);
        }
        assert_eq!(fanout.lanes.lock().unwrap().len(), 1);
        drop(heads);
        // Behind the bell, which has been woken.
        lane.handle().spawn(async {}).await.unwrap();
        assert!(fanout.lanes.lock().unwrap().is_empty(), "nobody listens");

        let mut head = fanout.subscribe_on(lane);
        assert_eq!(head.borrow_and_update().end, 1);
        fanout.end_programme();
        head.changed().await.expect("there is a new bell");
    }
}
