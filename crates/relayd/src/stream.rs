//! A connection, plain or TLS: to a platform, or from a publisher.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsStream;

/// Bytes both ways. Dispatch costs a branch; a boxed trait object would hide vectored writes.
#[derive(Debug)]
pub enum Stream {
    /// RTMP.
    Plain(TcpStream),
    /// RTMPS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Closes it once the peer has, or after a while: a peer that is still sending would take a socket closed under it
    /// for a failure, and lose the answer that was sent last.
    pub(crate) async fn part(mut self) {
        let _ = timeout(PARTING, async {
            let _ = self.shutdown().await;
            let (mut rest, mut left) = ([0; 1_024], PARTING_BYTES);
            while let (read @ 1.., true) = (self.read(&mut rest).await.unwrap_or(0), left > 0) {
                left = left.saturating_sub(read);
            }
        })
        .await;
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
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

/// How long a peer may take to close.
const PARTING: Duration = Duration::from_secs(1);
/// How much it may still send meanwhile.
const PARTING_BYTES: usize = 256 << 10;
