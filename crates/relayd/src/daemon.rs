//! The assembly: from a configuration to running tasks, and back to nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::future::join_all;
use rustls::sign::CertifiedKey;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

use crate::{
    accept::Acceptor,
    clock::{self, ClockWatch, time_of_day},
    config::{AdminConfig, Config, IngestConfig, IngestTlsConfig, RelayConfig},
    egress::{Egress, EgressPolicy},
    events::EventBus,
    http::{Http, Rules, ffplay},
    ingest::{self, Census, Door, IngestTls, PushKeys},
    input,
    keep_up::keep_up,
    lanes::Lanes,
    logging::LogLevel,
    output::PublishPoints,
    relay_task::{RelayHandle, RelayTask, Shared},
    reload::{self, Asked},
    resolver::Resolver,
    signals::Signals,
    systemd,
    test_hooks::TestHooks,
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
pub async fn run(config: Config, log: LogLevel) -> anyhow::Result<Ended> {
    raise_descriptor_limit();
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let mut signals = Signals::new().context("signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals")?;
    let (reloads, mut asked) = mpsc::channel(1);
    let (mut daemon, ingest) = Daemon::start(config, log, reloads).await?;
    let settled = tokio::select! {
        () = daemon.settle() => true,
        () = signals.end() => false,
    };
    if settled {
        daemon.open_ingest(ingest);
        daemon.tell_ready();
        serve(&mut daemon, &mut signals, &mut hangup, &mut asked).await;
    }
    // Nobody is to wait for a reload that does not come.
    drop(asked);
    Ok(daemon.drain(&mut signals).await)
}

/// Reloads whenever somebody asks for it, until a signal ends it.
async fn serve(daemon: &mut Daemon, signals: &mut Signals, hangup: &mut Signal, asked: &mut mpsc::Receiver<Asked>) {
    let mut clock = ClockWatch::new(time_of_day(), Instant::now());
    loop {
        let (asked_by, reply) = tokio::select! {
            () = signals.end() => return,
            () = sleep(clock::INTERVAL) => {
                if let Some(seconds) = clock.jump(time_of_day(), Instant::now()) {
                    warn!(seconds, "the system's clock has jumped: what is shown jumps with it, nothing else does");
                }
                continue;
            }
            _ = hangup.recv() => ("SIGHUP", None),
            Some(Asked { reply }) = asked.recv() => ("API", Some(reply)),
        };
        systemd::reloading();
        let reloaded = tokio::select! {
            reloaded = reload::reload(daemon, asked_by) => reloaded,
            () = signals.end() => return,
        };
        systemd::ready();
        if let Some(reply) = reply {
            // Whoever asked may have left.
            let _ = reply.send(reloaded);
        }
    }
}

/// The ingest's listeners, bound and not accepting yet.
struct BoundIngest {
    plain: Option<Acceptor>,
    tls: Option<Acceptor>,
    certificate: Option<CertifiedKey>,
}

/// Everything that runs, as far as a reload changes it.
pub(crate) struct Daemon {
    /// What is in force.
    pub(crate) config: Config,
    pub(crate) log: LogLevel,
    /// In the order of the configuration.
    pub(crate) relays: Vec<Relay>,
    shared: Shared,
    http: Http,
    door: Door,
    /// With the rules of who may ask.
    pub(crate) admin: Option<(Listening, Rules)>,
    /// While there is no HTTP side: the rules of the last one, whose streams may still go on.
    admin_before: Option<Rules>,
    pub(crate) ingest: Option<Listening>,
    /// With the certificate that it shows.
    pub(crate) ingest_tls: Option<(Listening, IngestTls)>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    viewers: CancellationToken,
}

/// A relay's task.
pub(crate) struct Relay {
    /// What the task runs by.
    pub(crate) config: RelayConfig,
    pub(crate) handle: RelayHandle,
    /// Ends it in good order.
    pub(crate) cancel: CancellationToken,
}

/// A listener's task.
pub(crate) struct Listening {
    /// As configured: port 0 stays 0.
    pub(crate) address: SocketAddr,
    cancel: CancellationToken,
    /// Keeps it open, through panics of the task as well.
    pub(crate) socket: Acceptor,
}

impl Daemon {
    /// Listeners are bound and relays begin; nobody is told yet, and publishers wait.
    async fn start(config: Config, log: LogLevel, reloads: mpsc::Sender<Asked>) -> anyhow::Result<(Self, BoundIngest)> {
        // Listeners first: a port in use is told before any platform is bothered.
        let admin = match &config.admin {
            Some(admin) => Some(bind_named("admin.listen", admin.listen).await?),
            None => None,
        };
        let publishers = match &config.ingest {
            Some(ingest) => Some(bind_named("ingest.listen", ingest.listen).await?),
            None => None,
        };
        let (cancel, viewers) = (CancellationToken::new(), CancellationToken::new());
        let tls_config = config.ingest.as_ref().and_then(|ingest| ingest.tls.clone());
        let tls_publishers = match &tls_config {
            Some(tls) => Some(bind_named("ingest.tls_listen", tls.listen).await?),
            None => None,
        };
        let certificate = tls_config.as_ref().map(IngestTlsConfig::certificate).transpose()?;
        let ingest = BoundIngest { plain: publishers, tls: tls_publishers, certificate };
        let tls = TlsConfigs::load();
        let egress = Arc::new(EgressPolicy::of(&config));
        let limits = Arc::new(config.limits.clone());
        let census = Arc::new(Census::new(&limits));
        let door = Door { census: Arc::clone(&census), keys: PushKeys::default(), limits: Arc::clone(&limits) };
        let shared = Shared {
            inputs: input::Shared {
                tls: tls.native(),
                push_keys: door.keys.clone(),
                resolver: Resolver::system(),
                egress: Egress::Limited(Arc::clone(&egress)),
                limits,
            },
            egress,
            census,
            lanes: Lanes::start().context("threads")?,
            tls,
            points: PublishPoints::default(),
            events: EventBus::default(),
            watch_with: Arc::default(),
            hooks: TestHooks::from_env(),
        };
        if shared.hooks.are_on() {
            warn!(
                "RELAYD_TEST_HOOKS=1: whoever may use the API can break every relay; for tests, never for production"
            );
        }
        let http = Http::new(&shared, reloads, viewers.clone());
        let mut daemon = Self {
            config,
            log,
            relays: Vec::new(),
            shared,
            http,
            door,
            admin: None,
            admin_before: None,
            ingest: None,
            ingest_tls: None,
            tasks: TaskTracker::new(),
            cancel,
            viewers,
        };
        let admin_config = daemon.config.admin.clone();
        daemon.move_admin(admin_config.as_ref(), admin);
        for relay in daemon.config.relays.clone() {
            daemon.start_relay(&relay);
        }
        daemon.show_relays();
        Ok((daemon, ingest))
    }

    /// Lets publishers in, once their keys are known.
    fn open_ingest(&mut self, BoundIngest { plain, tls, certificate }: BoundIngest) {
        let config = self.config.ingest.clone();
        self.move_ingest(config.as_ref(), plain);
        let tls_config = config.as_ref().and_then(|ingest| ingest.tls.as_ref());
        self.move_tls_ingest(tls_config.zip(certificate), tls);
    }

    /// Waits until publishers find their keys, for as long as a relay may take to answer.
    async fn settle(&self) {
        join_all(self.relays.iter().map(|relay| relay.handle.settle())).await;
    }

    /// The start is complete.
    fn tell_ready(&self) {
        self.tasks.spawn(systemd::feed_watchdog(self.http.relays_now(), self.cancel.clone()));
        self.http.set_ready(true);
        let (path, relays) = (self.config.path.display(), self.relays.len());
        let io_uring = burst::is_available();
        info!(version = env!("CARGO_PKG_VERSION"), config = %path, relays, io_uring, "ready");
        systemd::ready();
    }

    pub(crate) fn start_relay(&mut self, config: &RelayConfig) {
        let cancel = self.cancel.child_token();
        let (task, handle) = RelayTask::new(config.clone(), self.shared.clone(), cancel.clone());
        let (lane, span) = (task.lane(), info_span!("relay", relay = config.name));
        self.tasks.spawn_on(task.run().instrument(span), lane.handle());
        self.relays.push(Relay { config: config.clone(), handle, cancel });
    }

    /// The HTTP side answers for these from now on.
    pub(crate) fn show_relays(&self) {
        self.http
            .set_relays(self.relays.iter().map(|relay| (relay.config.name.clone(), relay.handle.clone())).collect());
    }

    /// Where relays made over an API may go, as `config` has it.
    pub(crate) fn change_egress(&self, config: &Config) {
        self.shared.egress.set(config);
    }

    /// The HTTP side as `config` has it. It moves to `listener` if there is one; what the old one is answering has
    /// `admin_drain`.
    pub(crate) fn move_admin(&mut self, config: Option<&AdminConfig>, listener: Option<Acceptor>) {
        let Some(config) = config else {
            if let Some((listening, rules)) = self.admin.take() {
                self.admin_before = Some(rules.close());
                listening.cancel.cancel();
            }
            self.tell_how_to_watch(None);
            return;
        };
        let Some(acceptor) = listener else {
            if let Some((listening, rules)) = &self.admin {
                rules.set(config);
                let address = listening.socket.local_addr().unwrap_or(config.listen);
                self.tell_how_to_watch(Some(ffplay(address, config.token.is_some())));
            }
            return;
        };
        let (listening, before) = self.admin.take().unzip();
        let before = before.or_else(|| self.admin_before.take());
        let rules = before.map_or_else(|| Rules::new(config), |before| before.hand_over(config));
        if let Some(listening) = listening {
            listening.cancel.cancel();
        }
        let cancel = self.viewers.child_token();
        let address = acceptor.local_addr().unwrap_or(config.listen);
        info!(listen = %address, token = config.token.is_some(), "HTTP side");
        self.tell_how_to_watch(Some(ffplay(address, config.token.is_some())));
        let (http, in_force, stop, socket) = (self.http.clone(), rules.clone(), cancel.clone(), acceptor.clone());
        let serve = move || http.clone().serve(socket.clone(), in_force.clone(), stop.clone());
        // It goes on while the others drain, so it is none of those that a drain waits for.
        tokio::spawn(keep_up("HTTP side", serve));
        self.admin = Some((Listening { address: config.listen, cancel, socket: acceptor }, rules));
    }

    fn tell_how_to_watch(&self, command: Option<String>) {
        *self.shared.watch_with.write().unwrap_or_else(PoisonError::into_inner) = command;
    }

    /// The RTMP listener as `config` has it. It moves to `listener` if there is one; publishers that were let in stay.
    pub(crate) fn move_ingest(&mut self, config: Option<&IngestConfig>, listener: Option<Acceptor>) {
        if config.is_none() || listener.is_some() {
            self.ingest.take().inspect(|listening| listening.cancel.cancel());
        }
        let (Some(config), Some(acceptor)) = (config, listener) else { return };
        let cancel = self.cancel.child_token();
        info!(listen = %acceptor.local_addr().unwrap_or(config.listen), "RTMP ingest");
        let (door, stop, socket) = (self.door.clone(), cancel.clone(), acceptor.clone());
        let listen = keep_up("RTMP ingest", move || ingest::listen(socket.clone(), None, door.clone(), stop.clone()));
        self.tasks.spawn(listen);
        self.ingest = Some(Listening { address: config.listen, cancel, socket: acceptor });
    }

    /// The RTMPS listener with its certificate; the same as [`Self::move_ingest`].
    pub(crate) fn move_tls_ingest(
        &mut self,
        config: Option<(&IngestTlsConfig, CertifiedKey)>,
        listener: Option<Acceptor>,
    ) {
        if config.is_none() || listener.is_some() {
            self.ingest_tls.take().inspect(|(listening, _)| listening.cancel.cancel());
        }
        let Some((config, certificate)) = config else { return };
        let Some(acceptor) = listener else {
            if let Some((_, tls)) = &self.ingest_tls {
                tls.set(certificate);
            }
            return;
        };
        let cancel = self.cancel.child_token();
        info!(listen = %acceptor.local_addr().unwrap_or(config.listen), "RTMPS ingest");
        let tls = IngestTls::new(certificate);
        let (door, stop, socket, shown) = (self.door.clone(), cancel.clone(), acceptor.clone(), tls.clone());
        let listen = move || ingest::listen(socket.clone(), Some(shown.clone()), door.clone(), stop.clone());
        self.tasks.spawn(keep_up("RTMPS ingest", listen));
        self.ingest_tls = Some((Listening { address: config.listen, cancel, socket: acceptor }, tls));
    }

    async fn drain(self, signals: &mut Signals) -> Ended {
        info!("draining: outputs end their sessions");
        systemd::stopping();
        self.http.set_ready(false);
        self.cancel.cancel();
        self.tasks.close();
        let drained = async {
            if timeout(DRAIN_LIMIT, self.tasks.wait()).await.is_err() {
                warn!("tasks did not end in time");
            }
        };
        let mut ended = tokio::select! {
            () = drained => Ended::Drained,
            () = signals.end() => Ended::Killed,
        };
        self.viewers.cancel();
        if ended == Ended::Drained {
            ended = tokio::select! {
                _ = timeout(GOODBYE_LIMIT, self.http.ended()) => Ended::Drained,
                () = signals.end() => Ended::Killed,
            };
        }
        info!(?ended, "bye");
        ended
    }
}

pub(crate) async fn bind(address: SocketAddr) -> io::Result<Acceptor> {
    TcpListener::bind(address).await.map(Acceptor::new)
}

async fn bind_named(key: &str, address: SocketAddr) -> anyhow::Result<Acceptor> {
    bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
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

/// Within the five seconds that a service manager is promised.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);
/// For answers that are on their way, and for the ends of streams; a client that does not take its own is cut off.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
