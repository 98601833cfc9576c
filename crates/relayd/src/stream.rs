//! A connection, plain or TLS: to a platform, or from a publisher.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
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

    /// The socket, if what is written to the stream is just what the socket takes.
    pub(crate) fn plain(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Plain(tcp) => Some(tcp.as_fd()),
            Self::Tls(_) => None,
        }
    }

    /// TLS records wait to be sent. A plain stream holds nothing.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.wants_write(),
        }
    }

    /// Sends some of the records that wait. To be done before anything else is written: what is written beside them
    /// would be cut to the room that they leave, not to full records.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Tls(tls) = self else { return Poll::Ready(Ok(())) };
        let sent = match &mut **tls {
            TlsStream::Client(tls) => {
                let (tcp, session) = tls.get_mut();
                session.write_tls(&mut Socket { tcp, cx })
            }
            TlsStream::Server(tls) => {
                let (tcp, session) = tls.get_mut();
                session.write_tls(&mut Socket { tcp, cx })
            }
        };
        match sent {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// What rustls writes records to. A socket that is full wakes the task of `cx` when it is not.
struct Socket<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl io::Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, slices) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
