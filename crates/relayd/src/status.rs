//! What is told about relays, inputs and outputs: the JSON of the HTTP side.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use relay::{EventKind, FaultKind};
use serde::Serialize;

use crate::events::{Happened, Ledger};

/// One relay, whole.
#[derive(Clone, Debug, Serialize)]
pub struct RelayStatus {
    /// Its name.
    pub name: String,
    /// Its title; may be empty.
    pub title: String,
    /// Who owns it: `file` or `api`.
    pub origin: &'static str,
    /// `stopped starting running holding stopping`.
    pub state: &'static str,
    /// The input that is to feed.
    pub selected_input: Option<String>,
    /// The input that feeds.
    pub active_input: Option<String>,
    /// Splices since the start.
    pub splices: u64,
    /// The same by reason.
    #[serde(skip)]
    pub splices_by_reason: Vec<(&'static str, u64)>,
    /// Bytes held in the log.
    #[serde(skip)]
    pub log_bytes: usize,
    /// Media time held in the log.
    #[serde(skip)]
    pub log_span: Duration,
    /// The programme's DTS reached, in ms.
    pub timeline_ms: i64,
    /// In order of priority.
    pub inputs: Vec<InputStatus>,
    /// In order of the configuration.
    pub outputs: Vec<OutputStatus>,
}

/// One input.
#[derive(Clone, Debug, Serialize)]
pub struct InputStatus {
    /// Its name.
    pub name: String,
    /// `pull push vod`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where from, masked.
    pub url: Option<String>,
    /// `idle connecting standby live stalled backoff ended`.
    pub state: &'static str,
    /// The input whose tags are proven to be the same.
    pub aligned_with: Option<String>,
    /// Bits per second received lately.
    pub bitrate_bps: u64,
    /// Tags received.
    pub tags: u64,
    /// The same by kind.
    #[serde(skip)]
    pub tags_by_kind: [(&'static str, u64); 3],
    /// Bytes received.
    pub bytes: u64,
    /// The usual distance of keyframes.
    pub gop_ms: Option<u64>,
    /// Faults by kind.
    pub dts_faults: DtsFaults,
    /// Connections after the first.
    pub reconnects: u64,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
}

/// Faults by kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DtsFaults {
    rollback: u64,
    jump: u64,
    repeat: u64,
    wrap: u64,
    skew: u64,
    interleave: u64,
    resync: u64,
}

impl DtsFaults {
    /// Each kind with its count.
    pub fn by_kind(&self) -> [(&'static str, u64); 7] {
        [
            ("rollback", self.rollback),
            ("jump", self.jump),
            ("repeat", self.repeat),
            ("wrap", self.wrap),
            ("skew", self.skew),
            ("interleave", self.interleave),
            ("resync", self.resync),
        ]
    }
}

impl From<&relay::FaultCounts> for DtsFaults {
    fn from(counts: &relay::FaultCounts) -> Self {
        Self {
            rollback: counts.get(FaultKind::Rollback),
            jump: counts.get(FaultKind::Jump),
            repeat: counts.get(FaultKind::Repeat),
            wrap: counts.get(FaultKind::Wrap),
            skew: counts.get(FaultKind::Skew),
            interleave: counts.get(FaultKind::Interleave),
            resync: counts.get(FaultKind::Resync),
        }
    }
}

/// One output.
#[derive(Clone, Debug, Serialize)]
pub struct OutputStatus {
    /// Its id.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// Who owns it: `file` or `api`.
    pub origin: &'static str,
    /// Where to, masked.
    pub url: String,
    /// `disabled idle connecting waiting_keyframe live skipping backoff failed`.
    pub state: &'static str,
    /// Tags sent.
    pub tags: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Age of the oldest unsent entry.
    pub lag_ms: u64,
    /// Tags left out because the output was late.
    pub skipped_tags: u64,
    /// Sessions after the first.
    pub reconnects: u64,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Time until the next attempt.
    pub next_retry_ms: Option<u64>,
}

/// An error as it is shown: no secret is in it.
#[derive(Clone, Debug, Serialize)]
pub struct LastError {
    /// A machine word.
    pub kind: &'static str,
    /// For people.
    pub message: String,
    /// When, as RFC 3339 in UTC.
    pub at: String,
}

impl LastError {
    /// An error that happened just now.
    pub fn now(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), at: timestamp() }
    }
}

/// The wall clock as RFC 3339 in UTC with milliseconds.
pub fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

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

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
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

    /// Tags left out so far. The ledger is told once per second at most.
    pub fn left_out(&self, total: u64, now: Instant) {
        let before = self.skipped.swap(total, Relaxed);
        if total <= before {
            return;
        }
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
    pub fn status(&self, id: &str, name: &str, url: String, now: Instant) -> OutputStatus {
        let shown = self.shown().clone();
        OutputStatus {
            id: id.to_owned(),
            name: name.to_owned(),
            origin: "file",
            url,
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

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
