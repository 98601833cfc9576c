//! What only tests ask for: tasks that go wrong on command, so that it is seen what becomes of the others. The paths do
//! not exist unless test hooks are on.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{Http, problem::Problem};
use crate::relay_task::PanicIn;

#[derive(Deserialize)]
#[serde(tag = "task", rename_all = "lowercase", deny_unknown_fields)]
enum Panic {
    Relay {},
    Input { name: String },
    Output { id: String },
    Flusher { id: String },
}

/// `POST …/panic`: a task panics. Answers 202 as soon as it has been told.
pub(super) async fn panic(State(http): State<Http>, Path(name): Path<String>, body: Bytes) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    let task = match serde_json::from_slice(&body) {
        Ok(Panic::Relay {}) => PanicIn::Relay,
        Ok(Panic::Input { name }) => PanicIn::Input(name),
        Ok(Panic::Output { id }) => PanicIn::Output(id),
        Ok(Panic::Flusher { id }) => PanicIn::Flusher(id),
        Err(_) => {
            let problem =
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the body is to be {\"task\": \"relay\"}, or …");
            return problem.with_field("task").into_response();
        }
    };
    match relay.panic(task).await {
        Some(true) => StatusCode::ACCEPTED.into_response(),
        Some(false) => Problem::new(StatusCode::NOT_FOUND, "there is no such task").into_response(),
        None => Problem::silent().into_response(),
    }
}

/// `POST …/wedge`: the relay's task is stuck from now on, for as many milliseconds as the body says, or for ever.
pub(super) async fn wedge(State(http): State<Http>, Path(name): Path<String>, body: Bytes) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    relay.wedge(serde_json::from_slice(&body).ok().map(Duration::from_millis)).await;
    StatusCode::NO_CONTENT.into_response()
}
