//! Accepting connections, whatever the system is short of.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

use crate::throttle::Throttle;

/// A listening socket that never gives up: without descriptors or memory, accepting waits and is tried again.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    listener: Arc<TcpListener>,
    throttle: Arc<Mutex<Throttle>>,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener: Arc::new(listener), throttle: Arc::default() }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn tell(&self, error: &io::Error) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = throttle.admit(("accept", ""), Instant::now()) {
            warn!(%error, suppressed, "cannot accept; connections wait");
        }
    }

    /// The way to it for a task that is not to keep the socket open.
    pub(crate) fn downgrade(&self) -> impl Fn() -> Option<Self> + use<> {
        let (listener, throttle) = (Arc::downgrade(&self.listener), Arc::clone(&self.throttle));
        move || Some(Self { listener: listener.upgrade()?, throttle: Arc::clone(&throttle) })
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    self.tell(&error);
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Between two attempts: a connection that waits keeps the socket ready, and trying at once would spin.
const PAUSE: Duration = Duration::from_millis(100);
