//! What writes for all sessions of a relay on one lane.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use burst::Burst;
use relay::{Flush, Stretch};
use tokio::{
    sync::watch,
    task::{unconstrained, yield_now},
    time::sleep_until,
};
use tracing::info;

use super::live::{BATCH, Live};
use crate::{
    fanout::{Fanout, Head},
    keep_up::keep_up,
    lanes::Lane,
};

/// A session as its flusher knows it; empty once it is over.
pub(super) type Member = Arc<Mutex<Option<Live>>>;

/// The flushers of one relay: one for each lane and kind of flush.
#[derive(Clone, Debug, Default)]
pub struct Flushers(Arc<Mutex<ByLane>>);

/// By the lane's number and the kind of flush. A flusher lives for as long as it runs or a session is about to join it.
type ByLane = HashMap<(usize, Flush), Weak<Flusher>>;

impl Flushers {
    /// The flusher for sessions of this kind on `lane`.
    pub(super) fn on(&self, lane: &Lane, flush: Flush) -> Arc<Flusher> {
        let mut flushers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (lane.index(), flush);
        if let Some(flusher) = flushers.get(&key).and_then(Weak::upgrade) {
            return flusher;
        }
        // Reloads may ask for ever other kinds of flush.
        flushers.retain(|_, flusher| flusher.strong_count() > 0);
        let flusher = Arc::default();
        flushers.insert(key, Arc::downgrade(&flusher));
        flusher
    }
}

/// Writes each frame, or each interval's frames, to every session that takes part.
///
/// Most sessions are in step: what they send next is the same bytes. One task that writes for all of them looks into the
/// log once and touches little more than their sockets; a thousand tasks that are woken for it spend half as much
/// again on being woken.
#[derive(Debug, Default)]
pub(super) struct Flusher(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    members: Vec<Member>,
    is_running: bool,
}

impl Flusher {
    /// Takes a session in. To be called on the lane that the flusher is for.
    pub(super) fn join(
        self: &Arc<Self>,
        member: Member,
        fanout: &Arc<Fanout>,
        head: &watch::Receiver<Head>,
        flush: Flush,
    ) {
        let mut sessions = self.sessions();
        sessions.members.push(member);
        if !std::mem::replace(&mut sessions.is_running, true) {
            let (flusher, fanout, head) = (Arc::clone(self), Arc::clone(fanout), head.clone());
            let run = keep_up("flusher", move || Arc::clone(&flusher).run(Arc::clone(&fanout), head.clone(), flush));
            // It yields by its own count: tokio's would make sockets that have room look full.
            tokio::spawn(unconstrained(run));
        }
    }

    /// Waits on: the log's head, or the next flush.
    async fn run(self: Arc<Self>, fanout: Arc<Fanout>, mut head: watch::Receiver<Head>, flush: Flush) {
        // Not marked as seen: what came since the sessions looked is to be written.
        let Head { end: mut from, mut programme, .. } = *head.borrow();
        let mut last = Instant::now();
        let mut burst = Burst::new(AT_ONCE as u16);
        while self.prune() {
            match flush {
                Flush::Frame => {
                    if head.changed().await.is_err() {
                        return;
                    }
                }
                Flush::Every(interval) => {
                    if !next_interval(&mut head, &mut last, interval, programme).await {
                        return;
                    }
                }
            }
            if head.borrow_and_update().over {
                self.sessions().is_running = false;
                return;
            }
            let stretch = {
                let log = fanout.log();
                let stretch = Stretch::new(&log, from, BATCH);
                // Of one look: nothing of the next programme is written to a session of this one.
                (from, programme) = (log.end(), log.programme());
                stretch
            };
            let mut done = 0;
            while self.write(&mut done, stretch.as_ref(), programme, &mut burst) {
                yield_now().await;
            }
        }
    }

    /// Writes for the next few sessions. True if there are more.
    fn write(&self, done: &mut usize, stretch: Option<&Stretch>, programme: u64, burst: &mut Burst) -> bool {
        let sessions = self.sessions();
        let now = Instant::now();
        let mut in_step = Vec::with_capacity(AT_ONCE);
        for member in sessions.members.iter().skip(*done).take(AT_ONCE) {
            let mut member = member.lock().unwrap_or_else(PoisonError::into_inner);
            if guarded(&mut member, |live| live.flush(stretch, programme, now)) == Some(true) {
                in_step.push(member);
            }
        }
        if let Some(stretch) = stretch {
            write_at_once(&mut in_step, stretch, burst, now);
        }
        *done += AT_ONCE;
        *done < sessions.members.len()
    }

    /// Forgets sessions that are over. False, and then it is not running, if there are no others.
    fn prune(&self) -> bool {
        let mut sessions = self.sessions();
        sessions.members.retain(|member| member.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        sessions.is_running = !sessions.members.is_empty();
        sessions.is_running
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes `stretch` for all of them at once.
fn write_at_once(in_step: &mut [MutexGuard<'_, Option<Live>>], stretch: &Stretch, burst: &mut Burst, now: Instant) {
    let sockets: Vec<_> = in_step.iter().filter_map(|member| member.as_ref()?.socket()).collect();
    debug_assert_eq!(sockets.len(), in_step.len(), "who is in step has a socket");
    let written = catch_unwind(AssertUnwindSafe(|| burst.send(&sockets, stretch.run().slices()).collect::<Vec<_>>()));
    let Ok(written) = written else {
        // Their places have moved on, and nobody knows what has been sent.
        return in_step.iter_mut().filter_map(|member| member.as_mut()).for_each(Live::panicked);
    };
    for (member, written) in in_step.iter_mut().zip(written) {
        guarded(member, |live| live.wrote(stretch, written, now));
    }
    if let Some(error) = burst.take_trouble() {
        info!(%error, "no io_uring: each output has a system call of its own from now on");
    }
}

/// Works for the session of this member, if it is not over. A bug met by one is not to be felt by the others.
fn guarded<T>(member: &mut Option<Live>, work: impl FnOnce(&mut Live) -> T) -> Option<T> {
    let live = member.as_mut()?;
    let worked = catch_unwind(AssertUnwindSafe(|| work(live)));
    if worked.is_err() {
        live.panicked();
    }
    worked.ok()
}

/// Waits until an interval is over, or `programme` is. An interval that is nearly over ends with a video frame: otherwise
/// frames that come in step with it could each wait for all of it. False when the log is gone.
async fn next_interval(
    head: &mut watch::Receiver<Head>,
    last: &mut Instant,
    interval: Duration,
    programme: u64,
) -> bool {
    let end = *last + interval;
    loop {
        tokio::select! {
            changed = head.changed() => {
                if changed.is_err() {
                    return false;
                }
                let seen = *head.borrow_and_update();
                if seen.over || seen.programme > programme || last.elapsed() >= interval * 9 / 10 {
                    break;
                }
            }
            () = sleep_until(end.into()) => break,
        }
    }
    *last = Instant::now();
    true
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("count", &self.members.len()).finish_non_exhaustive()
    }
}

/// Sessions written to before others on the lane get their turn.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use flv::Class;
    use futures::FutureExt;
    use relay::{LogPolicy, Placed};

    use super::*;
    use crate::lanes::Lanes;

    #[tokio::test]
    async fn the_end_of_a_programme_waits_for_no_flush() {
        let fanout = Fanout::new(LogPolicy::default());
        let (mut head, mut last, hour) = (fanout.subscribe(), Instant::now(), Duration::from_secs(3_600));
        let key = Placed { class: Class::Key, dts: 0, body: vec![0x17, 1].into() };
        fanout.push(&[key], Instant::now());
        assert_eq!(next_interval(&mut head, &mut last, hour, 0).now_or_never(), None, "a frame waits");
        fanout.end_programme();
        assert_eq!(next_interval(&mut head, &mut last, hour, 0).now_or_never(), Some(true));
        fanout.end_programme();
        assert_eq!(next_interval(&mut head, &mut last, hour, 2).now_or_never(), None, "that is known to have ended");
    }

    #[test]
    fn only_flushers_in_use_are_kept() {
        let (lanes, flushers) = (Lanes::start().expect("threads"), Flushers::default());
        let seat = lanes.for_relay();
        let frame = flushers.on(seat.lane(), Flush::Frame);
        for ms in 100..200 {
            let flusher = flushers.on(seat.lane(), Flush::Every(Duration::from_millis(ms)));
            assert!(Arc::ptr_eq(&flusher, &flushers.on(seat.lane(), Flush::Every(Duration::from_millis(ms)))));
        }
        assert_eq!(flushers.0.lock().unwrap().len(), 2, "the one in use and the newest");
        assert!(Arc::ptr_eq(&frame, &flushers.on(seat.lane(), Flush::Frame)));
    }
}
