//! The reading end of a daemon's log.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::sync::watch;

/// Whoever reads the log of a [`Relayd`](crate::Relayd).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogReader {
    /// It is read.
    #[default]
    Reads,
    /// It is not read, and soon has no room.
    Rests,
    /// Nobody is there any more: writing to it fails.
    Gone,
}

/// A pipe of one page, so that it fills up soon, and what came out of it.
#[derive(Debug)]
pub(crate) struct LogPipe {
    text: Arc<Mutex<String>>,
    reader: watch::Sender<LogReader>,
}

impl LogPipe {
    pub(crate) fn read(pipe: ChildStderr) -> Self {
        fcntl_setpipe_size(&pipe, PAGE).expect("no page has been written yet");
        let (text, (reader, orders)) = (Arc::default(), watch::channel(LogReader::default()));
        tokio::spawn(collect(pipe, Arc::clone(&text), orders));
        Self { text, reader }
    }

    /// What was read so far.
    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reader(&self, reader: LogReader) {
        self.reader.send_replace(reader);
    }
}

async fn collect(pipe: ChildStderr, text: Arc<Mutex<String>>, mut orders: watch::Receiver<LogReader>) {
    let mut lines = BufReader::new(pipe).lines();
    loop {
        let reader = *orders.borrow_and_update();
        if reader == LogReader::Gone {
            return;
        }
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            line = lines.next_line(), if reader == LogReader::Reads => {
                let Ok(Some(line)) = line else { return };
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
}

/// Bytes. The system rounds up to its own page.
const PAGE: usize = 4_096;
