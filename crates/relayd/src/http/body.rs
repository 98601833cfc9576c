//! The body of a request: read before anybody acts on it, in time and within its size.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{StatusCode, header::CONNECTION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{
    Http,
    access::{self, Pass},
    problem::Problem,
    refusals::Limit,
};

/// Reads the whole body, which `DefaultBodyLimit` bounds. A client that takes too long over it is let go; one whose token
/// is the token no more when it has come is refused.
pub(super) async fn read(State(http): State<Http>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let read = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let problem = match timeout(http.limits.admin_body_timeout, read).await {
        // The token may have become another while the body was on its way.
        Ok(Ok(_)) if parts.extensions.get().is_some_and(Pass::is_revoked) => return access::unauthorized(),
        Ok(Ok(body)) => return next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            http.refusals.add(Limit::Body, &"a request's body is too large");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than it may be")
        }
        Ok(Err(_)) => Problem::new(StatusCode::BAD_REQUEST, "the body cannot be read"),
        Err(_) => {
            http.refusals.add(Limit::BodyTimeout, &"a request's body does not come to its end");
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
        }
    };
    // What is left of the body is not waited for.
    ([(CONNECTION, "close")], problem).into_response()
}
