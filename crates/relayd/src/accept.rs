//! Accepting connections, whatever the system is short of.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
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

    /// The next connection; `None` once it is cancelled. Connections that wait then are for whoever has the socket next.
    pub(crate) async fn accept_until(&self, cancel: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            accepted = self.accept() => Some(accepted),
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => error,
            };
            if is_of_one_connection(&error) {
                self.tell(&error, "a connection failed before it was accepted");
            } else {
                self.tell(&error, "cannot accept; connections wait");
                sleep(PAUSE).await;
            }
        }
    }

    fn tell(&self, error: &io::Error, what: &'static str) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = throttle.admit(("accept", what), Instant::now()) {
            warn!(%error, suppressed, "{what}");
        }
    }
}

/// The error was the connection's own, which is gone: the next one is no worse off. Anything else stays until the system
/// has more to give, or for good.
fn is_of_one_connection(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| OF_ONE_CONNECTION.iter().any(|errno| errno.raw_os_error() == code))
}

/// accept(2): "already-pending network errors on the new socket", a firewall's refusal, and a signal.
const OF_ONE_CONNECTION: [Errno; 14] = [
    Errno::CONNABORTED,
    Errno::CONNRESET,
    Errno::PERM,
    Errno::INTR,
    Errno::TIMEDOUT,
    Errno::NETDOWN,
    Errno::PROTO,
    Errno::NOPROTOOPT,
    Errno::HOSTDOWN,
    Errno::NONET,
    Errno::HOSTUNREACH,
    Errno::OPNOTSUPP,
    Errno::NETUNREACH,
    Errno::NETRESET,
];
/// Between two attempts: a connection that waits keeps the socket ready, and trying at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_when_it_is_cancelled_is_left_to_whoever_has_the_socket_next() {
        let acceptor = Acceptor::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = acceptor.local_addr().unwrap();
        let clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let [before, after] = clients.map(|client| client.local_addr().unwrap());
        let cancel = CancellationToken::new();
        assert_eq!(acceptor.accept_until(&cancel).await.map(|(_, peer)| peer), Some(before));
        cancel.cancel();
        for _ in 0..64 {
            assert!(acceptor.accept_until(&cancel).await.is_none());
        }
        let next = acceptor.accept_until(&CancellationToken::new()).await;
        assert_eq!(next.map(|(_, peer)| peer), Some(after));
    }

    #[test]
    fn only_what_stays_is_a_reason_to_rest() {
        for (errno, rests) in [
            // Shortages.
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOBUFS, true),
            (Errno::NOMEM, true),
            // The listener's own, which cannot be: trying at once would spin.
            (Errno::BADF, true),
            (Errno::INVAL, true),
            (Errno::NOTSOCK, true),
            // One connection's.
            (Errno::CONNABORTED, false),
            (Errno::CONNRESET, false),
            (Errno::PERM, false),
            (Errno::INTR, false),
            (Errno::TIMEDOUT, false),
            (Errno::NETDOWN, false),
            (Errno::PROTO, false),
            (Errno::NOPROTOOPT, false),
            (Errno::HOSTDOWN, false),
            (Errno::NONET, false),
            (Errno::HOSTUNREACH, false),
            (Errno::OPNOTSUPP, false),
            (Errno::NETUNREACH, false),
            (Errno::NETRESET, false),
        ] {
            assert_eq!(!is_of_one_connection(&errno.into()), rests, "{errno:?}");
        }
        assert!(!is_of_one_connection(&io::ErrorKind::Other.into()), "no error of the system");
    }
}
