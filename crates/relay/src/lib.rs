//! The decisions of the relay, without sockets and without a clock: `now` and randomness are arguments.
//!
//! An input's tags pass [`Failover`] (one [`Input`] each: repair, ring, health), which places them on the programme's
//! [`Timeline`] and hands them out; the relay task puts them into the [`Log`]; each output reads it with a [`Cursor`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test needs one moment to count from"))]

mod alignment;
mod anchor;
mod backoff;
mod bitrate;
mod cost;
mod cursor;
mod event;
mod failover;
mod fault;
mod headers;
mod health;
mod input;
mod log;
mod meter;
mod policy;
mod repair;
mod ring;
mod stretch;
mod timeline;
mod unwrap;

pub use alignment::{Alignment, Continuation, Mark, Marks, Print, Standing};
pub use backoff::Backoff;
pub use cursor::{Batch, Cursor, Reading};
pub use event::{Event, EventKind};
pub use failover::{Action, Failover, Listed, Phase, Report, Was};
pub use fault::{Fault, FaultCounts, FaultKind, Reason};
pub use headers::{HeaderSet, Headers};
pub use input::{Input, InputCounters, InputKind, Link};
pub use log::{Entry, HeaderForms, Log, Placed, SET_DATA_FRAME};
pub use policy::{
    FailoverPolicy, Flush, LogPolicy, OnFault, OnFormatChange, OnLag, OutputPolicy, Rate, RetryPolicy, Revert, Standby,
    TimelinePolicy,
};
pub use repair::{Repair, Repaired, Track};
pub use stretch::Stretch;
pub use timeline::Timeline;
