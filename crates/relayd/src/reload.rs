//! Reading the configuration file again while everything runs. What has not changed in it notices nothing.

use std::{env, io, net::SocketAddr, panic::AssertUnwindSafe};

use futures::{FutureExt, future::join_all};
use serde::Serialize;
use tokio::{net::TcpListener, sync::oneshot, task::spawn_blocking};
use tracing::{error, info, warn};

use crate::{
    config::{Config, ConfigError, IngestTlsConfig, RelayConfig},
    daemon::{Daemon, bind},
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
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file cannot be read, or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener cannot move to its new address.
    #[error("{key}: cannot listen on {address}: {source}")]
    Listen {
        /// The key with its table.
        key: &'static str,
        /// The new address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The RTMPS listener's certificate cannot be used.
    #[error("ingest.tls_cert: {0}")]
    Certificate(#[from] CertificateError),
    /// A bug in relayd.
    #[error("the reload panicked; the log says where")]
    Panicked,
}

/// Reads the file again and carries out what has changed, for `SIGHUP` or whoever else asked. One at a time.
pub(crate) async fn reload(daemon: &mut Daemon, asked_by: &'static str) -> Result<Reloaded, ReloadError> {
    let reloaded = AssertUnwindSafe(daemon.reload()).catch_unwind().await.unwrap_or(Err(ReloadError::Panicked));
    match &reloaded {
        Ok(Reloaded { changes, needs_restart }) => {
            if changes.is_empty() && needs_restart.is_empty() {
                info!(asked_by, "reload: nothing has changed");
            }
            for change in changes {
                info!(asked_by, "reload: {change}");
            }
            for change in needs_restart {
                warn!(asked_by, "reload: needs a restart: {change}");
            }
        }
        Err(error) => error!(asked_by, %error, "reload: nothing changes"),
    }
    reloaded
}

impl Daemon {
    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let path = self.config.path.clone();
        let load = spawn_blocking(move || Config::load(&path, &|name| env::var(name).ok()));
        let mut new = load.await.map_err(|_| ReloadError::Panicked)??;
        // What can fail comes first: beyond here nothing is refused any more.
        let admin = new_listener("admin.listen", self.admin_address(), new.admin.as_ref().map(|it| it.listen)).await?;
        let (ingest_config, tls_config) = (new.ingest.as_ref(), new.ingest.as_ref().and_then(|it| it.tls.as_ref()));
        let ingest = new_listener("ingest.listen", self.ingest_address(), ingest_config.map(|it| it.listen)).await?;
        let tls_ingest =
            new_listener("ingest.tls_listen", self.tls_ingest_address(), tls_config.map(|it| it.listen)).await?;
        let certificate = tls_config.map(IngestTlsConfig::certificate).transpose()?;

        let changes = self.config.changes(&new);
        let mut reloaded = Reloaded { changes: changes.live, needs_restart: changes.needs_restart };
        if self.config.log.level != new.log.level && !self.log.set(&new.log.level) {
            let level = reloaded.changes.extract_if(.., |change| change.starts_with("log: level: "));
            reloaded
                .needs_restart
                .extend(level.map(|change| format!("{change} (overridden by RUST_LOG or --log-level)")));
            new.log.level.clone_from(&self.config.log.level);
        }
        // What needs a restart goes on as it was, and is told again by the next reload.
        new.log.format = self.config.log.format;
        new.limits.clone_from(&self.config.limits);
        self.change_egress(&new);
        self.move_admin(new.admin.as_ref(), admin);
        self.move_ingest(new.ingest.as_ref(), ingest);
        let tls_config = new.ingest.as_ref().and_then(|it| it.tls.as_ref());
        self.move_tls_ingest(tls_config.zip(certificate), tls_ingest);
        self.change_relays(&new.relays).await;
        self.config = new;
        Ok(reloaded)
    }

    /// Relays are known by their names.
    async fn change_relays(&mut self, new: &[RelayConfig]) {
        let is_listed = |name: &str| new.iter().any(|config| config.name == name);
        for gone in self.relays.extract_if(.., |relay| !is_listed(&relay.name)) {
            gone.cancel.cancel();
        }
        let before = |name: &str| self.config.relays.iter().find(|config| config.name == name);
        let changed = new.iter().filter_map(|config| {
            let relay = self.relays.iter().find(|relay| relay.name == config.name)?;
            (before(&config.name) != Some(config)).then_some((relay, config))
        });
        join_all(changed.map(async |(relay, config)| {
            if relay.handle.reconfigure(config.clone()).await.is_none() {
                error!(relay = relay.name, "reload: the relay does not answer");
            }
        }))
        .await;
        for config in new {
            if self.relays.iter().all(|relay| relay.name != config.name) {
                self.start_relay(config);
            }
        }
        let place = |name: &str| new.iter().position(|config| config.name == name);
        self.relays.sort_by_key(|relay| place(&relay.name));
        self.show_relays();
    }
}

/// A socket for an address that is listened on from now on; none when nothing changes, or nobody listens any more.
async fn new_listener(
    key: &'static str,
    old: Option<SocketAddr>,
    new: Option<SocketAddr>,
) -> Result<Option<TcpListener>, ReloadError> {
    match new {
        Some(address) if old != Some(address) => match bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(source) => Err(ReloadError::Listen { key, address, source }),
        },
        _ => Ok(None),
    }
}
