//! The HTTP side: status, health, and the programme to watch.

mod access;
mod body;
mod events;
mod hang_up;
mod hooks;
mod live;
mod metrics;
mod places;
mod problem;
mod refusals;
mod reload;
mod seats;
mod server;
mod switch;
mod write_limit;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{access::Rules, live::ffplay};
use self::{
    places::Places,
    problem::Problem,
    refusals::{Limit, Refusals},
    seats::Seats,
    server::Server,
};
use crate::{
    accept::Acceptor,
    clock::time_of_day,
    config::LimitsConfig,
    events::EventBus,
    ingest::Census,
    relay_task::{RelayHandle, Shared},
    reload::Asked,
    status::RelayStatus,
    test_hooks::TestHooks,
};

/// What requests are answered from.
#[derive(Clone)]
pub struct Http {
    relays: Arc<RwLock<Arc<Relays>>>,
    events: EventBus,
    reloads: mpsc::Sender<Asked>,
    hooks: TestHooks,
    census: Arc<Census>,
    limits: Arc<LimitsConfig>,
    refusals: Arc<Refusals>,
    places: Arc<Places>,
    connections: TaskTracker,
    viewers: Seats,
    listeners: Seats,
    ready: Arc<AtomicBool>,
    started: SystemTime,
    cancel: CancellationToken,
}

/// The relays there are, in the order of the configuration.
pub type Relays = Vec<(String, RelayHandle)>;

impl Http {
    /// Without relays. Viewers are let go when `cancel` is; `reloads` is the way to whoever reloads.
    pub fn new(shared: &Shared, reloads: mpsc::Sender<Asked>, cancel: CancellationToken) -> Self {
        let limits = Arc::clone(&shared.inputs.limits);
        let of_viewers = "there are as many viewers as there may be";
        let of_listeners = "there are as many listeners to events as there may be";
        Self {
            relays: Arc::default(),
            events: shared.events.clone(),
            reloads,
            hooks: shared.hooks,
            census: Arc::clone(&shared.census),
            places: Arc::new(Places::new(&limits)),
            connections: TaskTracker::new(),
            viewers: Seats::new(limits.viewers, Limit::Viewers, of_viewers),
            listeners: Seats::new(limits.event_listeners, Limit::EventListeners, of_listeners),
            limits,
            refusals: Arc::default(),
            ready: Arc::new(AtomicBool::new(false)),
            started: time_of_day(),
            cancel,
        }
    }

    /// What `/readyz` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// The relays there are from now on.
    pub fn set_relays(&self, relays: Relays) {
        *self.relays.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(relays);
    }

    /// Serves by these rules until `stop`: then nobody is let in any more, and what is being answered has `admin_drain`.
    pub(crate) async fn serve(self, acceptor: Acceptor, rules: Rules, stop: CancellationToken) {
        Server::new(&self, self.clone().router(rules), stop).run(acceptor).await;
    }

    /// Waits until the last connection has ended. No listener is to be left.
    pub(crate) async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    fn router(self, rules: Rules) -> Router {
        let mut router = Router::new()
            .route("/", get(|| async { "relayd\n" }))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/api/v1/relays", get(relays))
            .route("/api/v1/relays/{relay}", get(relay))
            .route("/api/v1/relays/{relay}/switch", post(switch::switch))
            .route("/api/v1/relays/{relay}/ledger", get(events::ledger))
            .route("/api/v1/events", get(events::events))
            .route("/api/v1/reload", post(reload::reload))
            .route("/metrics", get(metrics::metrics))
            .route("/live/{file}", get(live::live));
        if self.hooks.are_on() {
            router = router
                .route("/api/v1/relays/{relay}/panic", post(hooks::panic))
                .route("/api/v1/relays/{relay}/wedge", post(hooks::wedge));
        }
        router
            .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path") })
            .method_not_allowed_fallback(|| async {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not know this method")
            })
            .layer(middleware::map_response(problem::retell))
            .layer(middleware::from_fn_with_state(self.clone(), body::read))
            .layer(DefaultBodyLimit::max(self.limits.admin_body))
            .layer(middleware::from_fn_with_state(rules, access::check))
            .with_state(self)
    }

    /// The relays that there are, each time it is called.
    pub fn relays_now(&self) -> impl Fn() -> Arc<Relays> + use<> {
        let http = self.clone();
        move || http.relays()
    }

    fn relays(&self) -> Arc<Relays> {
        Arc::clone(&self.relays.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The status of every relay that answers: one that does not is no reason to hide the others.
    async fn statuses(&self) -> Vec<RelayStatus> {
        let relays = self.relays();
        let ask = relays.iter().map(async |(name, relay)| {
            let status = relay.status().await;
            if status.is_none() {
                tracing::warn!(relay = name, "the relay does not answer");
            }
            status
        });
        futures::future::join_all(ask).await.into_iter().flatten().collect()
    }

    fn relay(&self, name: &str) -> Option<RelayHandle> {
        self.relays().iter().find(|(relay, _)| relay == name).map(|(_, handle)| handle.clone())
    }
}

async fn ready(State(http): State<Http>) -> Response {
    if http.ready.load(Relaxed) {
        "ready\n".into_response()
    } else {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting or draining").into_response()
    }
}

#[derive(Serialize)]
struct Statuses {
    relays: Vec<RelayStatus>,
}

async fn relays(State(http): State<Http>) -> Response {
    Json(Statuses { relays: http.statuses().await }).into_response()
}

async fn relay(State(http): State<Http>, Path(name): Path<String>) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    match relay.status().await {
        Some(status) => Json(status).into_response(),
        None => Problem::silent().into_response(),
    }
}
