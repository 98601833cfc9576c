//! The RTMP listener for `push` inputs.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use rtmp::ingest::{Ingest, IngestEvent, IngestLimits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, info_span, warn};

use crate::{
    accept::Acceptor,
    input::{Admission, Publisher, PushKeys},
};

/// Accepts publishers until it is cancelled. Each is led as far as its wish to publish, then handed to its input.
pub(crate) async fn listen(acceptor: Acceptor, keys: PushKeys, cancel: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = acceptor.accept() => accepted,
            () = cancel.cancelled() => return,
        };
        if connections.len() >= MAX_UNPUBLISHED {
            warn!(%peer, "closed: {MAX_UNPUBLISHED} connections wait to publish already");
            continue;
        }
        let admitted = timeout(PUBLISH_LIMIT, admit(stream, peer, keys.clone()));
        let cancel = cancel.clone();
        let connection = async move {
            tokio::select! {
                admitted = admitted => if admitted.is_err() {
                    warn!("closed: no publish within {}", humantime::format_duration(PUBLISH_LIMIT));
                },
                () = cancel.cancelled() => {}
            }
        };
        connections.spawn(connection.instrument(info_span!("ingest", %peer)));
    }
}

/// Leads a connection up to its wish to publish and hands it on, or refuses it.
async fn admit(mut stream: TcpStream, peer: SocketAddr, keys: PushKeys) {
    let _ = stream.set_nodelay(true);
    let mut session = Ingest::new(IngestLimits::default());
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    loop {
        buffer.clear();
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return debug!("left before it published"),
            Ok(_) => {}
            Err(error) => return debug!(%error, "the connection broke before it published"),
        }
        let handled = session.handle_input(&buffer);
        if send(&mut stream, &mut session).await.is_err() {
            return;
        }
        if let Err(error) = handled {
            return warn!(%error, "closed");
        }
        while let Some(event) = session.next_event() {
            if let IngestEvent::Publish { app, key } = event {
                let publisher = Publisher { stream, session, peer };
                return match keys.admit(&app, key.as_bytes(), publisher) {
                    Admission::Admitted => {}
                    Admission::UnknownKey(publisher) => refuse(publisher, "no such stream key").await,
                    Admission::Busy(publisher) => refuse(publisher, "the stream key is in use").await,
                };
            }
        }
    }
}

async fn refuse(publisher: Publisher, why: &'static str) {
    let Publisher { mut stream, mut session, peer } = publisher;
    warn!(%peer, why, "refused a publisher");
    // The answer does not tell an unknown key from one in use: what keys exist is nobody's business.
    session.reject("NetStream.Publish.BadName", "the stream key is not accepted");
    if send(&mut stream, &mut session).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

async fn send(stream: &mut TcpStream, session: &mut Ingest) -> std::io::Result<()> {
    while let Some(reply) = session.take_output() {
        stream.write_all(&reply).await?;
    }
    Ok(())
}

/// From the first byte to the publish command.
const PUBLISH_LIMIT: Duration = Duration::from_secs(10);
/// Connections that have not published yet.
const MAX_UNPUBLISHED: usize = 256;
/// Commands are small.
const READ_SIZE: usize = 8 << 10;
