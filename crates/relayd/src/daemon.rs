//! The assembly: from a configuration to running tasks, and back to nothing.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, error, info, info_span, warn};

use crate::{
    config::Config,
    egress::{Egress, EgressPolicy},
    events::EventBus,
    http::Http,
    ingest::{self, Census, Door, IngestTls, PushKeys},
    input,
    lanes::Lanes,
    relay_task::{RelayTask, Shared},
    systemd,
    tls::TlsConfigs,
};

/// Why the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was drained.
    Drained,
    /// A second signal cut the drain short.
    Killed,
}

/// Runs until a signal ends it. An error means that it could not start: a listener cannot be bound.
pub async fn run(config: Config) -> anyhow::Result<Ended> {
    raise_descriptor_limit();
    let mut signals = Signals::new().context("signals")?;
    // Listeners first: a port in use is told before any platform is bothered.
    let admin = match &config.admin {
        Some(admin) => Some((bind(admin.listen, "admin.listen").await?, admin.clone())),
        None => None,
    };
    let publishers = match &config.ingest {
        Some(ingest) => Some(bind(ingest.listen, "ingest.listen").await?),
        None => None,
    };
    let tls_publishers = match config.ingest.as_ref().and_then(|ingest| ingest.tls.as_ref()) {
        Some(tls) => Some((bind(tls.listen, "ingest.tls_listen").await?, IngestTls::load(tls)?)),
        None => None,
    };

    let (cancel, viewers) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let tls = TlsConfigs::load();
    let egress = Arc::new(EgressPolicy::of(&config));
    let limits = Arc::new(config.limits.clone());
    let census = Arc::new(Census::new(&limits));
    let door = Door { census: Arc::clone(&census), keys: PushKeys::default(), limits: Arc::clone(&limits) };
    let shared = Shared {
        inputs: input::Shared {
            tls: tls.native(),
            push_keys: door.keys.clone(),
            egress: Egress::Limited(Arc::clone(&egress)),
            limits,
        },
        egress,
        tls,
        lanes: Lanes::start().context("threads")?,
        panics: Arc::default(),
        events: EventBus::default(),
        census,
        watch_at: admin.as_ref().and_then(|(listener, _)| listener.local_addr().ok()).map(|at| format!("http://{at}")),
    };
    if let Some(listener) = publishers {
        info!(listen = %listener.local_addr()?, "RTMP ingest");
        tasks.spawn(ingest::listen(listener, None, door.clone(), cancel.clone()));
    }
    let ingest_tls = tls_publishers.as_ref().map(|(_, tls)| tls.clone());
    if let Some((listener, tls)) = tls_publishers {
        info!(listen = %listener.local_addr()?, "RTMPS ingest");
        tasks.spawn(ingest::listen(listener, Some(tls), door, cancel.clone()));
    }
    let mut relays = Vec::new();
    for relay in &config.relays {
        let (task, handle) = RelayTask::new(relay.clone(), shared.clone(), cancel.clone());
        relays.push((relay.name.clone(), handle));
        let (lane, span) = (task.lane(), info_span!("relay", relay = relay.name));
        tasks.spawn_on(task.run().instrument(span), lane.handle());
    }
    let http = Http::new(relays, &shared, viewers.clone());
    if let Some((listener, admin)) = admin {
        info!(listen = %listener.local_addr()?, token = admin.token.is_some(), "HTTP side");
        let http = http.clone();
        tokio::spawn(async move { http.serve(listener, &admin).await });
    }
    tasks.spawn(systemd::feed_watchdog(http.relays(), cancel.clone()));
    http.set_ready(true);
    info!(version = env!("CARGO_PKG_VERSION"), config = %config.path.display(), relays = config.relays.len(), "ready");
    systemd::ready();

    signals.until_told_to_end(&config, ingest_tls.as_ref()).await;
    info!("draining: outputs end their sessions");
    http.set_ready(false);
    systemd::stopping();
    cancel.cancel();
    tasks.close();
    let drained = async {
        if timeout(DRAIN_LIMIT, tasks.wait()).await.is_err() {
            warn!("tasks did not end in time");
        }
    };
    let ended = tokio::select! {
        () = drained => Ended::Drained,
        () = signals.end() => Ended::Killed,
    };
    viewers.cancel();
    info!(?ended, "bye");
    Ok(ended)
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
}

/// Each output is a descriptor; the soft limit is for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, soft = limit.current, "the limit of open files stays as it is");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn until_told_to_end(&mut self, config: &Config, ingest_tls: Option<&IngestTls>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    systemd::reloading();
                    compare_with_file(config);
                    ingest_tls.inspect(|tls| tls.reload());
                    systemd::ready();
                }
            }
        }
    }
}

/// SIGHUP: the file is validated, and what a restart would change is told.
fn compare_with_file(running: &Config) {
    match Config::load(&running.path, &|name| env::var(name).ok()) {
        Ok(new) => {
            let changes = running.changes(&new);
            if changes.is_empty() {
                info!("SIGHUP: the configuration file is valid and nothing in it has changed");
            }
            for change in changes {
                info!(change, "SIGHUP: a restart would change this");
            }
        }
        Err(error) => error!(%error, "SIGHUP: the configuration file is not valid; nothing changes"),
    }
}

/// Within the five seconds that a service manager is promised.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);
