//! A session that the platform has accepted: what it sends, as seen by its own task and by its lane's flusher.

use std::{
    collections::VecDeque,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use relay::{Batch, Cursor, Reading, Stretch};
use rtmp::wire::MediaWriter;
use tracing::Span;

use super::{
    OutputMeter, OutputState,
    alarm::Alarm,
    error::OutputError,
    session::End,
    wire::{Moved, Wire},
};
use crate::{fanout::Fanout, test_hooks::Hook};

/// An accepted session.
///
/// The flusher writes what is new ([`flush`](Self::flush)) while the socket takes it at once. What it does not take, and
/// all that the platform says, is the session's own task's ([`poll`](Self::poll)).
pub(super) struct Live {
    cursor: Cursor,
    writer: Option<MediaWriter>,
    wire: Wire,
    /// There may be more to read than has been read.
    due: bool,
    stream_id: u32,
    programme: u64,
    fanout: Arc<Fanout>,
    meter: Arc<OutputMeter>,
    write_timeout: Duration,
    hook: Hook,
    alarm: Alarm,
    /// The state last shown.
    shown: OutputState,
    /// The first keyframe has been written, and the task has not been told.
    went_live: bool,
    ended: Option<Result<End, OutputError>>,
    /// The session's task.
    task: Option<Waker>,
    /// Whose log lines they are, also where the flusher works for it.
    span: Span,
}

/// What a session's task is told.
pub(super) enum Happening {
    /// The first keyframe has been written.
    WentLive,
    /// There is no more to do.
    Ended(Result<End, OutputError>),
}

/// What a session is made of.
pub(super) struct Parts {
    pub(super) cursor: Cursor,
    pub(super) wire: Wire,
    pub(super) stream_id: u32,
    pub(super) programme: u64,
    pub(super) fanout: Arc<Fanout>,
    pub(super) meter: Arc<OutputMeter>,
    pub(super) write_timeout: Duration,
    pub(super) hook: Hook,
}

impl Live {
    /// A session that has sent no media.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { cursor, wire, stream_id, programme, fanout, meter, write_timeout, hook } = parts;
        meter.enter(OutputState::WaitingKeyframe);
        Self {
            cursor,
            writer: None,
            wire,
            due: true,
            stream_id,
            programme,
            fanout,
            meter,
            write_timeout,
            hook,
            alarm: Alarm::default(),
            shown: OutputState::WaitingKeyframe,
            went_live: false,
            ended: None,
            task: None,
            span: Span::current(),
        }
    }

    /// Its place in the log.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The connection, to be closed.
    pub(super) fn into_wire(self) -> Wire {
        self.wire
    }

    /// The log has grown, or the flush interval is over: writes what is new. True if that is just `stretch`, and the
    /// caller is to write it for this session and others at once ([`socket`](Self::socket), [`wrote`](Self::wrote)).
    pub(super) fn flush(&mut self, stretch: Option<&Stretch>, programme: u64, now: Instant) -> bool {
        self.hook.at_write();
        if self.ended.is_some() {
            return false;
        }
        if programme > self.programme {
            self.end(Ok(End::ProgrammeEnded));
            return false;
        }
        if !self.wire.is_idle() {
            // The socket is full; its task goes on when there is room, with this too. Meanwhile the lag is judged.
            self.due = true;
            if self.cursor.is_lost(&self.fanout.log(), now) {
                self.end(Err(OutputError::Lagged));
            }
            return false;
        }
        match stretch.filter(|stretch| self.step(stretch, now)) {
            Some(_) if self.wire.socket().is_some() => return true,
            Some(stretch) => {
                self.wire.write_run(stretch.run(), now);
                self.stepped(stretch);
            }
            None => {
                let _entered = self.span.clone().entered();
                self.due = true;
                self.pump(now);
            }
        }
        self.wake_if_needed();
        false
    }

    /// What takes the bytes of a stretch.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.wire.socket()
    }

    /// So much of `stretch` has been written to the socket.
    pub(super) fn wrote(&mut self, stretch: &Stretch, written: io::Result<usize>, now: Instant) {
        self.wire.wrote_run(stretch.run(), written, now);
        self.stepped(stretch);
        self.wake_if_needed();
    }

    fn stepped(&mut self, stretch: &Stretch) {
        self.meter.tags.fetch_add(stretch.tags(), Relaxed);
        if !self.wire.is_idle() {
            self.meter.oldest_unsent(Some(stretch.oldest()));
        }
        self.note_written();
    }

    fn wake_if_needed(&self) {
        if !self.wire.is_idle() || self.went_live {
            self.wake();
        }
    }

    fn step(&mut self, stretch: &Stretch, now: Instant) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        !self.due && self.cursor.step(stretch, now, || writer.continue_with(stretch.run()))
    }

    /// Waits on: the socket both ways, the write timeout, the flusher's word.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happening> {
        if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
        loop {
            let now = Instant::now();
            self.pump(now);
            if std::mem::take(&mut self.went_live) {
                return Poll::Ready(Happening::WentLive);
            }
            if let Some(ended) = self.ended.take() {
                return Poll::Ready(Happening::Ended(ended));
            }
            match self.move_bytes(cx) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(error)) => return Poll::Ready(Happening::Ended(Err(error))),
                Poll::Pending => {}
            }
            if !self.wire.is_idle() {
                // Judged after the attempt: a process that was stopped for a while has not been refused anything.
                let stalled_at = self.wire.progress + self.write_timeout;
                if stalled_at <= now {
                    return Poll::Ready(Happening::Ended(Err(OutputError::WriteStalled(self.write_timeout))));
                }
                self.alarm.set(stalled_at, cx);
            }
            return Poll::Pending;
        }
    }

    /// What the flusher did for it has panicked: it ends, and nobody else's session with it.
    pub(super) fn panicked(&mut self) {
        self.end(Err(OutputError::Panicked));
    }

    /// From now on only [`poll_rest`](Self::poll_rest) is called.
    pub(super) fn begin_rest(&mut self) {
        self.due = true;
        if let Some(Ok(_)) = self.ended {
            self.ended = None;
        }
    }

    /// Sends what the log still holds. Ready when all of it has left.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OutputError>> {
        loop {
            self.pump(Instant::now());
            if self.wire.is_idle() && !self.due {
                return Poll::Ready(Ok(()));
            }
            if let Some(Err(error)) = self.ended.take() {
                return Poll::Ready(Err(error));
            }
            ready!(self.move_bytes(cx))?;
        }
    }

    /// Whether media has been sent.
    pub(super) fn has_begun(&self) -> bool {
        self.writer.is_some()
    }

    fn move_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OutputError>> {
        let moved = ready!(self.wire.poll_move(cx))?;
        if moved == Moved::In {
            self.wire.log_replies();
        }
        self.note_written();
        Poll::Ready(Ok(()))
    }

    /// Writes as long as there is something to write and the socket takes it at once. Replies come before media, and
    /// media follows however many there are: neither keeps the other waiting.
    fn pump(&mut self, now: Instant) {
        while self.ended.is_none() && self.wire.is_idle() {
            self.wire.queue_replies(now);
            if self.due {
                self.fill(now);
            }
            if self.wire.is_idle() {
                return;
            }
            self.wire.write_now(now);
            self.note_written();
        }
    }

    /// Moves what is ready from the log to the queue. The session's clock starts at the first entry's DTS.
    fn fill(&mut self, now: Instant) {
        let Self { cursor, writer, wire, stream_id, programme, .. } = self;
        let queue: &mut VecDeque<Bytes> = &mut wire.queue;
        let log = self.fanout.log();
        let (oldest, skipped) = (cursor.oldest_unread(&log), cursor.skipped());
        let end = log.end_of(*programme);
        let reading = cursor.read_up_to(end, &log, now, BATCH, |form, dts| {
            writer.get_or_insert_with(|| MediaWriter::new(*stream_id, dts)).write_at(form, dts, queue);
        });
        drop(log);
        self.meter.left_out(self.cursor.skipped() - skipped, now);
        self.due = false;
        if let Reading::Read { tags, .. } | Reading::FormatChanged { tags } = reading
            && tags > 0
        {
            self.meter.tags.fetch_add(tags, Relaxed);
            // What a session begins with is late from its beginning on.
            self.meter.oldest_unsent(Some(oldest.unwrap_or(now)));
        }
        match reading {
            Reading::Read { more, .. } => {
                self.due = more;
                self.wire.progress = now;
            }
            Reading::NoEntryPoint => {}
            Reading::Lagged => self.end(Err(OutputError::Lagged)),
            Reading::FormatChanged { .. } => self.end(Ok(End::FormatChanged)),
        }
    }

    fn note_written(&mut self) {
        if !self.wire.is_idle() {
            return;
        }
        if !self.due {
            self.meter.oldest_unsent(None);
        }
        if self.writer.is_none() {
            return;
        }
        self.went_live |= self.shown == OutputState::WaitingKeyframe;
        let state = if self.cursor.is_skipping() { OutputState::Skipping } else { OutputState::Live };
        if std::mem::replace(&mut self.shown, state) != state {
            self.meter.enter(state);
        }
    }

    fn end(&mut self, ended: Result<End, OutputError>) {
        self.ended = Some(ended);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// One vectored write's worth.
pub(super) const BATCH: Batch = Batch { tags: 64, bytes: 256 << 10 };
