//! An RTMP server that records what publishers send. It shares no session or chunk code with the `rtmp` crate, so that it
//! is a check of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use rustls::server::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
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
/// How often a port is tried that was let go of.
const REBIND: Duration = Duration::from_millis(50);
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

/// Sees what publishers send as it comes. The [`Record`] of a connection then holds no messages, so that it stays small
/// however long the connection lasts.
pub trait Audience: fmt::Debug + Send + Sync {
    /// Connection `connection`, counted from 0, may publish.
    fn started(&self, connection: usize);
    /// It sent audio, video or data.
    fn received(&self, connection: usize, message: &Received);
    /// It is over.
    fn ended(&self, connection: usize, how: &Ended);
}

#[derive(Debug)]
struct Shared {
    audience: Option<Arc<dyn Audience>>,
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
    /// Nobody is let in.
    closed: bool,
    /// No connection is read faster.
    read_bytes_per_sec: Option<u32>,
    /// Connections of an earlier generation are over.
    generation: u64,
    /// They end with a reset.
    abruptly: bool,
}

impl Ingest {
    /// A server that accepts every publisher.
    pub async fn start() -> Self {
        Self::scripted(Script::default()).await
    }

    /// A server that misbehaves.
    pub async fn scripted(script: Script) -> Self {
        Self::opened(Self::bind(script, None, None)).await
    }

    /// A server that accepts every publisher and has an audience.
    pub async fn before(audience: Arc<dyn Audience>) -> Self {
        Self::opened(Self::bind(Script::default(), Some(audience), None)).await
    }

    /// A server that speaks TLS.
    pub async fn secure(identity: Identity, script: Script) -> Self {
        Self::opened(Self::bind(script, None, Some(identity.into_config()))).await
    }

    /// A server that refuses connections until it is opened.
    pub fn closed() -> Self {
        Self::bind(Script::default(), None, None)
    }

    async fn opened(mut self) -> Self {
        self.open().await;
        self
    }

    /// Accepts connections from now on.
    #[expect(clippy::unused_async, reason = "every peer of this crate is started the same way, within the runtime")]
    pub async fn open(&mut self) {
        if let Some(socket) = self.socket.take() {
            let listener = socket.listen(BACKLOG).expect("a bound socket can listen");
            self.accepting = Some(tokio::spawn(accept(listener, self.address, self.shared.clone())).abort_handle());
        }
    }

    fn bind(script: Script, audience: Option<Arc<dyn Audience>>, tls: Option<Arc<ServerConfig>>) -> Self {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            audience,
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

    /// Reads no faster than this from anyone, from now on; None: as fast as it can.
    pub fn read_slowly(&self, bytes_per_sec: Option<u32>) {
        self.shared.control.send_modify(|control| control.read_bytes_per_sec = bytes_per_sec);
    }

    /// Closes every connection. New ones are accepted.
    pub fn disconnect(&self) {
        self.end_connections(false);
    }

    /// Resets every connection. New ones are accepted.
    pub fn reset(&self) {
        self.end_connections(true);
    }

    /// Closes every connection, and refuses new ones from now on.
    pub fn stop_listening(&self) {
        self.shared.control.send_modify(|control| control.closed = true);
        self.end_connections(false);
    }

    /// Accepts connections again, on the same port.
    pub fn listen_again(&self) {
        self.shared.control.send_modify(|control| control.closed = false);
    }

    fn end_connections(&self, abruptly: bool) {
        self.shared.control.send_modify(|control| {
            control.generation += 1;
            control.abruptly = abruptly;
        });
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

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut control = shared.control.subscribe();
    let mut listener = Some(listener);
    loop {
        if control.borrow_and_update().closed {
            listener = None;
        } else if listener.is_none() {
            listener = listen(address).ok();
        }
        tokio::select! {
            accepted = next_connection(listener.as_ref()) => {
                let Ok((socket, peer)) = accepted else { return };
                let mut records = lock(&shared.records);
                let index = records.len();
                records.push(Record { peer: Some(peer), ..Record::default() });
                drop(records);
                shared.changed.send_modify(|count| *count += 1);
                let script = lock(&shared.script).clone();
                connections.spawn(session::run(socket, script, index, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
            changed = control.changed() => if changed.is_err() { return },
            // The port may be in use for a moment more.
            () = tokio::time::sleep(REBIND), if listener.is_none() => {}
        }
    }
}

async fn next_connection(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Keeps the port; connections are refused until it listens.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
