//! The RTMP and RTMPS listeners for `push` inputs.

mod admit;
mod census;
mod closed;
mod keys;
mod tls;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

pub use self::{
    census::{Census, Guest},
    closed::Closed,
    keys::{Publisher, PushKeys, Registration},
    tls::{CertificateError, IngestTls, certified_key},
};
use crate::{accept::Acceptor, config::LimitsConfig};

/// What the listeners share.
#[derive(Clone, Debug)]
pub struct Door {
    /// Who is there.
    pub census: Arc<Census>,
    /// Who may publish.
    pub keys: PushKeys,
    /// What they may take.
    pub limits: Arc<LimitsConfig>,
}

/// Accepts publishers until it is cancelled. Each is led as far as its wish to publish, then handed to its input.
pub(crate) async fn listen(acceptor: Acceptor, tls: Option<IngestTls>, door: Door, cancel: CancellationToken) {
    while let Some((tcp, peer)) = acceptor.accept_until(&cancel).await {
        let Some((guest, pushed_out)) = door.census.enter(peer) else { continue };
        let (door, tls, cancel) = (door.clone(), tls.clone(), cancel.clone());
        let connection = async move {
            tokio::select! {
                () = admit::admit(tcp, tls, &door, guest) => {}
                () = pushed_out.cancelled() => {}
                () = cancel.cancelled() => {}
            }
        };
        tokio::spawn(connection.instrument(info_span!("ingest", %peer)));
    }
}
