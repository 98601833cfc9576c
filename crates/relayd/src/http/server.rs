//! Connections to the HTTP side, within limits.

use std::{convert::Infallible, error::Error, io, iter::successors, net::SocketAddr, pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    body::Incoming,
    server::conn::http1::{self, Parts},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    Http,
    hang_up::{Answer, HangUp},
    places::Places,
    refusals::{Limit, Refusals},
    write_limit::WriteLimit,
};
use crate::accept::Acceptor;

/// What every connection to a listener gets.
#[derive(Clone)]
pub(super) struct Server {
    http: http1::Builder,
    router: Router,
    write_timeout: Duration,
    drain: Duration,
    places: Arc<Places>,
    connections: TaskTracker,
    refusals: Arc<Refusals>,
    cancel: CancellationToken,
}

impl Server {
    /// Answers by `router` until it is cancelled.
    pub(super) fn new(side: &Http, router: Router, cancel: CancellationToken) -> Self {
        let limits = &side.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .half_close(true)
            .header_read_timeout(limits.admin_head_timeout)
            .max_headers(limits.admin_headers)
            .max_header_size(limits.admin_head);
        Self {
            http,
            router,
            write_timeout: limits.admin_write_timeout,
            drain: limits.admin_drain,
            places: Arc::clone(&side.places),
            connections: side.connections.clone(),
            refusals: Arc::clone(&side.refusals),
            cancel,
        }
    }

    /// Serves until cancelled; requests that are being answered may go on for `admin_drain`.
    pub(super) async fn run(self, acceptor: Acceptor) {
        while let Some((tcp, peer)) = acceptor.accept_until(&self.cancel).await {
            match self.places.take(peer.ip()) {
                Ok(place) => {
                    let connection = self.clone().converse(tcp, peer);
                    self.connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(limit) => self.refusals.add(limit, &peer),
            }
        }
    }

    async fn converse(self, tcp: TcpStream, peer: SocketAddr) {
        tune(&tcp, self.write_timeout);
        let answer = Answer::default();
        let stream = TokioIo::new(WriteLimit::new(HangUp::new(tcp, answer.clone()), self.write_timeout));
        let router = TowerToHyperService::new(self.router.into_service::<Incoming>());
        let service = service_fn(|request| {
            let (answering, answer) = (router.call(request), &answer);
            async move {
                let mut response = answering.await?;
                answer.begin(&mut response);
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = self.http.serve_connection(stream, service);
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = self.cancel.cancelled() => {
                pin::Pin::new(&mut connection).graceful_shutdown();
                timeout(self.drain, &mut connection).await.ok()
            }
        };
        match ended {
            Some(Ok(())) => {}
            None => self.refusals.add(Limit::Drain, &peer),
            Some(Err(error)) if error.is_parse_too_large() => self.refusals.add(Limit::Head, &peer),
            Some(Err(error)) if error.is_timeout() => {
                let Parts { io, read_buf, .. } = connection.into_parts();
                // Who was answered and asks no more keeps to the rules: most clients leave their connections open.
                if !read_buf.is_empty() || !io.inner().has_written() {
                    self.refusals.add(Limit::HeadTimeout, &peer);
                }
            }
            Some(Err(error)) if is_of_socket(&error, io::ErrorKind::TimedOut) => {
                self.refusals.add(Limit::WriteTimeout, &peer);
            }
            Some(Err(error)) => debug!(%peer, %error, "a connection to the HTTP side ended"),
        }
    }
}

/// None of these options is needed to answer, so a kernel that refuses one is no reason to fail.
fn tune(tcp: &TcpStream, write_timeout: Duration) {
    let socket = SockRef::from(tcp);
    let _ = socket.set_tcp_nodelay(true);
    // What a client does not take shows where it is written, not megabytes later.
    let _ = socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL);
    // The kernel holds what is too little for a write to wait, such as the events of a quiet day, to the same limit.
    let _ = socket.set_tcp_user_timeout(Some(write_timeout));
    // Who vanishes while there is nothing to write would keep a seat: the kernel asks for a sign of life.
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(BETWEEN_PROBES));
}

fn is_of_socket(error: &hyper::Error, kind: io::ErrorKind) -> bool {
    successors(error.source(), |&error| error.source())
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind))
}

/// Bytes that may wait in the kernel beyond what is in flight.
const UNSENT_IN_KERNEL: u32 = 64 << 10;
/// A client that is silent for so long is asked whether it is still there. A viewer is silent for as long as nothing is
/// relayed, and one seat in [`SILENCE`] costs two empty packets.
const SILENCE: Duration = Duration::from_secs(10);
/// A question without an answer is asked again after this. One that has been open for the write timeout since the client was
/// last heard ends the connection then.
const BETWEEN_PROBES: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The wire cannot be cut on loopback: what the kernel has been told is all that can be seen.
    #[tokio::test]
    async fn the_kernel_is_told_to_ask_silent_clients_for_a_sign_of_life() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        tune(&tcp, Duration::from_secs(7));
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap());
        let (time, interval) = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
        assert_eq!((time, interval), (SILENCE, BETWEEN_PROBES));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)), "which the questions keep to");
        drop(client);
    }
}
