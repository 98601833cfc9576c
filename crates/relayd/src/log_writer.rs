//! Log lines on their way to stderr.
//!
//! Whoever logs carries media. A reader of the log that stops reading, or a disk that is full, is to cost lines and
//! nothing else: a thread of its own writes them, and what finds no room, or cannot be written, is counted and told.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use tracing::error;

/// Starts the thread that writes the process's log to stderr. To be called once.
pub fn start() -> io::Result<Goodbye> {
    // Not through `io::stderr`: its lock would be held for as long as a write takes, and it hides that stderr is closed.
    LOG.start(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// Where the process's log lines go. They wait there until the thread has been started.
pub(crate) fn writer() -> LogWriter {
    LogWriter(&LOG)
}

/// Lines of the process's log that did not get to stderr.
pub(crate) fn lost() -> Lost {
    LOG.lock().lost
}

/// Waits a moment for what has been logged to be written: the process may not live on.
pub(crate) fn settle() {
    LOG.settle(MOMENT);
}

/// Takes lines, and never makes anybody wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogWriter(&'static Queue);

/// Dropping it lets the log be written to its end, within 200 ms.
#[derive(Debug)]
#[must_use = "what has been logged is to be written before the process ends"]
pub struct Goodbye(&'static Queue);

/// Counts of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Too many waited already.
    pub(crate) no_room: u64,
    /// The write failed.
    pub(crate) unwritten: u64,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting {
    /// Whole lines.
    lines: Vec<u8>,
    /// Bytes of those that are being written.
    in_flight: usize,
    lost: Lost,
    /// The thread that writes.
    thread: Option<ThreadId>,
}

impl io::Write for LogWriter {
    /// `lines` are whole. They are taken, or lost and counted.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.0.settle(MOMENT);
    }
}

impl Queue {
    const fn new() -> Self {
        let lost = Lost { no_room: 0, unwritten: 0 };
        let waiting = Waiting { lines: Vec::new(), in_flight: 0, lost, thread: None };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn start(&'static self, sink: impl io::Write + Send + 'static) -> io::Result<Goodbye> {
        let mut waiting = self.lock();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(|| self.run(sink))?;
        waiting.thread = Some(thread.thread().id());
        drop(waiting);
        Ok(Goodbye(self))
    }

    fn push(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        let is_full = waiting.lines.len() + waiting.in_flight + lines.len() > ROOM;
        // What the thread itself says is that lines were lost: there is room for that.
        if is_full && waiting.thread != Some(thread::current().id()) {
            waiting.lost.no_room += count(lines);
            return;
        }
        waiting.lines.extend_from_slice(lines);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Ends with the process. Nothing in it panics: it slices at what a sink says it has taken, and no further.
    fn run(&self, sink: impl io::Write) {
        let mut sink = Sink { inner: sink, is_torn: false };
        let (mut lines, mut why) = (Vec::new(), None);
        // What a line has told that was written, and one that is to be.
        let (mut told, mut telling) = (Lost::default(), None);
        loop {
            let mut waiting = self.lock();
            waiting.in_flight = 0;
            self.changed.notify_all();
            let idle = self.changed.wait_while(waiting, |waiting| waiting.lines.is_empty());
            let mut waiting = idle.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut waiting.lines, &mut lines);
            waiting.in_flight = lines.len();
            drop(waiting);

            let written = sink.write(&lines);
            let mut waiting = self.lock();
            if let Err((left, error)) = written {
                waiting.lost.unwritten += count(left);
                (why, telling) = (Some(error), None);
            } else {
                told = telling.take().unwrap_or(told);
                let lost = waiting.lost;
                drop(waiting);
                if lost != told {
                    let (no_room, unwritten) = (lost.no_room - told.no_room, lost.unwritten - told.unwritten);
                    let why = why.take().map(tracing::field::display);
                    error!(no_room, unwritten, why, "log lines were lost");
                    telling = Some(lost);
                }
            }
            lines.clear();
            lines.shrink_to(KEPT);
        }
    }

    /// Waits until there is nothing to write, or `limit` is over.
    fn settle(&self, limit: Duration) {
        let waiting = self.lock();
        let is_busy = |waiting: &mut Waiting| waiting.in_flight > 0 || !waiting.lines.is_empty();
        if waiting.thread.is_some_and(|thread| thread != thread::current().id()) {
            drop(self.changed.wait_timeout_while(waiting, limit, is_busy));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sink<W> {
    inner: W,
    /// The last line was not written to its end.
    is_torn: bool,
}

impl<W: io::Write> Sink<W> {
    /// Writes all of `lines`. An error tells what is left, and why.
    fn write<'a>(&mut self, lines: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        if self.is_torn {
            put(&mut self.inner, b"\n").map_err(|(_, error)| (lines, error))?;
            self.is_torn = false;
        }
        put(&mut self.inner, lines).inspect_err(|(left, _)| {
            let written = &lines[..lines.len() - left.len()];
            self.is_torn = written.last().is_some_and(|&byte| byte != b'\n');
        })
    }
}

fn put<'a>(sink: &mut impl io::Write, mut bytes: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err((bytes, io::ErrorKind::WriteZero.into())),
            Ok(written) => bytes = &bytes[written.min(bytes.len())..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares the terminal has made it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err((bytes, error)),
        }
    }
    Ok(())
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

static LOG: Queue = Queue::new();

/// Bytes of lines that may wait, those being written included.
const ROOM: usize = 1 << 20;
/// Bytes that stay reserved.
const KEPT: usize = 64 << 10;
/// How long the end of the process may wait for what has been logged.
const MOMENT: Duration = Duration::from_millis(200);
/// Between two attempts at a sink that does not want to wait.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes what it is told to take.
    struct Told {
        answers: Receiver<io::Result<usize>>,
        asked: SyncSender<Vec<u8>>,
    }

    impl io::Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.send(bytes.to_owned()).unwrap();
            self.answers.recv().unwrap()
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> &'static Queue {
        Box::leak(Box::new(Queue::new()))
    }

    fn lost(no_room: u64, unwritten: u64) -> Lost {
        Lost { no_room, unwritten }
    }

    #[test]
    fn nobody_waits_for_a_sink_that_takes_nothing_and_what_is_lost_is_counted() {
        let ((answer, answers), (asked, asks), queue) = (sync_channel(0), sync_channel(16), queue());
        let _goodbye = queue.start(Told { answers, asked }).unwrap();
        queue.push(b"first\n");
        assert_eq!(asks.recv().unwrap(), b"first\n");

        // It is busy with the first: what comes now has to fit.
        let line = [vec![b'.'; ROOM / 4 - 1], vec![b'\n']].concat();
        for _ in 0..5 {
            queue.push(&line);
        }
        assert_eq!(queue.lock().lost, lost(2, 0));
        answer.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
        assert_eq!(asks.recv().unwrap(), b"first\n");
        answer.send(Ok(2)).unwrap();
        assert_eq!(asks.recv().unwrap(), b"rst\n", "a line is written to its end");
        answer.send(Ok(4)).unwrap();

        // A disk takes a part of the next, and no more.
        assert_eq!(asks.recv().unwrap(), line.repeat(3), "whatever waits goes at once");
        answer.send(Ok(line.len() + 1)).unwrap();
        asks.recv().unwrap();
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        queue.push(b"next\n");
        assert_eq!(asks.recv().unwrap(), b"\n", "a torn line ends before the next begins");
        assert_eq!(queue.lock().lost, lost(2, 2));
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        queue.push(b"last\n");
        assert_eq!(asks.recv().unwrap(), b"\n");
        assert_eq!(queue.lock().lost, lost(2, 3));
        answer.send(Ok(1)).unwrap();
        assert_eq!(asks.recv().unwrap(), b"last\n");
        answer.send(Ok(5)).unwrap();
    }

    #[test]
    fn the_end_waits_for_what_is_being_written() {
        let ((answer, answers), (asked, asks), queue) = (sync_channel(0), sync_channel(16), queue());
        let _goodbye = queue.start(Told { answers, asked }).unwrap();
        queue.push(b"bye\n");
        assert_eq!(asks.recv().unwrap(), b"bye\n");
        let reader = thread::spawn(move || answer.send(Ok(4)).map(|()| answer));
        queue.settle(Duration::from_secs(60));
        assert_eq!(queue.lock().in_flight, 0);
        drop(reader.join().unwrap());
    }
}
