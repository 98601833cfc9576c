//! `push` inputs: a publisher that the ingest listener has let in.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use relay::Report;
use rtmp::ingest::{Ingest, IngestEvent, key_matches};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};
use tracing::info;

use super::{Command, Gone, Link, error::InputError};
use crate::config::PushConfig;

/// A connection that has asked to publish and has been given a key's place.
pub struct Publisher {
    /// Its socket.
    pub stream: TcpStream,
    /// Its session, not yet accepted.
    pub session: Ingest,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// The keys of all push inputs that are wanted now, and the way to each.
#[derive(Clone, Debug, Default)]
pub struct PushKeys(Arc<Mutex<HashMap<Vec<u8>, Place>>>);

/// A key's place: one publisher at a time.
#[derive(Clone, Debug)]
struct Place {
    way: mpsc::Sender<Publisher>,
    taken: Arc<AtomicBool>,
}

/// What became of a publisher's wish.
pub enum Admission {
    /// It now belongs to the input.
    Admitted,
    /// No input has this key.
    UnknownKey(Publisher),
    /// Somebody publishes there.
    Busy(Publisher),
}

impl PushKeys {
    /// Hands a publisher to the input of its key. Every key is compared, in constant time each.
    pub fn admit(&self, app: &[u8], key: &[u8], publisher: Publisher) -> Admission {
        let keys = self.lock();
        let mut found = None;
        for (configured, place) in keys.iter() {
            if key_matches(configured, app, key) {
                found = Some(place);
            }
        }
        let Some(place) = found else { return Admission::UnknownKey(publisher) };
        if place.taken.swap(true, Ordering::AcqRel) {
            return Admission::Busy(publisher);
        }
        match place.way.try_send(publisher) {
            Ok(()) => Admission::Admitted,
            Err(TrySendError::Full(publisher) | TrySendError::Closed(publisher)) => Admission::Busy(publisher),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An input's hold on its key; given back when it is dropped.
struct Registration {
    keys: PushKeys,
    key: Vec<u8>,
    taken: Arc<AtomicBool>,
    publishers: mpsc::Receiver<Publisher>,
}

impl Registration {
    fn new(keys: &PushKeys, key: &[u8]) -> Self {
        let (way, publishers) = mpsc::channel(1);
        let taken = Arc::new(AtomicBool::new(false));
        keys.lock().insert(key.to_vec(), Place { way, taken: Arc::clone(&taken) });
        Self { keys: keys.clone(), key: key.to_vec(), taken, publishers }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Another input may have been given the key by now.
        let mut keys = self.keys.lock();
        if keys.get(&self.key).is_some_and(|place| Arc::ptr_eq(&place.taken, &self.taken)) {
            keys.remove(&self.key);
        }
    }
}

/// Serves one publisher after the other.
pub(super) async fn run(config: &PushConfig, keys: &PushKeys, mut link: Link) -> Result<(), Gone> {
    let mut registration = Registration::new(keys, config.key.expose().as_bytes());
    loop {
        link.report(vec![Report::Waiting]).await?;
        let publisher = tokio::select! {
            publisher = registration.publishers.recv() => publisher.ok_or(Gone)?,
            command = link.commands.recv() => match command {
                Some(_) => continue,
                None => return Err(Gone),
            },
        };
        let peer = publisher.peer;
        info!(%peer, "a publisher was let in");
        link.report(vec![Report::Connected]).await?;
        let error = serve(publisher, &mut link).await?;
        registration.taken.store(false, Ordering::Release);
        link.lost(&error, None).await?;
    }
}

/// One publisher, from its acceptance to its end. The answer says why it ended.
async fn serve(publisher: Publisher, link: &mut Link) -> Result<InputError, Gone> {
    let Publisher { mut stream, mut session, .. } = publisher;
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    session.accept();
    loop {
        if let Err(error) = send_replies(&mut stream, &mut session).await {
            return Ok(error);
        }
        buffer.clear();
        let read = tokio::select! {
            read = stream.read_buf(&mut buffer) => read,
            command = link.commands.recv() => match command {
                Some(Command::Restart(reason)) => return Ok(InputError::Restarted(reason)),
                Some(Command::Play) => continue,
                None => return Err(Gone),
            },
        };
        let bytes = match read {
            Ok(0) => return Ok(InputError::Left),
            Ok(bytes) => bytes,
            Err(error) => return Ok(InputError::Broken(error)),
        };
        let mut reports = vec![Report::Bytes(bytes as u64)];
        let handled = session.handle_input(&buffer);
        let mut left = false;
        while let Some(event) = session.next_event() {
            match event {
                IngestEvent::Tag(tag) => reports.push(Report::Tag(tag)),
                IngestEvent::Unpublished => left = true,
                IngestEvent::Publish { .. } => {}
            }
        }
        link.report(reports).await?;
        if let Err(error) = handled {
            return Ok(error.into());
        }
        if left {
            let _ = send_replies(&mut stream, &mut session).await;
            tokio::spawn(part(stream));
            return Ok(InputError::Left);
        }
    }
}

/// A publisher sends more after its FCUnpublish; a socket closed under it would look like a failure there.
async fn part(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = [0; 1_024];
    let _ = timeout(PARTING, async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} }).await;
}

async fn send_replies(stream: &mut TcpStream, session: &mut Ingest) -> Result<(), InputError> {
    while let Some(reply) = session.take_output() {
        timeout(REPLY_LIMIT, stream.write_all(&reply))
            .await
            .map_err(|_| InputError::Broken(io::ErrorKind::TimedOut.into()))?
            .map_err(InputError::Broken)?;
    }
    Ok(())
}

/// Read at once from a publisher's socket.
const READ_SIZE: usize = 64 << 10;
/// How long a publisher that has left may take to close.
const PARTING: Duration = Duration::from_secs(1);
/// How long a publisher may leave a reply unread.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
