//! Connections to the HTTP side, within limits.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::refusals::{Limit, Refusals};
use crate::{accept::Acceptor, config::LimitsConfig};

/// What every connection gets.
#[derive(Clone)]
pub(super) struct Server {
    http: http1::Builder,
    router: Router,
    places: Arc<Semaphore>,
    refusals: Arc<Refusals>,
    cancel: CancellationToken,
}

impl Server {
    pub(super) fn new(
        router: Router,
        limits: &LimitsConfig,
        refusals: Arc<Refusals>,
        cancel: CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.admin_head_timeout)
            .max_headers(limits.admin_headers)
            .max_header_size(limits.admin_head);
        Self { http, router, places: Arc::new(Semaphore::new(limits.admin_connections)), refusals, cancel }
    }

    /// Serves until cancelled; requests that are being answered may go on to their end.
    pub(super) async fn run(self, acceptor: Acceptor) {
        loop {
            let (tcp, peer) = tokio::select! {
                accepted = acceptor.accept() => accepted,
                () = self.cancel.cancelled() => return,
            };
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => {
                    let connection = self.clone().converse(tcp, peer);
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(_) => self.refusals.add(Limit::Connections, &peer),
            }
        }
    }

    async fn converse(self, tcp: TcpStream, peer: SocketAddr) {
        let _ = tcp.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.into_service::<Incoming>());
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(tcp), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        match ended {
            Ok(()) => {}
            Err(error) if error.is_parse_too_large() => self.refusals.add(Limit::Head, &peer),
            Err(error) if error.is_timeout() => self.refusals.add(Limit::HeadTimeout, &peer),
            Err(error) => debug!(%peer, %error, "a connection to the HTTP side ended"),
        }
    }
}
