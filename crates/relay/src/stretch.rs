//! What all outputs that are in step read next, made ready once.

use std::time::Instant;

use rtmp::wire::Run;

use crate::{cursor::Batch, log::Log};

/// The entries from one place of the log to its end, as one run of shared forms.
///
/// An output that has read up to there, is in time and leaves nothing out would read just these
/// ([`Cursor::step`](crate::Cursor::step)): thousands of them then cost one look at the log.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub(crate) from: u64,
    pub(crate) end: u64,
    /// When the first of them came into the log.
    pub(crate) oldest: Instant,
    pub(crate) min_dts: i64,
    pub(crate) bytes: u64,
    pub(crate) replaces_header: bool,
    run: Run,
}

impl Stretch {
    /// None if there is nothing from there on, if it is gone, too much for one `batch`, or not to be shared.
    pub fn new(log: &Log, from: u64, batch: Batch) -> Option<Self> {
        let oldest = log.get(from)?.arrived;
        let (end, bytes) = (log.end(), log.bytes_from(from));
        if end - from > batch.tags || bytes > batch.bytes as u64 {
            return None;
        }
        let entries = || (from..end).filter_map(|number| log.get(number));
        let run = Run::new(entries().map(|entry| &entry.wire))?;
        let min_dts = entries().map(|entry| entry.dts).min()?;
        let replaces_header = entries().any(|entry| entry.replaces_header);
        Some(Self { from, end, oldest, min_dts, bytes, replaces_header, run })
    }

    /// The entries' bytes.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// How many entries they are.
    pub fn tags(&self) -> u64 {
        self.end - self.from
    }

    /// When the first of them came into the log.
    pub fn oldest(&self) -> Instant {
        self.oldest
    }
}
