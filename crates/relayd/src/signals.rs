//! The signals that the process knows.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that end it.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Waits for them from now on, and lets none of [`HARMLESS`] end the process any more.
    pub(crate) fn new() -> io::Result<Self> {
        for harmless in HARMLESS {
            // Nobody listens, but a signal that has been asked for once has lost what it does by itself.
            drop(signal(SignalKind::from_raw(harmless.as_raw()))?);
        }
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one.
    pub(crate) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// They would end the process without a word: the first comes when the log's file has grown to its limit, which costs
/// the lines alone; the others are what scripts for other daemons send to have a log opened anew.
const HARMLESS: [Number; 3] = [Number::XFSZ, Number::USR1, Number::USR2];
