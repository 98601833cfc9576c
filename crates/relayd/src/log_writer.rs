//! Log lines on their way to stderr.
//!
//! Whoever logs carries media. A reader of the log that stops reading, or a disk that is full, is to cost lines and
//! nothing else: a thread of its own writes them, and what finds no room, or is not taken, is counted and told.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tracing::warn;

/// Takes lines, and never makes anybody wait.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter(Arc<Queue>);

/// What has been logged leaves before this is gone, within [`GOODBYE`].
#[derive(Debug)]
pub struct LogThread(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whole lines.
    lines: Vec<u8>,
    /// Others are being written.
    is_writing: bool,
}

/// Starts the thread that writes to `sink`.
pub(crate) fn start(sink: impl io::Write + Send + 'static) -> io::Result<(LogWriter, LogThread)> {
    let queue = Arc::new(Queue::default());
    let writer = Arc::clone(&queue);
    thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(sink))?;
    Ok((LogWriter(Arc::clone(&queue)), LogThread(queue)))
}

/// Lines that did not get to where they were to be written, since the start.
pub fn lost() -> u64 {
    LOST.load(Relaxed)
}

impl io::Write for LogWriter {
    /// `line` is a whole line. It is taken, or lost and counted.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + line.len() > ROOM {
            LOST.fetch_add(1, Relaxed);
        } else {
            waiting.lines.extend_from_slice(line);
            drop(waiting);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(self.0.lock(), GOODBYE, is_busy));
    }
}

impl Queue {
    fn run(&self, mut sink: impl io::Write) {
        let (mut lines, mut told) = (Vec::new(), 0);
        loop {
            let mut waiting = self.lock();
            waiting.is_writing = false;
            self.changed.notify_all();
            let idle = self.changed.wait_while(waiting, |waiting| waiting.lines.is_empty());
            let mut waiting = idle.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut waiting.lines, &mut lines);
            waiting.is_writing = true;
            drop(waiting);

            let left = write(&mut sink, &lines);
            LOST.fetch_add(left.iter().filter(|&&byte| byte == b'\n').count() as u64, Relaxed);
            let lost = lost();
            if left.is_empty() && lost > told {
                warn!(lines = lost - told, "log lines were lost: they could not be written");
                told = lost;
            }
            lines.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes `lines`. What is left of them could not be written.
fn write<'a>(sink: &mut impl io::Write, mut lines: &'a [u8]) -> &'a [u8] {
    while !lines.is_empty() {
        match sink.write(lines) {
            Ok(0) => break,
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Bytes of lines that may wait.
const ROOM: usize = 1 << 20;
/// How long the process may wait at its end for what has been logged.
const GOODBYE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::mpsc::{Receiver, SyncSender, sync_channel},
    };

    use super::*;

    /// Takes what it is told to take.
    struct Sink {
        answers: Receiver<io::Result<usize>>,
        asked: SyncSender<Vec<u8>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.send(bytes.to_owned()).unwrap();
            self.answers.recv().unwrap()
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_sink_that_takes_nothing_and_what_is_lost_is_counted() {
        let ((answer, answers), (asked, asks)) = (sync_channel(0), sync_channel(16));
        let (mut writer, thread) = start(Sink { answers, asked }).unwrap();
        writer.write_all(b"first\n").unwrap();
        assert_eq!(asks.recv().unwrap(), b"first\n");

        // It is busy with the first: what comes now has to fit.
        let line = [vec![b'.'; ROOM / 4 - 1], vec![b'\n']].concat();
        let before = lost();
        for _ in 0..6 {
            writer.write_all(&line).unwrap();
        }
        assert_eq!(lost() - before, 2);

        answer.send(Ok(2)).unwrap();
        assert_eq!(asks.recv().unwrap(), b"rst\n", "a line is written to its end");
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(asks.recv().unwrap().len(), ROOM, "the next are tried all the same");
        assert_eq!(lost() - before, 3);
        answer.send(Ok(ROOM)).unwrap();
        drop(thread);
        assert!(asks.try_recv().is_err());
    }
}
