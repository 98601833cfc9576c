//! An HTTP/1.1 client with no opinions: one request per connection, every header as told.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::DEADLINE;

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub body: Bytes,
}

impl Response {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Panics when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Streaming {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    socket: TcpStream,
    input: BytesMut,
    chunked: bool,
}

/// Sends a request and reads the whole answer.
pub async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let exchange = async {
        let mut streaming = open(address, method, target, headers, body).await?;
        let mut whole = BytesMut::new();
        while let Some(piece) = streaming.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(Response { status: streaming.status, headers: streaming.headers, body: whole.freeze() })
    };
    timeout(DEADLINE, exchange).await.map_err(io::Error::from)?
}

/// Sends a request and reads the answer's head. A `Host` among the headers replaces the address.
pub async fn open(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Streaming> {
    let mut socket = TcpStream::connect(address).await?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body).await?;

    let mut input = BytesMut::new();
    let end = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&input.split_to(end)).into_owned();
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    Ok(Streaming { status, headers, socket, input, chunked })
}

impl Streaming {
    /// The next piece of the body; None at its end.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.chunked {
            if self.input.is_empty() && self.socket.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
            return Ok(Some(self.input.split().freeze()));
        }
        loop {
            if let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
                let size =
                    std::str::from_utf8(&self.input[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
                let size = size.ok_or(io::ErrorKind::InvalidData)?;
                if size == 0 {
                    return Ok(None);
                }
                if self.input.len() >= end + 2 + size + 2 {
                    self.input.advance(end + 2);
                    let piece = self.input.split_to(size).freeze();
                    self.input.advance(2);
                    return Ok(Some(piece));
                }
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
