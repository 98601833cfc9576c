//! One publish session: from the open connection to its end.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use bytes::Bytes;
use relay::{Batch, Cursor, Flush, Reading};
use rtmp::{
    publish::{Publish, PublishConfig},
    wire::MediaWriter,
};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    OutputMeter, OutputState,
    error::OutputError,
    wire::{Moved, Wire},
};
use crate::{
    config::OutputConfig,
    fanout::{Fanout, Head},
    stream::Stream,
};

/// Why a session ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The output is to stop.
    Cancelled,
    /// The programme has ended; there will be another.
    ProgrammeEnded,
    /// A sequence header changed and the policy asks for a new session.
    FormatChanged,
}

/// What a session works with.
pub(super) struct Session<'a> {
    pub(super) output: &'a OutputConfig,
    pub(super) fanout: &'a Fanout,
    pub(super) meter: &'a OutputMeter,
    pub(super) cursor: &'a mut Cursor,
    pub(super) cancel: &'a CancellationToken,
    /// The programme it is opened for.
    pub(super) programme: u64,
}

impl Session<'_> {
    /// Publishes until the output is cancelled, the programme ends or the session breaks. `on_live` is called when
    /// the first keyframe has been written.
    pub(super) async fn run(mut self, stream: Stream, on_live: impl FnOnce()) -> Result<End, OutputError> {
        let mut head = self.fanout.subscribe();
        let publish = Publish::new(PublishConfig::new(self.output.target.clone()));
        let mut wire = Wire::new(stream, publish, self.output.connect_timeout, Instant::now());
        let cancel = self.cancel;
        let stream_id = tokio::select! {
            opened = wire.open() => opened?,
            () = cancel.cancelled() => return Ok(End::Cancelled),
        };
        self.meter.enter(OutputState::WaitingKeyframe);
        let mut writer = None;
        let end = self.relay(&mut wire, &mut writer, stream_id, &mut head, on_live).await?;
        if end != End::FormatChanged && writer.is_some() {
            // A peer that takes nothing any more is no reason to wait.
            let _ = timeout(REST_LIMIT, self.send_the_rest(&mut wire, &mut writer, stream_id)).await;
        }
        wire.close().await;
        Ok(end)
    }

    /// Waits on: the socket both ways, the log's head, the flush interval, the write timeout, cancellation.
    async fn relay(
        &mut self,
        wire: &mut Wire,
        writer: &mut Option<MediaWriter>,
        stream_id: u32,
        head: &mut watch::Receiver<Head>,
        on_live: impl FnOnce(),
    ) -> Result<End, OutputError> {
        if head.borrow_and_update().programme != self.programme {
            // It ended while the platform was being connected to: there is nothing to show there.
            return Ok(End::ProgrammeEnded);
        }
        let interval = match self.output.policy.flush {
            Flush::Frame => None,
            Flush::Every(interval) => Some(interval),
        };
        let mut on_live = Some(on_live);
        let mut next_flush = Instant::now();
        let mut due = true;
        loop {
            // Replies come before media, and media follows however many there are: neither keeps the other waiting.
            let is_idle = wire.is_idle();
            wire.queue_replies();
            if due && is_idle {
                let now = Instant::now();
                match self.fill(&mut wire.queue, writer, stream_id, now)? {
                    Filled::FormatChanged => return Ok(End::FormatChanged),
                    Filled::Some { more } => due = more,
                    Filled::NoEntryPoint => due = false,
                }
                wire.progress = now;
                if !due && let Some(interval) = interval {
                    next_flush = now + interval;
                }
            }
            let stalled_at = wire.progress + self.output.write_timeout;
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ok(End::Cancelled),
                moved = wire.move_bytes() => {
                    if moved? == Moved::In {
                        wire.take_replies()?;
                    }
                    self.note_progress(wire, due);
                    if wire.is_idle() && writer.is_some() && let Some(on_live) = on_live.take() {
                        on_live();
                    }
                    if on_live.is_none() {
                        self.show_live();
                    }
                }
                changed = head.changed(), if interval.is_none() || !wire.is_idle() => {
                    // With a flush interval, it alone says when to read on; here the lag is judged.
                    due |= interval.is_none();
                    if changed.is_err() || head.borrow_and_update().programme != self.programme {
                        return Ok(End::ProgrammeEnded);
                    }
                    if !wire.is_idle() && self.cursor.is_lost(&self.fanout.log(), Instant::now()) {
                        return Err(OutputError::Lagged);
                    }
                }
                () = sleep_until(next_flush.into()), if interval.is_some() && wire.is_idle() => {
                    due = true;
                    if head.borrow().programme != self.programme {
                        return Ok(End::ProgrammeEnded);
                    }
                }
                () = sleep_until(stalled_at.into()), if !wire.is_idle() => {
                    return Err(OutputError::WriteStalled(self.output.write_timeout));
                }
            }
        }
    }

    /// What the log still holds for this session goes out before it ends.
    async fn send_the_rest(
        &mut self,
        wire: &mut Wire,
        writer: &mut Option<MediaWriter>,
        stream_id: u32,
    ) -> Result<(), OutputError> {
        loop {
            while !wire.is_idle() {
                if wire.move_bytes().await? == Moved::In {
                    wire.take_replies()?;
                }
            }
            let filled = self.fill(&mut wire.queue, writer, stream_id, Instant::now())?;
            if wire.queue.is_empty() || !matches!(filled, Filled::Some { .. }) {
                self.note_progress(wire, false);
                return Ok(());
            }
        }
    }

    /// Moves what is ready from the log to the queue. The session's clock starts at the first entry's DTS.
    fn fill(
        &mut self,
        queue: &mut VecDeque<Bytes>,
        writer: &mut Option<MediaWriter>,
        stream_id: u32,
        now: Instant,
    ) -> Result<Filled, OutputError> {
        let log = self.fanout.log();
        let (oldest, skipped) = (self.cursor.oldest_unread(&log), self.cursor.skipped());
        let reading = self.cursor.read(&log, now, BATCH, |form, dts| {
            writer.get_or_insert_with(|| MediaWriter::new(stream_id, dts)).write_at(form, dts, queue);
        });
        drop(log);
        self.meter.left_out(self.cursor.skipped() - skipped, now);
        match reading {
            Reading::Read { tags, more } => {
                if tags > 0 {
                    self.meter.tags.fetch_add(tags, Relaxed);
                    self.meter.oldest_unsent(oldest);
                }
                Ok(Filled::Some { more })
            }
            Reading::NoEntryPoint => Ok(Filled::NoEntryPoint),
            Reading::Lagged => Err(OutputError::Lagged),
            Reading::FormatChanged => Ok(Filled::FormatChanged),
        }
    }

    fn note_progress(&self, wire: &mut Wire, more: bool) {
        self.meter.bytes.fetch_add(std::mem::take(&mut wire.written), Relaxed);
        if wire.is_idle() && !more {
            self.meter.oldest_unsent(None);
        }
    }

    fn show_live(&self) {
        let skipping = self.cursor.is_skipping();
        self.meter.enter(if skipping { OutputState::Skipping } else { OutputState::Live });
    }
}

enum Filled {
    Some { more: bool },
    NoEntryPoint,
    FormatChanged,
}

/// One vectored write's worth.
const BATCH: Batch = Batch { tags: 64, bytes: 256 << 10 };
/// How long the last tags may take to leave.
const REST_LIMIT: Duration = Duration::from_secs(1);
