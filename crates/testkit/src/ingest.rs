//! An RTMP server that records what publishers send. It shares no session or chunk code with the `rtmp` crate, so that it
//! is a check of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::server::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::DEADLINE;
use crate::tls::Identity;

mod chunks;
mod record;
mod replies;
mod script;
mod session;
mod socket;

pub use record::{Command, Ended, Received, Record, Tls};
pub use script::{Script, Step};

/// What the kernel may hold for a connection that is not read, in bytes: small, so that a stall is felt soon.
const RECEIVE_BUFFER: u32 = 64 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;

/// An RTMP server on loopback. Connections end when it is dropped.
#[derive(Debug)]
pub struct Ingest {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Bound, which keeps the port, and not listening yet.
    socket: Option<TcpSocket>,
    accepting: Option<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    records: Mutex<Vec<Record>>,
    /// Counts the changes of `records`.
    changed: watch::Sender<u64>,
    script: Mutex<Script>,
    /// It speaks TLS.
    tls: Option<Arc<ServerConfig>>,
    control: watch::Sender<Control>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Control {
    paused: bool,
    /// Connections of an earlier generation are over.
    generation: u64,
}

impl Ingest {
    /// A server that accepts every publisher.
    pub async fn start() -> Self {
        Self::scripted(Script::default()).await
    }

    /// A server that misbehaves.
    pub async fn scripted(script: Script) -> Self {
        let mut ingest = Self::bind(script, None);
        ingest.open().await;
        ingest
    }

    /// A server that speaks TLS.
    pub async fn secure(identity: Identity, script: Script) -> Self {
        let mut ingest = Self::bind(script, Some(identity.into_config()));
        ingest.open().await;
        ingest
    }

    /// A server that refuses connections until it is opened.
    pub fn closed() -> Self {
        Self::bind(Script::default(), None)
    }

    /// Accepts connections from now on.
    #[expect(clippy::unused_async, reason = "every peer of this crate is started the same way, within the runtime")]
    pub async fn open(&mut self) {
        if let Some(socket) = self.socket.take() {
            let listener = socket.listen(BACKLOG).expect("a bound socket can listen");
            self.accepting = Some(tokio::spawn(accept(listener, self.shared.clone())).abort_handle());
        }
    }

    fn bind(script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a new socket takes options");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            records: Mutex::default(),
            changed: watch::Sender::default(),
            script: Mutex::new(script),
            tls,
            control: watch::Sender::default(),
        });
        Self { address, shared, socket: Some(socket), accepting: None }
    }

    /// Where to publish: app `live`, with a stream key. With TLS the host is `localhost`.
    pub fn url(&self, key: &str) -> String {
        match self.shared.tls {
            Some(_) => format!("rtmps://localhost:{}/live/{key}", self.address.port()),
            None => format!("rtmp://{}/live/{key}", self.address),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the connections from now on meet.
    pub fn behave(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    /// Reads nothing more from anyone.
    pub fn pause(&self) {
        self.shared.control.send_modify(|control| control.paused = true);
    }

    /// Reads on.
    pub fn unpause(&self) {
        self.shared.control.send_modify(|control| control.paused = false);
    }

    /// Closes every connection. New ones are accepted.
    pub fn disconnect(&self) {
        self.shared.control.send_modify(|control| control.generation += 1);
    }

    /// Every connection so far, in the order they came.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.shared.records).clone()
    }

    /// The newest connection, once it has `n` frames of audio or video (headers not counted).
    pub async fn published(&self, n: usize) -> Record {
        self.until(&format!("{n} frames"), |records| {
            records.last().filter(|record| record.frames().count() >= n).cloned()
        })
        .await
    }

    /// The newest connection, once it has what `test` asks for.
    pub async fn newest(&self, what: &str, test: impl Fn(&Record) -> bool) -> Record {
        self.until(what, |records| records.last().filter(|record| test(record)).cloned()).await
    }

    /// Connection `index`, counted from 0, once it is over.
    pub async fn ended(&self, index: usize) -> Record {
        self.until(&format!("the end of connection {index}"), |records| {
            records.get(index).filter(|record| record.ended.is_some()).cloned()
        })
        .await
    }

    /// Waits until there have been `n` connections.
    pub async fn connected(&self, n: usize) {
        self.until(&format!("{n} connections"), |records| (records.len() >= n).then_some(())).await;
    }

    /// Waits until `probe` finds what it looks for. Panics with what the connections are like at the deadline.
    pub async fn until<T>(&self, what: &str, probe: impl Fn(&[Record]) -> Option<T>) -> T {
        self.until_within(DEADLINE, what, probe).await
    }

    /// [`Self::until`] with a deadline of its own.
    pub async fn until_within<T>(&self, deadline: Duration, what: &str, probe: impl Fn(&[Record]) -> Option<T>) -> T {
        let mut changed = self.shared.changed.subscribe();
        let found = tokio::time::timeout(deadline, async {
            loop {
                changed.mark_unchanged();
                let found = probe(&lock(&self.shared.records));
                match found {
                    Some(found) => return found,
                    None => changed.changed().await.expect("the sender lives in self"),
                }
            }
        })
        .await;
        match found {
            Ok(found) => found,
            Err(_) => panic!("{what}: not within {deadline:?} at {}; seen: {:#?}", self.address, self.records()),
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

impl Shared {
    fn update(&self, index: usize, change: impl FnOnce(&mut Record)) {
        if let Some(record) = lock(&self.records).get_mut(index) {
            change(record);
        }
        self.changed.send_modify(|count| *count += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { return };
                let mut records = lock(&shared.records);
                let index = records.len();
                records.push(Record::default());
                drop(records);
                shared.changed.send_modify(|count| *count += 1);
                let script = lock(&shared.script).clone();
                connections.spawn(session::run(socket, script, index, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
