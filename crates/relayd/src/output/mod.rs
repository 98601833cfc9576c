//! Output tasks: each publishes one relay's programme to one platform, and minds nobody else's business.

mod alarm;
mod connect;
mod error;
mod flusher;
mod live;
mod meter;
mod points;
mod session;
mod wire;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use relay::{Backoff, Cursor, RetryPolicy};
use rtmp::publish::Retry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{connect::connect, error::OutputError, session::End};
pub use self::{
    flusher::Flushers,
    meter::{OutputMeter, OutputState},
    points::PublishPoints,
};
use crate::{
    config::OutputConfig,
    egress::Egress,
    fanout::{Fanout, Head},
    lanes::Lane,
    resolver::Resolver,
    test_hooks::Hook,
};

/// What an output's task is made of.
pub struct Output {
    /// Its configuration.
    pub config: OutputConfig,
    /// The log it reads.
    pub fanout: Arc<Fanout>,
    /// The log's head, as seen from where the task runs.
    pub head: watch::Receiver<Head>,
    /// What writes for the sessions of its relay.
    pub flushers: Flushers,
    /// Where it runs.
    pub lane: Lane,
    /// What it shows.
    pub meter: Arc<OutputMeter>,
    /// Its TLS configuration, shared by all outputs that trust the same roots.
    pub tls: Arc<rustls::ClientConfig>,
    /// What it may connect to.
    pub egress: Egress,
    /// Asks for the addresses of its server.
    pub resolver: Resolver,
    /// Where outputs publish now.
    pub points: PublishPoints,
    /// Lets tests make it panic.
    pub hook: Hook,
    /// Ends it in good order.
    pub cancel: CancellationToken,
}

impl Output {
    /// Publishes, again and again, until it is cancelled or gives up.
    pub async fn run(self) {
        let (_kept, retry) = watch::channel(self.config.retry);
        self.run_retrying(retry).await;
    }

    /// The same, coming back by a policy that may change; the configuration's is not looked at. A change does nothing to
    /// a session; an output that waits, or has given up, tries at once and counts anew.
    ///
    /// Waits on: its publish point, then media to send, then one session at a time, then the backoff.
    pub async fn run_retrying(self, mut retry: watch::Receiver<RetryPolicy>) {
        self.meter.enter(OutputState::Idle);
        let _point = tokio::select! {
            point = self.points.take(self.config.target.publish_point()) => point,
            () = self.cancel.cancelled() => return,
        };
        let mut backoff = Backoff::new(*retry.borrow_and_update());
        let mut cursor = Cursor::new(self.config.policy);
        let mut had_session = false;
        loop {
            self.meter.enter(OutputState::Idle);
            let programme = tokio::select! {
                programme = self.media(&cursor) => programme,
                () = self.cancel.cancelled() => return,
            };
            self.meter.enter(OutputState::Connecting);
            if std::mem::replace(&mut had_session, true) {
                self.meter.reconnects.fetch_add(1, Relaxed);
            }
            let ended = self.session(programme, &mut cursor, &mut backoff).await;
            cursor.rejoin();
            self.meter.oldest_unsent(None);
            match ended {
                Ok(End::Cancelled) => return,
                Ok(End::ProgrammeEnded) => info!("the programme has ended; the session was closed"),
                Ok(End::FormatChanged) => info!("the format changed; a new session begins"),
                Err(error) => {
                    if !self.wait_after(&error, &mut backoff, &mut retry).await {
                        return;
                    }
                }
            }
        }
    }

    async fn session(&self, programme: u64, cursor: &mut Cursor, backoff: &mut Backoff) -> Result<End, OutputError> {
        let stream = tokio::select! {
            // Boxed: a TLS handshake takes kilobytes, and an output keeps the room for as long as it lives.
            stream = Box::pin(connect(&self.config, &self.tls, &self.egress, &self.resolver)) => stream?,
            () = self.cancel.cancelled() => return Ok(End::Cancelled),
        };
        let on_live = || {
            backoff.succeeded(Instant::now());
            info!(url = %self.config.target, "live");
        };
        session::run(self, stream, cursor, programme, on_live).await
    }

    /// Returns the programme once the log has a place to begin. A platform shows a session without media as a broken
    /// one.
    async fn media(&self, cursor: &Cursor) -> u64 {
        let mut head = self.head.clone();
        loop {
            head.mark_unchanged();
            // Of one look: the head may lag behind the log, and what begins there may be another programme already.
            let programme = {
                let log = self.fanout.log();
                cursor.is_behind(&log).then(|| log.programme())
            };
            if let Some(programme) = programme {
                return programme;
            }
            if head.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits before the next attempt; false when there is to be none.
    async fn wait_after(
        &self,
        error: &OutputError,
        backoff: &mut Backoff,
        retry: &mut watch::Receiver<RetryPolicy>,
    ) -> bool {
        let now = Instant::now();
        // Another policy came during the attempt: what failed under the one before is no reason to give up under this.
        if retry.has_changed().unwrap_or(false) {
            *backoff = Backoff::new(*retry.borrow_and_update());
        }
        let wait = match error.retry() {
            Retry::Normal => backoff.failed(now, fastrand::f64()),
            Retry::Slow => backoff.refused(now, fastrand::f64()),
            Retry::Never => None,
        };
        self.meter.failed(error.to_last_error(), wait.map(|wait| now + wait));
        match wait {
            Some(wait) => {
                warn!(url = %self.config.target, kind = error.kind(), %error, retry_in = ?wait, "the session failed");
            }
            None => warn!(url = %self.config.target, kind = error.kind(), %error, "gives up"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => true,
            Ok(()) = retry.changed() => {
                *backoff = Backoff::new(*retry.borrow_and_update());
                true
            }
            () = self.cancel.cancelled() => false,
        }
    }
}
