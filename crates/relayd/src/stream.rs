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
    /// From now on the socket wakes the runtime that this is called on, and no other. Without a descriptor to spare for
    /// the moment it stays where it is, and works as before.
    pub(crate) fn move_here(&mut self) -> io::Result<()> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => match &mut **tls {
                TlsStream::Client(tls) => tls.get_mut().0,
                TlsStream::Server(tls) => tls.get_mut().0,
            },
        };
        // A second descriptor of the same socket takes the place of the first: what TLS holds stays beside it.
        let same = std::net::TcpStream::from(tcp.as_fd().try_clone_to_owned()?);
        *tcp = TcpStream::from_std(same)?;
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr, path::Path};

    use rustls::pki_types::ServerName;
    use tokio::{
        net::TcpListener,
        runtime::{Builder, Runtime},
    };
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::{
        config::OutputTls,
        ingest::{IngestTls, certified_key},
        tls::TlsConfigs,
    };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, peer)
    }

    async fn tls_pair() -> (Stream, Stream) {
        let pem = |name| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tls").join(name)).unwrap();
        let acceptor = IngestTls::new(certified_key(&pem("one.pem"), &pem("one.key")).unwrap()).acceptor();
        let any = TlsConfigs::load().for_output(&OutputTls { ca: None, insecure: true });
        let (near, far) = pair().await;
        let name = ServerName::try_from("localhost").unwrap();
        let (near, far) = tokio::join!(acceptor.accept(near), TlsConnector::from(any).connect(name, far));
        (Stream::Tls(Box::new(near.unwrap().into())), Stream::Tls(Box::new(far.unwrap().into())))
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_stream_that_has_moved_outlives_the_runtime_that_it_came_from() {
        for tls in [false, true] {
            let (first, peers, second) = (runtime(), runtime(), runtime());
            let (mut near, mut far) = first.block_on(async {
                if tls {
                    return tls_pair().await;
                }
                let (near, far) = pair().await;
                (Stream::Plain(near), Stream::Plain(far))
            });
            peers.block_on(async { far.move_here() }).unwrap();
            // The second byte of what came before is left unread: over TLS it is no longer in the socket.
            peers.block_on(async { far.write_all(b"ab").await.and(far.flush().await) }).unwrap();
            assert_eq!(first.block_on(near.read_u8()).unwrap(), b'a');

            second.block_on(async { near.move_here() }).unwrap();
            drop(first);
            second.block_on(async {
                assert_eq!(near.read_u8().await.unwrap(), b'b');
                near.write_all(b"cd").await.and(near.flush().await).unwrap();
            });
            peers.block_on(async {
                let mut heard = [0; 2];
                far.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"cd");
                far.write_all(b"e").await.and(far.flush().await).unwrap();
            });
            assert_eq!(second.block_on(near.read_u8()).unwrap(), b'e', "tls: {tls}");
        }
    }
}
