//! The socket on which a service manager hears from its services, sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};

use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::{DEADLINE, TempDir};

/// A service manager's socket. What it is sent is read in the order in which it came.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    address: String,
    _folder: Option<TempDir>,
}

impl NotifySocket {
    /// A socket with a path. Panics when there can be none.
    pub fn with_path() -> Self {
        let folder = TempDir::new();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the temporary folder takes a socket");
        let address = path.into_os_string().into_string().expect("the path is text");
        Self { socket, address, _folder: Some(folder) }
    }

    /// A socket with an abstract name, as in containers. Panics when there can be none.
    pub fn without_path() -> Self {
        let name = format!("relayd-test-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let bound = || {
            let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
            socket.set_nonblocking(true)?;
            UnixDatagram::from_std(socket)
        };
        Self { socket: bound().expect("the name is free"), address: format!("@{name}"), _folder: None }
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next message: assignments, one per line. Panics when none comes.
    pub async fn next(&self) -> String {
        let mut buffer = [0; 4_096];
        let received = timeout(DEADLINE, self.socket.recv(&mut buffer)).await;
        let length = received.expect("a message within the deadline").expect("the socket can be read");
        String::from_utf8(buffer[..length].to_vec()).expect("a message is text")
    }

    /// The messages that have come and were not read yet.
    pub fn waiting(&self) -> Vec<String> {
        let mut buffer = [0; 4_096];
        let next = || {
            self.socket.try_recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    /// Reads up to the first message that says `assignment`, and gives that. Panics when it does not come, with what
    /// came in its place.
    pub async fn until(&self, assignment: &str) -> String {
        let mut others = Vec::new();
        let found = timeout(DEADLINE, async {
            loop {
                let message = self.next().await;
                if message.lines().any(|line| line == assignment) {
                    return message;
                }
                others.push(message);
            }
        });
        found.await.unwrap_or_else(|_| panic!("{assignment} does not come, but {others:?}"))
    }
}
