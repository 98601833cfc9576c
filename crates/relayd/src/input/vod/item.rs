//! An item's bytes, from a file or a server.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    fs::File,
    io::AsyncReadExt,
    time::{Instant, timeout_at},
};

use super::{
    super::{Shared, error::InputError, guard, pull},
    SILENCE,
};
use crate::config::{PullConfig, VodConfig, VodItem};

/// What an item consists of, piece by piece.
pub(super) struct Body(BoxStream<'static, Result<Bytes, InputError>>);

impl Body {
    /// Opens an item.
    pub(super) async fn open(
        item: &VodItem,
        config: &VodConfig,
        shared: &Shared,
        deadline: Instant,
    ) -> Result<Self, InputError> {
        let opening = async {
            match item {
                VodItem::File(path) => {
                    let file = guard::open(&shared.egress, path).await?;
                    Ok(Self(pieces(file, path.display().to_string()).boxed()))
                }
                VodItem::Http(url) => {
                    let pull = PullConfig {
                        url: url.clone(),
                        headers: Vec::new(),
                        connect_timeout: config.connect_timeout,
                        max_tag_size: config.max_tag_size,
                        retry: config.retry,
                    };
                    let pieces = pull::open(&pull, shared).await?.bytes_stream();
                    Ok(Self(pieces.map(|piece| piece.map_err(|error| InputError::Http(error.without_url()))).boxed()))
                }
            }
        };
        timeout_at(deadline, opening).await.unwrap_or(Err(InputError::Silent(SILENCE)))
    }

    /// Its next bytes; None at its end. What comes too late, or is never a tag, must not hold up the items behind.
    pub(super) async fn next(&mut self, deadline: Instant) -> Option<Result<Bytes, InputError>> {
        let silent = || Some(Err(InputError::Silent(SILENCE)));
        // Where there is always something to read, waiting for it never takes too long.
        if Instant::now() >= deadline {
            return silent();
        }
        timeout_at(deadline, self.0.next()).await.unwrap_or_else(|_| silent())
    }
}

/// A file's bytes, read as they are asked for.
fn pieces(file: File, path: String) -> impl Stream<Item = Result<Bytes, InputError>> {
    futures::stream::unfold(Some((file, path)), |state| async {
        let (mut file, path) = state?;
        let mut piece = BytesMut::with_capacity(PIECE);
        match file.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece.freeze()), Some((file, path)))),
            Err(error) => Some((Err(InputError::File { path, error }), None)),
        }
    })
}

impl fmt::Display for VodItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Http(url) => url.fmt(f),
        }
    }
}

/// How much of a file is read at once.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn what_is_never_there_or_always_there_ends_at_the_deadline() {
        let drips = || stream::repeat_with(|| Ok(Bytes::from_static(b"0"))).boxed();
        for pieces in [stream::pending().boxed(), drips(), stream::pending().chain(drips()).boxed()] {
            let (mut body, deadline) = (Body(pieces), Instant::now() + Duration::from_millis(20));
            let error = loop {
                match body.next(deadline).await.expect("it does not end") {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, InputError::Silent(SILENCE)), "{error}");
        }
    }
}
