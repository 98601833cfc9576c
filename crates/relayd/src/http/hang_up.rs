//! Clients that close their side: one who waits for an answer gets it, one who watched has gone.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::HttpBody,
    http::{HeaderValue, header::CONNECTION},
    response::Response,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A socket that fails while an endless answer goes to a client that has closed its side.
///
/// To close the side that asks is legal, and the HTTP server is told to answer all the same (`half_close`). It does not
/// read meanwhile, so that a viewer's leaving would only show in writes: never, while nothing is relayed. Whether a client
/// has closed one side or both cannot be told without writing to it. What a viewer still sends is thrown away: an endless
/// answer is the connection's last.
#[derive(Debug)]
pub(super) struct HangUp {
    tcp: TcpStream,
    answer: Answer,
}

impl HangUp {
    pub(super) fn new(tcp: TcpStream, answer: Answer) -> Self {
        Self { tcp, answer }
    }
}

/// Whether what a connection is answered with ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    is_endless: Arc<AtomicBool>,
}

impl Answer {
    /// An endless answer is the connection's last. Only streams do not know how long they are.
    pub(super) fn begin(&self, response: &mut Response) {
        if response.body().size_hint().exact().is_none() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            self.is_endless.store(true, Relaxed);
        }
    }
}

impl AsyncRead for HangUp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for HangUp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    /// The server asks for this each time that it has nothing to write for now. Nothing costs a system call but news from
    /// the client.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.tcp).poll_flush(cx))?;
        if this.answer.is_endless.load(Relaxed) {
            let mut waste = [0; WASTE];
            let mut waste = ReadBuf::new(&mut waste);
            while let Poll::Ready(read) = Pin::new(&mut this.tcp).poll_read(cx, &mut waste) {
                read?;
                if waste.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                waste.clear();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// Bytes thrown away at a time. The runtime makes a client that sends without end give way to the others.
const WASTE: usize = 512;
