//! Input tasks: bytes to tags, one task per input.

mod error;
mod files;
mod guard;
mod pull;
mod push;
mod stream;
mod vod;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use relay::{Reason, Report};
use tokio::sync::mpsc;
use tracing::warn;

use self::error::InputError;
pub use self::files::Files;
use crate::{
    config::{InputConfig, InputSource, LimitsConfig, PullConfig, VodConfig},
    egress::Egress,
    ingest::{PushKeys, Registration},
    resolver::Resolver,
    status::LastError,
    throttle::Throttle,
};

/// What an input's task tells the relay task: a batch of reports.
#[derive(Debug)]
pub struct Reports {
    /// The number of the task that reports.
    pub task: u64,
    /// In order.
    pub reports: Vec<Report>,
}

/// What the relay task tells an input's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Close the connection and begin anew after a backoff, because of this.
    Restart(Reason),
    /// A vod is to play from its first item.
    Play,
}

/// What an input's task shows besides its reports. It outlives the task.
#[derive(Debug, Default)]
pub struct InputMeter {
    last_error: Mutex<Option<LastError>>,
    lost: Mutex<BTreeMap<&'static str, u64>>,
}

impl InputMeter {
    /// Something went wrong.
    pub fn failed(&self, error: LastError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// A connection ended, or did not come about, for this reason.
    pub fn lost(&self, reason: Reason) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner).entry(reason.name()).or_default() += 1;
    }

    /// How often it was lost, by reason.
    pub fn lost_by_reason(&self) -> Vec<(&'static str, u64)> {
        self.lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect()
    }

    /// The last thing that went wrong.
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What every kind of input task works with.
struct Link {
    task: u64,
    reports: mpsc::Sender<Reports>,
    commands: mpsc::Receiver<Command>,
    meter: Arc<InputMeter>,
    throttle: Throttle,
}

impl Link {
    /// Shows and logs why a connection ended, and tells the relay task; the next attempt is made after `retry_in`.
    async fn lost(&mut self, error: &InputError, retry_in: Option<Duration>) -> Result<(), Gone> {
        let reason = error.reason();
        if let Some(suppressed) = self.throttle.admit(("lost", reason.name()), Instant::now()) {
            warn!(reason = reason.name(), %error, ?retry_in, suppressed, "the input was lost");
        }
        self.meter.failed(error.to_last_error());
        self.meter.lost(reason);
        self.report(vec![Report::Lost { reason }]).await
    }

    /// Waits while the relay task is behind: the peer's TCP is what slows down then. An error means the relay is gone.
    async fn report(&self, mut reports: Vec<Report>) -> Result<(), Gone> {
        while !reports.is_empty() {
            // One read can hold tens of thousands of tags of two bytes each; what waits on the way is counted in batches.
            let rest = reports.split_off(BATCH.min(reports.len()));
            let batch = Reports { task: self.task, reports: std::mem::replace(&mut reports, rest) };
            self.reports.send(batch).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Lets `wait` pass. Commands that come meanwhile mean a connection that no longer exists.
    async fn pause(&mut self, wait: Duration) -> Result<(), Gone> {
        let end = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(()),
                command = self.commands.recv() => if command.is_none() { return Err(Gone) },
            }
        }
    }
}

/// Reports that are handed over at once.
const BATCH: usize = 1_024;

/// The relay task has let go of this input.
#[derive(Debug)]
struct Gone;

/// Runs an input until the relay task drops its end of `commands` or of `reports`. `task` is the number it reports under;
/// `files` are the same for all tasks of one input.
///
/// The key of a push input is known from the call on, not only once the task has its turn: whoever is told that the input
/// is there may send a publisher at once.
pub fn run(
    task: u64,
    config: InputConfig,
    shared: Shared,
    reports: mpsc::Sender<Reports>,
    commands: mpsc::Receiver<Command>,
    meter: Arc<InputMeter>,
    files: Files,
) -> impl Future<Output = ()> {
    let link = Link { task, reports, commands, meter, throttle: Throttle::default() };
    let source = match config.source {
        InputSource::Pull(pull) => Source::Pull(pull),
        InputSource::Push(push) => Source::Push(shared.push_keys.register(&push)),
        InputSource::Vod(vod) => Source::Vod(vod),
    };
    async move {
        // `Gone` is the ordinary end.
        let _ = match source {
            Source::Pull(pull) => pull::run(pull, &shared, link).await,
            Source::Push(registration) => push::run(registration, link).await,
            Source::Vod(vod) => vod::run(vod, &shared, &files, link).await,
        };
    }
}

/// Where an input's media comes from, ready to run.
enum Source {
    Pull(PullConfig),
    Push(Registration),
    Vod(VodConfig),
}

/// What the inputs of a relay share, and but for `egress` those of all relays.
#[derive(Clone, Debug)]
pub struct Shared {
    /// For https.
    pub tls: Arc<rustls::ClientConfig>,
    /// The keys that publishers may use.
    pub push_keys: PushKeys,
    /// What may be reached. Each relay puts in its own.
    pub egress: Egress,
    /// Asks for the addresses of names, for outputs as well.
    pub resolver: Resolver,
    /// What sources may take.
    pub limits: Arc<LimitsConfig>,
}
