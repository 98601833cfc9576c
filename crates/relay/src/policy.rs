//! The numbers that a configuration gives to the decisions, with their defaults.

use std::time::Duration;

/// How a connection is retried: uniform in `[min, min(max, min·2^n)]` after the n-th failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The shortest wait.
    pub min: Duration,
    /// The cap of the growing upper bound.
    pub max: Duration,
    /// Time without success after which no further attempt is made; `None` tries for ever.
    pub give_up_after: Option<Duration>,
}

impl RetryPolicy {
    /// An input's default: back soon, a dead CDN edge is asked every 15 s at the latest.
    pub const INPUT: Self = Self { min: Duration::from_millis(500), max: Duration::from_secs(15), give_up_after: None };
    /// An output's default: platforms throttle clients that knock more than once a minute.
    pub const OUTPUT: Self =
        Self { min: Duration::from_millis(500), max: Duration::from_secs(60), give_up_after: None };
}

/// `count` events within `window`; one more is over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events allowed within the window.
    pub count: u32,
    /// The sliding window.
    pub window: Duration,
}

/// Whether inputs that do not feed stay connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Every input stays connected with its newest tags in memory.
    Hot,
    /// An input is connected only when it is needed.
    Cold,
}

/// Whether the relay returns to a higher input by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revert {
    /// After `revert_after` of health.
    Auto,
    /// Only by a `switch`.
    Manual,
}

/// When an input counts as lost, and which one feeds next (`[relay.failover]`).
#[derive(Clone, Debug, PartialEq)]
pub struct FailoverPolicy {
    /// Hot or cold standby inputs.
    pub standby: Standby,
    /// No bytes, or no tags, for this long.
    pub stall_timeout: Duration,
    /// No video for this long, for an input that had video.
    pub no_video: Duration,
    /// No audio for this long, for an input that had audio.
    pub no_audio: Duration,
    /// No keyframe for this long, or for twice the usual GOP, whichever is longer.
    pub keyframe_overdue: Duration,
    /// Media time arriving slower than this share of real time over ten seconds.
    pub slow_ratio: f64,
    /// How long a late standby of the same encode may be waited for.
    pub exact_wait: Duration,
    /// Return to a higher input by itself or not.
    pub revert: Revert,
    /// The higher input is healthy for this long before a return.
    pub revert_after: Duration,
    /// The shortest stay on an input before a return; never delays leaving a dead one.
    pub min_dwell: Duration,
    /// More returns than this: stay, and say so.
    pub max_reverts: Rate,
    /// All inputs lost: outputs stay connected this long.
    pub hold: Duration,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self {
            standby: Standby::Hot,
            stall_timeout: Duration::from_secs(3),
            no_video: Duration::from_secs(4),
            no_audio: Duration::from_secs(4),
            keyframe_overdue: Duration::from_secs(10),
            slow_ratio: 0.8,
            exact_wait: Duration::from_secs(10),
            revert: Revert::Auto,
            revert_after: Duration::from_secs(30),
            min_dwell: Duration::from_secs(10),
            max_reverts: Rate { count: 6, window: Duration::from_secs(600) },
            hold: Duration::from_secs(60),
        }
    }
}

/// What a timestamp fault means for the input it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// The timeline is repaired and the input goes on.
    Repair,
    /// The input counts as lost when another one is healthy.
    Failover,
}

/// How source timestamps are judged (`[relay.timeline]`).
#[derive(Clone, Debug, PartialEq)]
pub struct TimelinePolicy {
    /// A step forward beyond the wall time elapsed plus this is a jump.
    pub max_jump: Duration,
    /// Repair a fault, or leave the input for it.
    pub on_fault: OnFault,
    /// More faults than this: the input is lost, whatever `on_fault` says.
    pub fault_limit: Rate,
}

impl Default for TimelinePolicy {
    fn default() -> Self {
        Self {
            max_jump: Duration::from_secs(1),
            on_fault: OnFault::Repair,
            fault_limit: Rate { count: 20, window: Duration::from_secs(10) },
        }
    }
}

/// The bounds of the log, and of each input's own ring (`[relay.log]`); bytes win over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    /// Media time kept.
    pub max_time: Duration,
    /// Bytes kept.
    pub max_bytes: usize,
}

impl LogPolicy {
    /// `max_time` in ms.
    pub(crate) fn reach_ms(&self) -> i64 {
        i64::try_from(self.max_time.as_millis()).unwrap_or(i64::MAX / 4)
    }

    /// The largest header that is taken for one, in bytes. Its like is some KB at most. All three together leave most of
    /// the bytes to media.
    pub(crate) fn max_header(&self) -> usize {
        self.max_bytes / 8
    }

    /// How many bytes of the tags relayed last are kept on each track, to prove by them that another input goes on there.
    pub(crate) fn max_proof(&self) -> usize {
        self.max_bytes / 4
    }
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self { max_time: Duration::from_secs(10), max_bytes: 32 << 20 }
    }
}

/// When an output writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flush {
    /// At each video frame; audio rides along for at most 40 ms.
    Frame,
    /// Everything that is ready, once per interval.
    Every(Duration),
}

/// What an output does when its lag reaches `max_lag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLag {
    /// Video skips to the newest keyframe ahead of the cursor.
    Skip,
    /// The session is closed and opened anew.
    Reconnect,
}

/// What an output does when a sequence header changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFormatChange {
    /// The new headers go out on the same connection.
    Inband,
    /// The session is closed and opened anew.
    Reconnect,
}

/// How an output reads the log (`[[relay.output]]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputPolicy {
    /// When it writes.
    pub flush: Flush,
    /// Lag in time: at a fifth disposable frames are dropped, at it `on_lag` holds, at twice it the session is closed.
    pub max_lag: Duration,
    /// The same three stages in bytes.
    pub max_lag_bytes: usize,
    /// What happens at `max_lag`.
    pub on_lag: OnLag,
    /// What happens when a sequence header changes.
    pub on_format_change: OnFormatChange,
}

impl Default for OutputPolicy {
    fn default() -> Self {
        Self {
            flush: Flush::Frame,
            max_lag: Duration::from_secs(5),
            max_lag_bytes: 8 << 20,
            on_lag: OnLag::Skip,
            on_format_change: OnFormatChange::Inband,
        }
    }
}
