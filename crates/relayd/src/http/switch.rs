//! `POST …/switch`: another input is to feed.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{Http, problem::Problem};
use crate::relay_task::Switched;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    input: String,
}

/// Answers 202 with the status, in which the selection has changed already.
pub(super) async fn switch(State(http): State<Http>, Path(name): Path<String>, body: Bytes) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    let Ok(Switch { input }) = serde_json::from_slice(&body) else {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the body is to be {\"input\": \"name\"}");
        return problem.with_field("input").into_response();
    };
    match relay.switch(input).await {
        Some(Switched::Done(status)) => (StatusCode::ACCEPTED, Json(status)).into_response(),
        Some(Switched::NoSuchInput) => {
            Problem::new(StatusCode::NOT_FOUND, "the relay has no input of this name").into_response()
        }
        Some(Switched::NotRunning) => Problem::new(StatusCode::CONFLICT, "the relay is not running").into_response(),
        None => Problem::silent().into_response(),
    }
}
