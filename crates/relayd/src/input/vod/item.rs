//! An item's bytes, from a file or a server.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, timeout_at};

use super::{
    super::{Files, Shared, error::InputError, guard, pull, stream::FlvStream},
    SILENCE,
};
use crate::config::{PullConfig, VodConfig, VodItem};

/// The list, and what its items are opened with.
#[derive(Clone, Copy)]
pub(super) struct Items<'a> {
    pub(super) config: &'a VodConfig,
    pub(super) shared: &'a Shared,
    pub(super) files: &'a Files,
}

/// What an item consists of, piece by piece.
pub(super) enum Body {
    File(Arc<OpenFile>, Files),
    Http(BoxStream<'static, Result<Bytes, InputError>>),
}

pub(super) struct OpenFile {
    file: File,
    path: PathBuf,
}

impl Items<'_> {
    /// Opens an item: a file within [`SILENCE`], a server's within its `connect_timeout`.
    pub(super) async fn open(self, item: &VodItem) -> Result<Body, InputError> {
        match item {
            VodItem::File(path) => {
                let egress = self.shared.egress.clone();
                let opening = {
                    let path = path.clone();
                    move || Ok(OpenFile { file: guard::open(&egress, &path)?, path })
                };
                let opened = self.files.call(path, Instant::now() + SILENCE, opening).await?;
                Ok(Body::File(Arc::new(opened), self.files.clone()))
            }
            VodItem::Http(url) => {
                let pull = PullConfig {
                    url: url.clone(),
                    headers: Vec::new(),
                    connect_timeout: self.config.connect_timeout,
                    max_tag_size: self.config.max_tag_size,
                    retry: self.config.retry,
                };
                let pieces = pull::open(&pull, self.shared).await?.bytes_stream();
                let pieces = pieces.map(|piece| piece.map_err(|error| InputError::Http(error.without_url())));
                Ok(Body::Http(pieces.boxed()))
            }
        }
    }

    /// For one item.
    pub(super) fn demuxer(self) -> FlvStream {
        FlvStream::new(self.config.max_tag_size, &self.shared.limits)
    }
}

impl Body {
    /// Its next bytes; None at its end. What comes too late, or is never a tag, must not hold up the items behind.
    pub(super) async fn next(&mut self, deadline: Instant) -> Option<Result<Bytes, InputError>> {
        let silent = || Some(Err(InputError::Silent(SILENCE)));
        // Where there is always something to read, waiting for it never takes too long.
        if Instant::now() >= deadline {
            return silent();
        }
        match self {
            Self::File(open, files) => {
                let reading = Arc::clone(open);
                files.call(&open.path, deadline, move || reading.read()).await.transpose()
            }
            Self::Http(pieces) => timeout_at(deadline, pieces.next()).await.unwrap_or_else(|_| silent()),
        }
    }
}

impl OpenFile {
    /// What comes next in it; None at its end. Waits for the disk.
    fn read(&self) -> Result<Option<Bytes>, InputError> {
        let mut piece = BytesMut::zeroed(PIECE);
        loop {
            match (&self.file).read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    piece.truncate(read);
                    return Ok(Some(piece.freeze()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InputError::File { path: self.path.display().to_string(), error }),
            }
        }
    }
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
            let (mut body, deadline) = (Body::Http(pieces), Instant::now() + Duration::from_millis(20));
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
