//! The HTTP side: status, health, and the programme to watch.

mod access;
mod events;
mod hooks;
mod live;
mod metrics;
mod problem;
mod refusals;
mod server;
mod switch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
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
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use self::{
    access::Access,
    problem::Problem,
    refusals::{Limit, Refusals},
    server::Server,
};
use crate::{
    config::{AdminConfig, LimitsConfig},
    events::EventBus,
    ingest::Census,
    relay_task::{RelayHandle, Shared},
    status::RelayStatus,
};

/// What requests are answered from.
#[derive(Clone)]
pub struct Http {
    relays: Arc<Vec<(String, RelayHandle)>>,
    events: EventBus,
    panics: Arc<AtomicU64>,
    census: Arc<Census>,
    limits: Arc<LimitsConfig>,
    refusals: Arc<Refusals>,
    /// One for each viewer of the process.
    seats: Arc<Semaphore>,
    ready: Arc<AtomicBool>,
    started: SystemTime,
    cancel: CancellationToken,
}

impl Http {
    /// `relays` in the order of the configuration. Viewers are let go when `cancel` is.
    pub fn new(relays: Vec<(String, RelayHandle)>, shared: &Shared, cancel: CancellationToken) -> Self {
        Self {
            relays: Arc::new(relays),
            events: shared.events.clone(),
            panics: Arc::clone(&shared.panics),
            census: Arc::clone(&shared.census),
            seats: Arc::new(Semaphore::new(shared.inputs.limits.viewers)),
            limits: Arc::clone(&shared.inputs.limits),
            refusals: Arc::default(),
            ready: Arc::new(AtomicBool::new(false)),
            started: SystemTime::now(),
            cancel,
        }
    }

    /// What `/readyz` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// The relays that there are, each time it is called.
    pub fn relays(&self) -> impl Fn() -> Vec<(String, RelayHandle)> + use<> {
        let relays = Arc::clone(&self.relays);
        move || relays.to_vec()
    }

    /// Serves until cancelled.
    pub async fn serve(self, listener: TcpListener, admin: &AdminConfig) {
        let Self { limits, refusals, cancel, .. } = self.clone();
        Server::new(self.router(admin), &limits, refusals, cancel).run(listener).await;
    }

    fn router(self, admin: &AdminConfig) -> Router {
        let access = Arc::new(Access::new(admin));
        Router::new()
            .route("/", get(|| async { "relayd\n" }))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/api/v1/relays", get(relays))
            .route("/api/v1/relays/{relay}", get(relay))
            .route("/api/v1/relays/{relay}/switch", post(switch::switch))
            .route("/api/v1/relays/{relay}/ledger", get(events::ledger))
            .route("/api/v1/events", get(events::events))
            .route("/metrics", get(metrics::metrics))
            .route("/live/{file}", get(live::live))
            .merge(hooks::routes())
            .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path") })
            .method_not_allowed_fallback(|| async {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not know this method")
            })
            .layer(DefaultBodyLimit::max(self.limits.admin_body))
            .layer(middleware::map_response_with_state(self.clone(), count_large_bodies))
            .layer(middleware::from_fn_with_state(access, access::check))
            .with_state(self)
    }

    /// The status of every relay that answers: one that does not is no reason to hide the others.
    async fn statuses(&self) -> Vec<RelayStatus> {
        let ask = self.relays.iter().map(async |(name, relay)| {
            let status = relay.status().await;
            if status.is_none() {
                tracing::warn!(relay = name, "the relay does not answer");
            }
            status
        });
        futures::future::join_all(ask).await.into_iter().flatten().collect()
    }

    fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    fn relay(&self, name: &str) -> Option<&RelayHandle> {
        self.relays.iter().find(|(relay, _)| relay == name).map(|(_, handle)| handle)
    }
}

async fn count_large_bodies(State(http): State<Http>, response: Response) -> Response {
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        http.refusals.add(Limit::Body, &"a request's body is too large");
    }
    response
}

async fn ready(State(http): State<Http>) -> Response {
    if http.ready.load(Relaxed) {
        "ready\n".into_response()
    } else {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting or draining").into_response()
    }
}

#[derive(Serialize)]
struct Relays {
    relays: Vec<RelayStatus>,
}

async fn relays(State(http): State<Http>) -> Response {
    Json(Relays { relays: http.statuses().await }).into_response()
}

async fn relay(State(http): State<Http>, Path(name): Path<String>) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    match relay.status().await {
        Some(status) => Json(status).into_response(),
        None => Problem::silent().into_response(),
    }
}
