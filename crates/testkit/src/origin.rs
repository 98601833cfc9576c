//! The HTTP server that serves feeds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::feed::{Feed, Source};
use crate::{DEADLINE, eventually};

mod connection;

/// An HTTP-FLV server on loopback. Connections end when it is dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    feeds: Feeds,
    accepting: AbortHandle,
}

type Feeds = Arc<Mutex<HashMap<String, Arc<State>>>>;

/// One path of an [`Origin`]: where it is, who asked for it, and what happens to it next.
#[derive(Clone, Debug)]
pub struct Served {
    url: String,
    state: Arc<State>,
}

/// One request for a feed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query as sent.
    pub target: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// When it came.
    pub at: Instant,
}

impl Request {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
struct State {
    feed: Feed,
    control: watch::Sender<Control>,
    requests: Mutex<Vec<Request>>,
    /// The encode's position when the first client came.
    origin: OnceLock<u64>,
}

#[derive(Clone, Debug, Default)]
struct Control {
    status: Option<u16>,
    stalled: bool,
    /// Connections of an earlier generation are over.
    generation: u64,
}

impl Origin {
    /// Listens on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let feeds = Feeds::default();
        let accepting = tokio::spawn(accept(listener, feeds.clone())).abort_handle();
        Self { address, feeds, accepting }
    }

    /// Puts a feed at `/path.flv`.
    pub fn serve(&self, path: &str, feed: Feed) -> Served {
        let state = Arc::new(State {
            feed,
            control: watch::Sender::default(),
            requests: Mutex::default(),
            origin: OnceLock::new(),
        });
        let path = format!("/{path}.flv");
        let url = format!("http://{}{path}", self.address);
        lock(&self.feeds).insert(path, state.clone());
        Served { url, state }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Served {
    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection. New ones are served.
    pub fn kill(&self) {
        self.state.control.send_modify(|control| control.generation += 1);
    }

    /// Answers new requests with a status.
    pub fn set_status(&self, status: u16) {
        self.state.control.send_modify(|control| control.status = Some(status));
    }

    /// Sends nothing more; connections stay open, new ones get headers at most.
    pub fn stall(&self) {
        self.state.control.send_modify(|control| control.stalled = true);
    }

    /// Takes [`Self::set_status`] and [`Self::stall`] back. What a stall held back follows at once.
    pub fn resume(&self) {
        self.state.control.send_modify(|control| {
            control.status = None;
            control.stalled = false;
        });
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).clone()
    }

    /// Waits for the n-th request, counted from 1.
    pub async fn requested(&self, n: usize) -> Request {
        eventually(&format!("request {n} for {}", self.url), DEADLINE, async || {
            let requests = self.requests();
            requests.get(n - 1).cloned().ok_or_else(|| format!("{} requests", requests.len()))
        })
        .await
    }
}

impl State {
    fn origin(&self) -> u64 {
        match &self.feed.source {
            Source::Live(encode) => *self.origin.get_or_init(|| encode.clock().position()),
            Source::Whole(..) => 0,
        }
    }
}

async fn accept(listener: TcpListener, feeds: Feeds) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(answer(socket, feeds.clone()));
                }
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(mut socket: TcpStream, feeds: Feeds) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let request = connection::read_request(&mut socket).await?;
    let path = request.target.split('?').next().unwrap_or_default();
    let state = lock(&feeds).get(path).cloned();
    match state {
        Some(state) => connection::serve(socket, request, &state).await,
        None => connection::refuse(&mut socket, 404, None).await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
