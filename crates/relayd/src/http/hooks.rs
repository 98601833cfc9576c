//! What only tests ask for: relays that go wrong on command. There is nothing of it unless `RELAYD_TEST_HOOKS=1` stands
//! in the environment.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};

use super::{Http, problem::Problem};

/// The hooks, or nothing.
pub(super) fn routes() -> Router<Http> {
    if std::env::var_os("RELAYD_TEST_HOOKS").is_none_or(|value| value != "1") {
        return Router::new();
    }
    tracing::warn!("RELAYD_TEST_HOOKS: relays can be broken over the API");
    Router::new().route("/api/v1/relays/{relay}/wedge", post(wedge))
}

/// The relay's task is stuck from now on.
async fn wedge(State(http): State<Http>, Path(name): Path<String>) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    relay.wedge().await;
    StatusCode::NO_CONTENT.into_response()
}
