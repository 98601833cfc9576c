//! What is told about relays, inputs and outputs: the JSON of the HTTP side.

use std::time::Duration;

use relay::FaultKind;
use serde::{Serialize, Serializer};

use crate::clock::time_of_day;

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
    /// Tags received and not relayed, by cause.
    #[serde(serialize_with = "as_object")]
    pub dropped_by_cause: DroppedByCause,
    /// How often it was lost, by reason.
    #[serde(skip)]
    pub lost_by_reason: Vec<(&'static str, u64)>,
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

/// Tags received and not relayed, by cause.
pub type DroppedByCause = [(&'static str, u64); 6];

fn as_object<S: Serializer>(counts: &DroppedByCause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().copied())
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
    humantime::format_rfc3339_millis(time_of_day()).to_string()
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
