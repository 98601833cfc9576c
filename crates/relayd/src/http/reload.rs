//! `POST /api/v1/reload`: the configuration file is read again.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::sync::oneshot;

use super::{Http, problem::Problem};
use crate::reload::{Asked, ReloadError};

/// Answers when everything that has changed has been carried out.
pub(super) async fn reload(State(http): State<Http>) -> Response {
    let (reply, answer) = oneshot::channel();
    let asked = http.reloads.send(Asked { reply }).await;
    let Some(answer) = (if asked.is_ok() { answer.await.ok() } else { None }) else {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining").into_response();
    };
    match answer {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(error) => {
            let status = match error {
                ReloadError::Config(_) | ReloadError::Certificate(_) => StatusCode::UNPROCESSABLE_ENTITY,
                ReloadError::Listen { .. } => StatusCode::CONFLICT,
                ReloadError::Thread(_) | ReloadError::Slow => StatusCode::SERVICE_UNAVAILABLE,
                ReloadError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Problem::new(status, error.to_string()).into_response()
        }
    }
}
