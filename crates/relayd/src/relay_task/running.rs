//! A relay between its start and its stop.

use std::{collections::HashMap, time::Instant};

use relay::{Failover, Phase, Placed};
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::children::Child;
use crate::{fanout::Fanout, input::Reports};

/// What exists between start and stop.
pub(super) struct Running {
    pub(super) failover: Failover,
    pub(super) reports: mpsc::Sender<Reports>,
    pub(super) incoming: mpsc::Receiver<Reports>,
    pub(super) tasks: JoinSet<()>,
    pub(super) children: HashMap<Id, Child>,
    /// Ends every output's task.
    pub(super) outputs: CancellationToken,
    /// When audio that has ridden along long enough is to leave.
    pub(super) flush_at: Option<Instant>,
    pub(super) placed: Vec<Placed>,
    pub(super) phase: Phase,
    /// Every input has ended.
    pub(super) finish: bool,
    pub(super) stopping: bool,
}

impl Running {
    /// A run that begins with these decisions; `outputs` ends every output's task.
    pub(super) fn new(failover: Failover, outputs: CancellationToken) -> Self {
        let (reports, incoming) = mpsc::channel(REPORTS);
        Self {
            failover,
            reports,
            incoming,
            tasks: JoinSet::new(),
            children: HashMap::new(),
            outputs,
            flush_at: None,
            placed: Vec::new(),
            phase: Phase::Starting,
            finish: false,
            stopping: false,
        }
    }

    /// When a decision is due, or audio is to leave.
    pub(super) fn wake_at(&self) -> Instant {
        let decision = self.failover.wake_at();
        self.flush_at.map_or(decision, |flush_at| flush_at.min(decision))
    }

    /// Lets what is due happen.
    pub(super) fn wake(&mut self, fanout: &Fanout, now: Instant) {
        if self.flush_at.is_some_and(|flush_at| flush_at <= now) {
            self.flush_at = None;
            fanout.flush();
        }
        self.failover.tick(now);
    }

    /// After a panic: what was on its way belongs to decisions that are thrown away.
    pub(super) fn forget_reports(&mut self) {
        (self.reports, self.incoming) = mpsc::channel(REPORTS);
        self.placed.clear();
        self.flush_at = None;
    }

    /// Puts what has been placed into the log.
    pub(super) fn publish(&mut self, fanout: &Fanout, now: Instant) {
        if self.placed.is_empty() {
            return;
        }
        let flush_at = fanout.push(&self.placed, now);
        self.placed.clear();
        // A splice can hand over a whole ring at once.
        self.placed.shrink_to(PLACED);
        self.flush_at = flush_at.map(|new| self.flush_at.map_or(new, |old| old.min(new)));
    }
}

/// Places for what one wake usually has for the log.
const PLACED: usize = 64;

/// The next thing to happen to a relay that runs.
pub(super) async fn next(running: Option<&mut Running>, batch: &mut Vec<Reports>) -> Happening {
    let Some(running) = running else { return std::future::pending().await };
    tokio::select! {
        _ = running.incoming.recv_many(batch, BATCH) => Happening::Reported,
        Some(ended) = running.tasks.join_next_with_id() => Happening::Ended(ended.map(|(id, ())| id)),
    }
}

pub(super) enum Happening {
    /// Reports are in the batch.
    Reported,
    /// A child task ended.
    Ended(Result<Id, JoinError>),
}

/// Batches of reports that may wait: beyond it the inputs' TCP slows their servers down.
const REPORTS: usize = 64;
/// Batches taken in before the log is written.
const BATCH: usize = 16;
