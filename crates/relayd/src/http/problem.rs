//! Errors as `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tracing::error;

/// What is wrong with a request. The detail never repeats what was sent: it may hold a secret.
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    field: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), field: None }
    }

    /// Names the part of the body that is at fault.
    pub(super) fn with_field(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    pub(super) fn no_such_relay() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no relay of this name")
    }

    /// The relay's task did not answer.
    pub(super) fn silent() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the relay does not answer")
    }
}

/// Refusals of axum's own, such as that of a path that is no UTF-8, become problems as well.
pub(super) async fn retell(response: Response) -> Response {
    let status = response.status();
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if status.is_client_error() {
        return Problem::new(status, "the request is malformed").into_response();
    }
    error!(%status, "a bug in relayd: a request has failed");
    Problem::new(status, "a bug in relayd").into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let mut body =
            json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        (self.status, [(CONTENT_TYPE, PROBLEM_JSON)], body.to_string()).into_response()
    }
}

const PROBLEM_JSON: &str = "application/problem+json";
