//! What goes wrong with inputs, by name.

use std::fmt;

/// A fault of the source's timestamps or framing. Counted per input and kind; none of them reaches an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// A step back of more than 100 ms: a new epoch begins.
    Rollback,
    /// A step forward beyond the wall time elapsed plus `max_jump`: a new epoch begins.
    Jump,
    /// A step back of at most 100 ms: the tag repeats its track's last DTS.
    Repeat,
    /// The source's clock wrapped at 31 or 32 bits; the outputs do not see it.
    Wrap,
    /// Audio and video are more than a second apart for more than three seconds.
    Skew,
    /// A tag lies more than half a second before the newest tag of the other track.
    Interleave,
    /// The framing was lost and found again.
    Resync,
}

impl FaultKind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 7] =
        [Self::Rollback, Self::Jump, Self::Repeat, Self::Wrap, Self::Skew, Self::Interleave, Self::Resync];

    /// The word used in status, metrics, events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Jump => "jump",
            Self::Repeat => "repeat",
            Self::Wrap => "wrap",
            Self::Skew => "skew",
            Self::Interleave => "interleave",
            Self::Resync => "resync",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One fault, with the source's DTS around it in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which fault.
    pub kind: FaultKind,
    /// The DTS that the input's line had reached.
    pub before: i64,
    /// The DTS that came.
    pub after: i64,
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FaultKind::ALL.len()]);

impl FaultCounts {
    /// Counts one.
    pub fn add(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }

    /// The count of one kind.
    pub fn get(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }
}

/// Why an input was left or lost, and why a splice happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No bytes within `stall_timeout`.
    NoBytes,
    /// Bytes but no tags within `stall_timeout`.
    NoTags,
    /// No video within `no_video`.
    NoVideo,
    /// No audio within `no_audio`.
    NoAudio,
    /// No keyframe within `keyframe_overdue`.
    KeyframeOverdue,
    /// The body ended, or the publisher left.
    Eof,
    /// An HTTP status other than 200, or a redirect that leads nowhere.
    HttpStatus,
    /// TLS refused.
    Tls,
    /// The name did not resolve.
    Dns,
    /// The connection could not be made or broke.
    Connect,
    /// What came is not FLV.
    NotFlv,
    /// The framing was lost for good.
    Resync,
    /// More timestamp faults than `fault_limit`, or any with `on_fault = "failover"`.
    DtsFaults,
    /// Media arrives slower than `slow_ratio`.
    Slow,
    /// Arrival and timestamps drift apart.
    Clock,
    /// A `switch` command.
    Manual,
    /// Back to the selected input.
    Revert,
    /// The relay task was restarted.
    Panic,
}

impl Reason {
    /// The word used in status, metrics, events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoBytes => "no_bytes",
            Self::NoTags => "no_tags",
            Self::NoVideo => "no_video",
            Self::NoAudio => "no_audio",
            Self::KeyframeOverdue => "keyframe_overdue",
            Self::Eof => "eof",
            Self::HttpStatus => "http_status",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::NotFlv => "not_flv",
            Self::Resync => "resync",
            Self::DtsFaults => "dts_faults",
            Self::Slow => "slow",
            Self::Clock => "clock",
            Self::Manual => "manual",
            Self::Revert => "revert",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
