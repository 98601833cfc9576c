//! A deadline for writes, which the HTTP server does not have.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream on which a write that waits for so long without one byte being taken fails with `TimedOut`.
///
/// Each byte taken starts the wait anew: a slow peer is not at fault, one that does not read is.
#[derive(Debug)]
pub(super) struct WriteLimit<S> {
    stream: S,
    limit: Duration,
    /// While a write waits: until the limit is reached.
    waiting: Option<Pin<Box<Sleep>>>,
    has_written: bool,
}

impl<S> WriteLimit<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting: None, has_written: false }
    }

    /// A byte has been taken, ever.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    fn judge<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimit<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimit<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.has_written |= matches!(polled, Poll::Ready(Ok(1..)));
        this.judge(polled, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.has_written |= matches!(polled, Poll::Ready(Ok(1..)));
        this.judge(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.judge(polled, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.judge(polled, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, _far) = duplex(8);
        let mut near = WriteLimit::new(near, LIMIT);
        let start = Instant::now();
        let error = near.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= LIMIT, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn each_byte_taken_starts_the_wait_anew() {
        let (near, mut far) = duplex(1);
        let mut near = WriteLimit::new(near, Duration::from_secs(3_600));
        let write = async |near: &mut WriteLimit<_>| {
            poll_fn(|cx| Poll::Ready(Pin::new(&mut *near).poll_write(cx, &[0; 2]).map(Result::unwrap))).await
        };
        let until = |near: &WriteLimit<_>| near.waiting.as_ref().map(|sleep| sleep.deadline());
        assert_eq!((write(&mut near).await, until(&near)), (Poll::Ready(1), None));
        assert_eq!(write(&mut near).await, Poll::Pending);
        let first = until(&near).expect("it waits");
        assert_eq!((write(&mut near).await, until(&near)), (Poll::Pending, Some(first)), "waiting on is no progress");
        far.read_u8().await.unwrap();
        assert_eq!((write(&mut near).await, until(&near)), (Poll::Ready(1), None));
        assert_eq!(write(&mut near).await, Poll::Pending);
        assert!(until(&near).expect("it waits again") > first);
    }

    #[tokio::test]
    async fn reading_is_not_waited_for() {
        let (near, mut far) = duplex(8);
        let mut near = WriteLimit::new(near, Duration::ZERO);
        let (read, written) = tokio::join!(near.read_u8(), async {
            tokio::task::yield_now().await;
            far.write_u8(7).await
        });
        assert_eq!((read.unwrap(), written.unwrap()), (7, ()));
    }
}
