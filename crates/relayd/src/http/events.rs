//! The ledger of a relay, and the events of all as they happen.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::{Http, access::Pass, problem::Problem};

/// The last events of a relay, oldest first.
pub(super) async fn ledger(State(http): State<Http>, Path(name): Path<String>) -> Response {
    let Some(relay) = http.relay(&name) else { return Problem::no_such_relay().into_response() };
    let told = relay.ledger.events();
    let events: Vec<_> = told.iter().map(|told| &**told).collect();
    Json(json!({ "events": events })).into_response()
}

/// Server-sent events: every event of every relay from now on.
pub(super) async fn events(State(http): State<Http>, Extension(pass): Extension<Pass>) -> Response {
    let seat = match http.listeners.take(&http.refusals) {
        Ok(seat) => seat,
        Err(problem) => return problem.into_response(),
    };
    let listener = (http.events.subscribe(), http.cancel.clone(), pass, seat);
    let events = stream::unfold(listener, |(mut receiver, cancel, pass, seat)| async {
        loop {
            let received = tokio::select! {
                biased;
                () = pass.revoked() => return None,
                () = cancel.cancelled() => return None,
                received = receiver.recv() => received,
            };
            match received {
                Ok(told) => {
                    let event = Event::default().id(told.seq.to_string()).json_data(&*told);
                    // Events are plain strings and numbers; one that cannot be written is left out.
                    if let Ok(event) = event {
                        return Some((Ok::<_, Infallible>(event), (receiver, cancel, pass, seat)));
                    }
                }
                // The numbers show what a slow listener has missed.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
