//! What an output shows of itself.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use relay::EventKind;

use crate::{
    config::OutputConfig,
    events::{Happened, Ledger},
    status::{LastError, OutputStatus, millis},
};

/// Where an output stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputState {
    /// Switched off.
    Disabled,
    /// There is nothing to send.
    Idle,
    /// From the first packet to the platform's Publish.Start.
    Connecting,
    /// Accepted; there is no keyframe to begin with.
    WaitingKeyframe,
    /// A keyframe has been written.
    Live,
    /// Late: video is left out up to a keyframe.
    Skipping,
    /// Waiting before the next attempt.
    Backoff,
    /// No further attempt is made.
    Failed,
}

impl OutputState {
    /// The word used in status and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::WaitingKeyframe => "waiting_keyframe",
            Self::Live => "live",
            Self::Skipping => "skipping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }
}

/// What an output's task writes and the status reads. It outlives the task.
#[derive(Debug)]
pub struct OutputMeter {
    /// Tags sent.
    pub tags: AtomicU64,
    /// Bytes sent.
    pub bytes: AtomicU64,
    /// Tags left out.
    pub skipped: AtomicU64,
    /// Sessions after the first.
    pub reconnects: AtomicU64,
    id: String,
    ledger: Ledger,
    epoch: Instant,
    /// When the oldest unsent entry came, in µs since `epoch`; 0: all is sent.
    oldest_unsent: AtomicU64,
    shown: Mutex<Shown>,
}

#[derive(Clone, Debug)]
struct Shown {
    state: OutputState,
    last_error: Option<LastError>,
    next_retry: Option<Instant>,
    skip_told: Option<Instant>,
}

impl OutputMeter {
    /// A meter at zero. The ledger is told of every change of state and of what is left out.
    pub fn new(id: String, ledger: Ledger, state: OutputState) -> Self {
        Self {
            id,
            ledger,
            tags: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            epoch: Instant::now(),
            oldest_unsent: AtomicU64::new(0),
            shown: Mutex::new(Shown { state, last_error: None, next_retry: None, skip_told: None }),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state changes.
    pub fn enter(&self, state: OutputState) {
        let mut shown = self.shown();
        shown.next_retry = None;
        let changed = std::mem::replace(&mut shown.state, state) != state;
        drop(shown);
        if changed {
            self.tell(EventKind::State, state.name(), "");
        }
    }

    /// So many more tags were left out. The ledger is told once per second at most.
    pub fn left_out(&self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        let total = self.skipped.fetch_add(count, Relaxed) + count;
        let mut shown = self.shown();
        if shown.skip_told.is_some_and(|told| now.saturating_duration_since(told) < Duration::from_secs(1)) {
            return;
        }
        shown.skip_told = Some(now);
        drop(shown);
        tracing::warn!(skipped = total, "behind: tags are left out");
        self.tell(EventKind::Skip, "lag", &format!("{total} tags left out so far"));
    }

    fn tell(&self, kind: EventKind, reason: &'static str, detail: &str) {
        let happened = Happened { output: Some(&self.id), detail, ..Happened::default() };
        self.ledger.record(kind, reason, &happened);
    }

    /// Something went wrong; the next attempt is made at `next_retry`.
    pub fn failed(&self, error: LastError, next_retry: Option<Instant>) {
        let state = if next_retry.is_some() { OutputState::Backoff } else { OutputState::Failed };
        let detail = format!("{}: {}", error.kind, error.message);
        let mut shown = self.shown();
        (shown.state, shown.last_error, shown.next_retry) = (state, Some(error), next_retry);
        drop(shown);
        self.tell(EventKind::State, state.name(), &detail);
    }

    /// The state now.
    pub fn state(&self) -> OutputState {
        self.shown().state
    }

    /// Tells when the oldest unsent entry came.
    pub fn oldest_unsent(&self, arrived: Option<Instant>) {
        let micros = arrived.map_or(0, |arrived| {
            u64::try_from(arrived.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX).max(1)
        });
        self.oldest_unsent.store(micros, Relaxed);
    }

    /// Age of the oldest unsent entry.
    pub fn lag(&self, now: Instant) -> Duration {
        match self.oldest_unsent.load(Relaxed) {
            0 => Duration::ZERO,
            micros => now.saturating_duration_since(self.epoch + Duration::from_micros(micros)),
        }
    }

    /// The status of the output that this meter belongs to.
    pub fn status(&self, output: &OutputConfig, now: Instant) -> OutputStatus {
        let shown = self.shown().clone();
        OutputStatus {
            id: output.id.clone(),
            name: output.name.clone(),
            origin: output.origin.name(),
            url: output.target.to_string(),
            state: shown.state.name(),
            tags: self.tags.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            lag_ms: millis(self.lag(now)),
            skipped_tags: self.skipped.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            last_error: shown.last_error,
            next_retry_ms: shown.next_retry.map(|at| millis(at.saturating_duration_since(now))),
        }
    }
}
