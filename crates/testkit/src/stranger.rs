//! A client of an RTMP listener that says what it is told to.

use std::io;
use std::net::{IpAddr, SocketAddr};

use flv::amf0::{self, Props, Value};
use rtmp::url::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::DEADLINE;
use crate::publisher::{Connection, PublisherError};

/// A connection whose every byte is the test's. Dropping it closes the connection.
#[derive(Debug)]
pub struct Stranger {
    socket: TcpStream,
}

impl Stranger {
    /// Connects and says nothing.
    pub async fn connect(to: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: TcpStream::connect(to).await? })
    }

    /// The same from an address of one's choice; all of 127.0.0.0/8 are this machine's.
    pub async fn connect_from(from: impl Into<IpAddr>, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.into(), 0))?;
        Ok(Self { socket: socket.connect(to).await? })
    }

    /// Connects and gets as far as being let in to publish; everything that follows is the test's. Panics when `url` is
    /// no RTMP URL.
    pub async fn publishing(url: &str) -> Result<Self, PublisherError> {
        let target = Target::parse(url).expect("a test's URL is one");
        let connecting = timeout(DEADLINE, Connection::open(target));
        let (connection, _) = connecting.await.map_err(|_| PublisherError::Timeout)??;
        Ok(Self { socket: connection.into_socket() })
    }

    /// Sends bytes. What the server makes of them shows in [`ended`](Self::ended): it may have closed already.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Shakes hands, and announces chunks as large as messages.
    pub async fn greet(&mut self) -> io::Result<()> {
        let c0_and_c1 = [&[3][..], &[0; 1536]].concat();
        self.socket.write_all(&c0_and_c1).await?;
        let mut s0_s1_s2 = [0; 1 + 2 * 1536];
        self.socket.read_exact(&mut s0_s1_s2).await?;
        self.socket.write_all(&s0_s1_s2[1..=1536]).await?;
        self.socket.write_all(&message(2, 1, &0xFF_FFFF_u32.to_be_bytes())).await
    }

    /// Shakes hands and asks to publish, up to the command itself.
    pub async fn ask(&mut self, app: &str, stream: &str) -> io::Result<()> {
        self.greet().await?;
        let app: Props = [("app", Value::str(app))].into_iter().collect();
        self.say(&command("connect", &[Value::Object(app)])).await;
        self.say(&command("createStream", &[Value::Null])).await;
        self.say(&command("publish", &[Value::Null, Value::str(stream), Value::str("live")])).await;
        Ok(())
    }

    /// Waits until the server closes the connection, in whatever way, and gives what it sent before. Panics when it does
    /// not.
    pub async fn ended(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // A reset is an end like any other.
        let _ = timeout(DEADLINE, self.socket.read_to_end(&mut heard)).await.expect("the server closes the connection");
        heard
    }

    /// Waits until the server has closed the connection, for as long as that takes. What it sends is thrown away.
    pub async fn closed(&self) {
        while self.is_open() && self.socket.readable().await.is_ok() {}
    }

    /// Whether the connection is open, as far as this side has been told.
    pub fn is_open(&self) -> bool {
        let mut rest = [0; 4096];
        loop {
            match self.socket.try_read(&mut rest) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// A message of a type in one chunk (RTMP 1.0, 5.3.1).
pub fn message(chunk_stream: u8, type_id: u8, payload: &[u8]) -> Vec<u8> {
    [&header(chunk_stream, type_id, payload.len())[..], payload].concat()
}

/// The beginning of a message that claims a length.
pub fn header(chunk_stream: u8, type_id: u8, len: usize) -> [u8; 12] {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    [chunk_stream, 0, 0, 0, a, b, c, type_id, 1, 0, 0, 0]
}

/// A command with transaction 1 (RTMP 1.0, 7.1.1).
pub fn command(name: &str, arguments: &[Value]) -> Vec<u8> {
    let mut payload = bytes::BytesMut::new();
    for value in [Value::str(name), Value::Number(1.0)].iter().chain(arguments) {
        amf0::encode(value, &mut payload);
    }
    message(3, 20, &payload)
}
