//! Reading the configuration file again while everything runs. What has not changed in it notices nothing.

mod listeners;

use std::{env, io, mem, net::SocketAddr, panic::AssertUnwindSafe, path::PathBuf, thread, time::Duration};

use futures::{FutureExt, future::join_all};
use serde::Serialize;
use tokio::{sync::oneshot, time::timeout};
use tracing::{error, info, warn};

use self::listeners::Listeners;
use crate::{
    config::{Changes, Config, ConfigError, IngestTlsConfig, RelayConfig},
    daemon::Daemon,
    ingest::CertificateError,
};

/// A wish for a reload over the API, and where the answer goes.
#[derive(Debug)]
pub struct Asked {
    pub(crate) reply: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

/// What a reload has changed, one line each, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Carried out.
    pub changes: Vec<String>,
    /// What differs in the file and cannot be changed while running; it goes on as it was.
    pub needs_restart: Vec<String>,
    /// What concerns a relay that does not answer; it goes on as it was, and the next reload tries it again.
    pub not_applied: Vec<String>,
}

/// Why a reload did not do what the file asks for. Nothing has changed, except after [`Panicked`](Self::Panicked).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file cannot be read, or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener cannot move to its new address.
    #[error("{key}: cannot listen on {address}: {source}{}", two_reloads(*.in_the_way))]
    Listen {
        /// The key with its table.
        key: &'static str,
        /// The new address.
        address: SocketAddr,
        /// What relayd itself listens on until the reload has been carried out, and what excludes the new address.
        in_the_way: Option<SocketAddr>,
        /// What the system said.
        source: io::Error,
    },
    /// The RTMPS listener's certificate cannot be used.
    #[error("ingest.tls_cert: {0}")]
    Certificate(#[from] CertificateError),
    /// No thread can be started to read the file.
    #[error("cannot start a thread to read the configuration: {0}")]
    Thread(#[source] io::Error),
    /// The file, or one that it names, is not read to its end.
    #[error("the configuration could not be read within {READ_LIMIT:?}: does the file system answer?")]
    Slow,
    /// A bug in relayd.
    #[error(
        "a bug in relayd: the reload panicked, at the place that the log names; what came before it is in force, the rest is \
         as it was: reload again, or restart"
    )]
    Panicked,
}

fn two_reloads(in_the_way: Option<SocketAddr>) -> String {
    let why = |own| {
        format!(
            "; relayd itself listens on {own} until it has moved: move to another port first, and with a second reload here"
        )
    };
    in_the_way.map_or_else(String::new, why)
}

/// Reads the file again and carries out what has changed, for `SIGHUP` or whoever else asked. One at a time.
pub(crate) async fn reload(daemon: &mut Daemon, asked_by: &'static str) -> Result<Reloaded, ReloadError> {
    let reloaded = AssertUnwindSafe(daemon.reload()).catch_unwind().await.unwrap_or(Err(ReloadError::Panicked));
    match &reloaded {
        Ok(Reloaded { changes, needs_restart, not_applied }) => {
            if changes.is_empty() && needs_restart.is_empty() && not_applied.is_empty() {
                info!(asked_by, "reload: nothing has changed");
            }
            for change in changes {
                info!(asked_by, "reload: {change}");
            }
            for change in needs_restart {
                warn!(asked_by, "reload: needs a restart: {change}");
            }
            for change in not_applied {
                error!(asked_by, "reload: not applied: {change}");
            }
        }
        Err(error @ ReloadError::Panicked) => error!(asked_by, %error, "reload: cut short"),
        Err(error) => error!(asked_by, %error, "reload: nothing changes"),
    }
    reloaded
}

/// Reads the configuration on a thread of its own: a file system that does not answer holds up nothing else.
async fn load(path: PathBuf) -> Result<Config, ReloadError> {
    let (tell, told) = oneshot::channel();
    let read = move || {
        // Whoever asked may have stopped waiting.
        let _ = tell.send(Config::load(&path, &|name| env::var(name).ok()));
    };
    thread::Builder::new().name("reload".to_owned()).spawn(read).map_err(ReloadError::Thread)?;
    let config = timeout(READ_LIMIT, told).await.map_err(|_| ReloadError::Slow)?;
    Ok(config.map_err(|_| ReloadError::Panicked)??)
}

impl Daemon {
    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let path = self.config.path.clone();
        let new = load(path).await?;
        for warning in new.warnings() {
            warn!("reload: {warning}");
        }
        // What can fail comes first: beyond here nothing is refused any more.
        let Listeners { admin, ingest, tls_ingest } = Listeners::bind(self, &new).await?;
        let tls_config = new.ingest.as_ref().and_then(|it| it.tls.as_ref());
        let certificate = tls_config.map(IngestTlsConfig::certificate).transpose()?;

        // What only a restart changes goes on as it was, and is told again by the next reload.
        let mut fixed = new.clone();
        fixed.log.format = self.config.log.format;
        fixed.limits.clone_from(&self.config.limits);
        if self.config.log.level != new.log.level && !self.log.set(&new.log.level) {
            fixed.log.level.clone_from(&self.config.log.level);
        }
        self.change_egress(&new);
        self.move_admin(new.admin.as_ref(), admin);
        self.change_relays(&new.relays).await;
        // Last: whoever comes there finds his key.
        self.move_ingest(new.ingest.as_ref(), ingest);
        self.move_tls_ingest(tls_config.zip(certificate), tls_ingest);
        // So does a relay that does not answer.
        let relays = self.relays.iter().map(|relay| relay.config.clone()).collect();
        let before = mem::replace(&mut self.config, Config { relays, ..fixed.clone() });

        let Changes { live: overridden, mut needs_restart } = fixed.changes(&new);
        needs_restart.extend(overridden.iter().map(|it| format!("{it} (overridden by RUST_LOG or --log-level)")));
        let not_applied = self.config.changes(&fixed).live;
        Ok(Reloaded {
            changes: before.changes(&self.config).live,
            needs_restart,
            not_applied: not_applied.iter().map(|it| format!("{it} (the relay does not answer)")).collect(),
        })
    }

    /// Relays are known by their names.
    async fn change_relays(&mut self, new: &[RelayConfig]) {
        let listed = |name: &str| new.iter().find(|config| config.name == name);
        for gone in self.relays.extract_if(.., |relay| listed(&relay.config.name).is_none()) {
            gone.cancel.cancel();
        }
        let changed = self.relays.iter_mut().filter_map(|relay| {
            let config = listed(&relay.config.name)?;
            (relay.config != *config).then_some((relay, config))
        });
        join_all(changed.map(async |(relay, config)| {
            if relay.handle.reconfigure(config.clone()).await {
                relay.config = config.clone();
            }
        }))
        .await;
        let kept = self.relays.len();
        for config in new {
            if self.relays.iter().all(|relay| relay.config.name != config.name) {
                self.start_relay(config);
            }
        }
        join_all(self.relays[kept..].iter().map(|relay| relay.handle.settle())).await;
        let place = |name: &str| new.iter().position(|config| config.name == name);
        self.relays.sort_by_key(|relay| place(&relay.config.name));
        self.show_relays();
    }
}

/// How long the configuration and the files that it names may take to be read.
const READ_LIMIT: Duration = Duration::from_secs(10);
