//! A publisher's connection, plain or TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ProtocolVersion;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::record::Tls;

/// Bytes both ways.
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<Taped>>),
}

impl Socket {
    /// Shakes hands if the server speaks TLS, and records what the publisher asked for, also when it goes away then.
    pub(super) async fn accept(tcp: TcpStream, index: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let Some(config) = shared.tls.clone() else { return Ok(Self::Plain(tcp)) };
        let taped = Taped { tcp, index, shared: shared.clone(), header: Vec::new(), left: 0 };
        let hello = LazyConfigAcceptor::new(Acceptor::default(), taped).await?;
        let server_name = hello.client_hello().server_name().map(str::to_owned);
        note(shared, index, |tls| tls.server_name = server_name);
        let stream = hello.into_stream(config).await?;
        let version = stream.get_ref().1.protocol_version();
        note(shared, index, |tls| {
            tls.version = match version {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "unknown",
            };
        });
        Ok(Self::Tls(Box::new(stream)))
    }

    /// The TCP connection, below TLS if there is any.
    pub(super) fn below(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &mut tls.get_mut().0.tcp,
        }
    }
}

/// A TCP connection that notes the TLS records that pass: their headers are in the clear (RFC 8446, 5.1).
pub(super) struct Taped {
    tcp: TcpStream,
    index: usize,
    shared: Arc<Shared>,
    /// What has come of the next record's header.
    header: Vec<u8>,
    /// What has not come of the present record.
    left: usize,
}

impl Taped {
    fn note(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [content, _, _, high, low] = self.header[..] {
                self.header.clear();
                self.left = usize::from(u16::from_be_bytes([high, low]));
                if content == APPLICATION_DATA {
                    note(&self.shared, self.index, |tls| tls.records.push(self.left));
                }
            }
        }
    }
}

fn note(shared: &Shared, index: usize, change: impl FnOnce(&mut Tls)) {
    shared.update(index, |record| change(record.tls.get_or_insert_default()));
}

impl AsyncRead for Taped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
        this.note(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Taped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut *tls).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    // rustls reports an end without close_notify as an error.
                    let tape = tls.get_ref().0;
                    note(&tape.shared, tape.index, |tls| tls.close_notify = true);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Content type, version, length.
const HEADER: usize = 5;
/// The content type of everything that is encrypted in TLS 1.3, and of what is sent after the handshake in 1.2.
const APPLICATION_DATA: u8 = 23;
