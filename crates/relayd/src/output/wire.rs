//! The bytes of one session: a queue of slices out, replies in.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    os::fd::BorrowedFd,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use rtmp::{
    publish::{Publish, PublishEvent, Step},
    wire::Run,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    OutputMeter,
    error::{OutputError, is_tls},
};
use crate::stream::Stream;

/// A connection, its RTMP state and what is still to be written.
pub(super) struct Wire {
    stream: Stream,
    publish: Publish,
    /// What is to be written, in order; the first slice may be written in part.
    pub(super) queue: VecDeque<Bytes>,
    /// A write that failed before anybody waited for it.
    failed: Option<io::Error>,
    /// A write has failed: nobody knows how much of it has left, and nothing may follow.
    is_broken: bool,
    /// When the socket last took a byte, or when it last had nothing to take.
    pub(super) progress: Instant,
    /// Counts the bytes that are written.
    meter: Arc<OutputMeter>,
    started: Option<Instant>,
    step_limit: Duration,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    In,
    Out,
}

impl Wire {
    /// `step_limit` is how long the platform may take for each step of the way to Publish.Start.
    pub(super) fn new(
        stream: Stream,
        publish: Publish,
        meter: Arc<OutputMeter>,
        step_limit: Duration,
        now: Instant,
    ) -> Self {
        Self {
            step_limit,
            stream,
            publish,
            meter,
            queue: VecDeque::new(),
            failed: None,
            is_broken: false,
            progress: now,
            started: None,
        }
    }

    /// Shakes hands and publishes; returns the message stream to send media on. Each step has its own time limit.
    pub(super) async fn open(&mut self) -> Result<u32, OutputError> {
        let mut step = self.publish.step();
        let mut since = Instant::now();
        loop {
            self.queue_replies(Instant::now());
            while let Some(event) = self.publish.next_event() {
                if let PublishEvent::Started { stream_id } = event {
                    self.started = Some(Instant::now());
                    return Ok(stream_id);
                }
            }
            if self.publish.step() != step {
                step = self.publish.step();
                since = Instant::now();
            }
            let left = self.step_limit.saturating_sub(since.elapsed());
            let no_answer = OutputError::NoAnswer { step: name(step), limit: self.step_limit };
            timeout(left, self.move_bytes()).await.map_err(|_| no_answer)??;
        }
    }

    /// All that was queued has left.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.stream.holds()
    }

    /// Queues what the session has to say (commands, acknowledgements, pongs), once all before it has left. Until then
    /// it stays inside, where a server that keeps asking and takes nothing is given up.
    pub(super) fn queue_replies(&mut self, now: Instant) {
        if self.is_idle()
            && let Some(output) = self.publish.take_output()
        {
            self.queue.push_back(output);
            self.progress = now;
        }
    }

    /// Logs what the platform said. What is to be answered is queued by [`Self::queue_replies`].
    pub(super) fn log_replies(&mut self) {
        while let Some(event) = self.publish.next_event() {
            if let PublishEvent::Warning { code, description } = event {
                tracing::info!(%code, %description, "the server says");
            }
        }
    }

    /// Writes what is queued as far as the socket takes it at once. What is left, and what went wrong, is for
    /// [`Self::poll_move`], which waits.
    pub(super) fn write_now(&mut self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.is_idle() && self.failed.is_none() {
            match self.poll_write(&mut cx) {
                Poll::Ready(Ok(())) => self.progress = now,
                Poll::Ready(Err(error)) => (self.failed, self.is_broken) = (Some(error), true),
                Poll::Pending => break,
            }
        }
    }

    /// The socket, if a run may be written to it beside this connection ([`Self::wrote_run`]). Nothing may be queued.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.stream.plain()
    }

    /// Writes a run whose bytes many sessions share, as [`Self::write_now`] does. Nothing may be queued.
    pub(super) fn write_run(&mut self, run: &Run, now: Instant) {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = run.slices().len().min(MAX_SLICES);
        for (slice, bytes) in slices.iter_mut().zip(run.slices()) {
            *slice = IoSlice::new(bytes);
        }
        let mut cx = Context::from_waker(Waker::noop());
        let written = match Pin::new(&mut self.stream).poll_write_vectored(&mut cx, &slices[..count]) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        };
        self.wrote_run(run, written, now);
    }

    /// So much of a run has been written. Only what the socket did not take is queued: a session that keeps up touches
    /// no reference count.
    pub(super) fn wrote_run(&mut self, run: &Run, written: io::Result<usize>, now: Instant) {
        self.progress = now;
        let mut written = match written {
            Ok(0) => return self.failed_with(run, io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return self.failed_with(run, error),
        };
        self.meter.bytes.fetch_add(written as u64, Relaxed);
        if written == run.bytes_len() {
            return;
        }
        for bytes in run.slices() {
            let skipped = bytes.len().min(written);
            written -= skipped;
            if skipped < bytes.len() {
                self.queue.push_back(bytes.slice(skipped..));
            }
        }
        self.write_now(now);
    }

    fn failed_with(&mut self, run: &Run, error: io::Error) {
        (self.failed, self.is_broken) = (Some(error), true);
        self.queue.extend(run.slices().iter().cloned());
    }

    pub(super) async fn move_bytes(&mut self) -> Result<Moved, OutputError> {
        poll_fn(|cx| self.poll_move(cx)).await
    }

    /// Waits until bytes have gone one way; when they have gone both, the answer is `In`. Either way is tried every
    /// time: a server that never stops talking must not keep us from writing, and one whose pings and acknowledgements
    /// stay unread while it takes nothing ends the session.
    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<Moved, OutputError>> {
        let written = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.is_idle() => Poll::Pending,
            None => self.poll_write(cx),
        };
        if let Poll::Ready(Ok(())) = written {
            self.progress = Instant::now();
        }
        // A buffer of its own would cost each output more memory than all else that it holds.
        let mut input = [0; READ_SIZE];
        // What a server said before it broke the connection tells more than a write that failed.
        Poll::Ready(match self.poll_read(cx, &mut input) {
            Poll::Ready(Ok(0)) => Err(self.closed()),
            Poll::Ready(Ok(read)) => match self.publish.handle_input(&input[..read]) {
                Ok(()) => {
                    // It is told when there is nothing more to read.
                    if let Poll::Ready(Err(error)) = written {
                        self.failed = Some(error);
                    }
                    Ok(Moved::In)
                }
                Err(error) => Err(error.into()),
            },
            Poll::Ready(Err(error)) => Err(self.broken(error)),
            Poll::Pending => match ready!(written) {
                Ok(()) => Ok(Moved::Out),
                Err(error) => Err(self.broken(error)),
            },
        })
    }

    /// Ends the session as a platform expects it: what is queued, FCUnpublish, deleteStream, end of stream; then the
    /// peer's own end, so that nothing unread turns the close into a reset.
    pub(super) async fn close(mut self) {
        if self.is_broken {
            return;
        }
        self.publish.close();
        self.queue.extend(std::iter::from_fn(|| self.publish.take_output()));
        let _ = timeout(CLOSE_LIMIT, async {
            while !self.is_idle() {
                self.move_bytes().await?;
            }
            self.stream.shutdown().await.map_err(OutputError::Broken)?;
            loop {
                self.move_bytes().await?;
            }
            #[expect(unreachable_code, reason = "names the error type of the block")]
            Ok::<(), OutputError>(())
        })
        .await;
    }

    /// The number of bytes read; 0 at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Poll<io::Result<usize>> {
        let was_idle = self.is_idle();
        let mut buf = ReadBuf::new(input);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
        if was_idle && !self.is_idle() {
            // TLS has an answer of its own to send. Until now there was nothing that the socket could have taken.
            self.progress = Instant::now();
            cx.waker().wake_by_ref();
        }
        ready!(read)?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes some of what the stream holds, or else of what is queued. Ready means that some went on.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.holds() { self.stream.poll_send(cx) } else { self.poll_write_queue(cx) }
    }

    fn poll_write_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.meter.bytes.fetch_add(written as u64, Relaxed);
        while let Some(first) = self.queue.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }

    fn closed(&self) -> OutputError {
        OutputError::Closed(match self.started.map(|started| started.elapsed()) {
            None => "before it accepted the stream; a wrong key looks like this",
            Some(lived) if lived < REFUSED_LATE => {
                "right after it had accepted the stream; a wrong key looks like this"
            }
            Some(_) => "while the stream was live",
        })
    }

    fn broken(&self, error: io::Error) -> OutputError {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if self.is_young() => self.closed(),
            // Over TLS: the connection ended without a close_notify, as many servers leave it.
            io::ErrorKind::UnexpectedEof => self.closed(),
            _ if is_tls(&error) => OutputError::Tls(error),
            _ => OutputError::Broken(error),
        }
    }

    fn is_young(&self) -> bool {
        self.started.is_none_or(|started| started.elapsed() < REFUSED_LATE)
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Handshake => "the handshake",
        Step::Connect => "connect",
        Step::CreateStream => "createStream",
        Step::Publish => "publish",
        Step::Live | Step::Closed => "the stream",
    }
}

/// Acknowledgements and pongs are small and few.
const READ_SIZE: usize = 2 << 10;
/// Slices in one vectored write.
const MAX_SLICES: usize = 64;
/// How long a clean end may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(1_500);
/// Some platforms refuse a key by closing shortly after Publish.Start.
const REFUSED_LATE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rtmp::{publish::PublishConfig, url::Target};
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        events::{EventBus, Ledger},
        output::OutputState,
    };

    #[tokio::test]
    async fn what_is_sent_at_the_end_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let ledger = Ledger::new("r".to_owned(), EventBus::default());
        let meter = Arc::new(OutputMeter::new("1".to_owned(), ledger, OutputState::Idle));
        let publish = Publish::new(PublishConfig::new(Target::parse("rtmp://h/live/key").unwrap()));
        let now = Instant::now();
        let mut wire = Wire::new(Stream::Plain(stream), publish, Arc::clone(&meter), Duration::from_secs(5), now);
        wire.queue.push_back(Bytes::from_static(&[1; 1_000]));
        let read = async {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.unwrap();
            drop(peer);
            all.len()
        };
        let (read, ()) = tokio::join!(read, wire.close());
        assert!(read >= 1_000);
        assert_eq!(meter.bytes.load(Relaxed), read as u64);
    }
}
