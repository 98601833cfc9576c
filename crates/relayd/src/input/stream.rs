//! FLV bytes to reports.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use flv::{DemuxLimits, Demuxer, Tag};
use relay::{Rate, Report};

use super::error::InputError;
use crate::config::LimitsConfig;

/// A demuxer that speaks the relay task's language.
pub(super) struct FlvStream {
    demuxer: Demuxer,
    resyncs: u64,
    resync_limit: Rate,
    /// When the last ones happened.
    recent_resyncs: VecDeque<Instant>,
    empty_tags: u64,
}

impl FlvStream {
    /// `max_tag_size` in bytes.
    pub(super) fn new(max_tag_size: u32, limits: &LimitsConfig) -> Self {
        Self {
            demuxer: Demuxer::new(DemuxLimits { max_tag_size, resync_window: limits.resync_window }),
            resyncs: 0,
            resync_limit: limits.resyncs,
            recent_resyncs: VecDeque::new(),
            empty_tags: 0,
        }
    }

    /// The reports that a piece of the body gives. What was sound before an error is in `reports` all the same.
    pub(super) fn push(&mut self, piece: Bytes, reports: &mut Vec<Report>) -> Result<(), InputError> {
        reports.push(Report::Bytes(piece.len() as u64));
        self.demuxer.push(piece);
        self.drain(reports)
    }

    /// The reports that the end of the body gives.
    pub(super) fn finish(&mut self, reports: &mut Vec<Report>) -> InputError {
        let finished = self.demuxer.finish();
        if let Err(error) = self.drain(reports) {
            return error;
        }
        finished.err().map_or(InputError::Eof(self.demuxer.position()), InputError::from)
    }

    fn drain(&mut self, reports: &mut Vec<Report>) -> Result<(), InputError> {
        loop {
            let next = self.demuxer.next_tag();
            let counters = self.demuxer.counters();
            if counters.resyncs != self.resyncs {
                let new = counters.resyncs - self.resyncs;
                self.resyncs = counters.resyncs;
                tracing::warn!(
                    skipped_bytes = counters.skipped_bytes,
                    position = self.demuxer.position(),
                    "the framing was lost and found again"
                );
                reports.push(Report::Resynced);
                self.check_resyncs(new, Instant::now())?;
            }
            if counters.empty_tags != self.empty_tags {
                reports.push(Report::EmptyTags(counters.empty_tags - self.empty_tags));
                self.empty_tags = counters.empty_tags;
            }
            match next? {
                Some(tag) => reports.push(Report::Tag(unpinned(tag))),
                None => return Ok(()),
            }
        }
    }

    fn check_resyncs(&mut self, new: u64, now: Instant) -> Result<(), InputError> {
        let Rate { count, window } = self.resync_limit;
        let held = (count as usize).saturating_add(1);
        self.recent_resyncs.extend((0..new).take(held).map(|_| now));
        while self.recent_resyncs.len() > held
            || self.recent_resyncs.front().is_some_and(|&at| now.saturating_duration_since(at) > window)
        {
            self.recent_resyncs.pop_front();
        }
        if self.recent_resyncs.len() < held { Ok(()) } else { Err(InputError::Resyncs(self.resync_limit)) }
    }
}

/// A body may be a slice of all that was read at once and keeps that alive whole: a source that sends nothing but dropped
/// tags around it would have a ring hold hundreds of times the bytes it counts. Nor does a copy have the spare room of a
/// buffer that has grown.
fn unpinned(mut tag: Tag) -> Tag {
    tag.body = Bytes::copy_from_slice(&tag.body);
    tag
}

#[cfg(test)]
mod tests {
    use flv::Kind;

    use super::*;

    #[test]
    fn a_body_lets_go_of_what_it_was_cut_out_of() {
        let piece = Bytes::from(vec![7; 100_000]);
        let tag = unpinned(Tag { kind: Kind::Video, timestamp: 0, body: piece.slice(100..50_000) });
        assert_eq!(tag.body, piece.slice(100..50_000));
        assert!(piece.is_unique(), "the piece is still held");
    }
}
