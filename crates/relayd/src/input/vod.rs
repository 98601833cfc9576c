//! `vod` inputs: lists of FLV files, played in real time.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use flv::{Class, Kind, Tag};
use futures::{Stream, StreamExt, stream::BoxStream};
use relay::{Backoff, Report};
use tokio::{
    fs::File,
    io::AsyncReadExt,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{Command, Gone, Link, error::InputError, pull, stream::FlvStream};
use crate::config::{Loops, PullConfig, VodConfig, VodItem};

/// Validates the list, waits for its turn, plays it, and begins anew when it is told to.
pub(super) async fn run(config: VodConfig, tls: &Arc<rustls::ClientConfig>, mut link: Link) -> Result<(), Gone> {
    let mut backoff = Backoff::new(config.retry);
    loop {
        link.report(vec![Report::Connecting]).await?;
        let ended = match validate(&config, tls).await {
            Ok(()) => {
                link.report(vec![Report::Ready]).await?;
                wait_for_turn(&mut link).await?;
                Player::new(&config).play(tls, &mut link, &mut backoff).await?
            }
            Err(error) => Ended::Failed(error),
        };
        match ended {
            Ended::Played => {
                link.report(vec![Report::Ended]).await?;
                // It stays ended until the operator restarts the relay.
                while link.commands.recv().await.is_some() {}
                return Err(Gone);
            }
            Ended::Restarted => {}
            Ended::Failed(error) => {
                let wait = backoff.failed(std::time::Instant::now(), fastrand::f64()).unwrap_or(config.retry.max);
                link.lost(&error, Some(wait)).await?;
                link.pause(wait).await?;
            }
        }
    }
}

async fn wait_for_turn(link: &mut Link) -> Result<(), Gone> {
    loop {
        match link.commands.recv().await {
            Some(Command::Play) => return Ok(()),
            Some(Command::Restart(_)) => {}
            None => return Err(Gone),
        }
    }
}

enum Ended {
    /// All loops are through.
    Played,
    /// Something better feeds; the next turn begins with the first item.
    Restarted,
    /// No item could be played.
    Failed(InputError),
}

/// The list's own clock: items follow one another without a seam.
struct Player<'a> {
    config: &'a VodConfig,
    start: Option<Instant>,
    /// Media time since the start at which the present item begins, in ms.
    base: u64,
    /// Media time of the end of what has been played.
    end: u64,
}

impl<'a> Player<'a> {
    fn new(config: &'a VodConfig) -> Self {
        Self { config, start: None, base: 0, end: 0 }
    }

    async fn play(
        mut self,
        tls: &Arc<rustls::ClientConfig>,
        link: &mut Link,
        backoff: &mut Backoff,
    ) -> Result<Ended, Gone> {
        link.report(vec![Report::Connected]).await?;
        let mut round = 0u64;
        loop {
            let mut failure = None;
            let mut played = 0;
            for item in &self.config.items {
                info!(%item, round, "plays");
                match self.play_item(item, tls, link).await? {
                    Item::Played => played += 1,
                    Item::Restarted => return Ok(Ended::Restarted),
                    Item::Failed(error) => {
                        warn!(%item, %error, "the item is left out");
                        link.meter.failed(error.to_last_error());
                        failure = Some(error);
                    }
                }
            }
            if let (0, Some(error)) = (played, failure) {
                return Ok(Ended::Failed(error));
            }
            backoff.succeeded(std::time::Instant::now());
            round += 1;
            if let Loops::Times(more) = self.config.loops
                && round > more
            {
                return Ok(Ended::Played);
            }
        }
    }

    async fn play_item(
        &mut self,
        item: &VodItem,
        tls: &Arc<rustls::ClientConfig>,
        link: &mut Link,
    ) -> Result<Item, Gone> {
        let mut body = match open(item, self.config, tls).await {
            Ok(body) => body,
            Err(error) => return Ok(Item::Failed(error)),
        };
        let mut flv = FlvStream::new(self.config.max_tag_size);
        let mut clock = ItemClock::default();
        let mut tags = 0u64;
        self.base = self.end;
        loop {
            let piece = body.next().await;
            let mut reports = Vec::new();
            let ended = match piece {
                Some(Ok(piece)) => flv.push(piece, &mut reports).err(),
                Some(Err(error)) => Some(error),
                None => Some(flv.finish(&mut reports)),
            };
            for mut report in reports {
                if let Report::Tag(tag) = &mut report {
                    tags += 1;
                    let at = self.base + clock.place(tag);
                    self.end = self.base + clock.end;
                    // Wire timestamps wrap; the relay unwraps them.
                    tag.timestamp = (at & u64::from(u32::MAX)) as u32;
                    if !self.wait_until(at, link).await? {
                        return Ok(Item::Restarted);
                    }
                }
                link.report(vec![report]).await?;
            }
            match ended {
                None => {}
                Some(InputError::Eof(_)) if tags > 0 => return Ok(Item::Played),
                Some(error) if tags > 0 => {
                    warn!(%item, %error, "the item ends early");
                    return Ok(Item::Played);
                }
                Some(error) => return Ok(Item::Failed(error)),
            }
        }
    }

    /// Waits until media time `at` is due; false when the turn is over.
    async fn wait_until(&mut self, at: u64, link: &mut Link) -> Result<bool, Gone> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let due = start + Duration::from_millis(at);
        loop {
            tokio::select! {
                biased;
                command = link.commands.recv() => match command {
                    Some(Command::Restart(_)) => return Ok(false),
                    Some(Command::Play) => {}
                    None => return Err(Gone),
                },
                () = sleep_until(due) => return Ok(true),
            }
        }
    }
}

enum Item {
    Played,
    Restarted,
    Failed(InputError),
}

/// One item's timestamps, from 0, and where it ends.
#[derive(Default)]
struct ItemClock {
    first: Option<u32>,
    audio: Pace,
    video: Pace,
    end: u64,
}

#[derive(Clone, Copy, Default)]
struct Pace {
    last: Option<u64>,
    first: u64,
    count: u64,
}

impl ItemClock {
    /// The tag's time since the item's first media tag, in ms; the item ends one frame after its last tag.
    fn place(&mut self, tag: &Tag) -> u64 {
        let is_media =
            matches!(tag.class(), Class::Key | Class::Inter | Class::Disposable | Class::Audio | Class::VideoOther);
        if !is_media {
            return self.audio.last.max(self.video.last).unwrap_or(0);
        }
        let first = *self.first.get_or_insert(tag.timestamp);
        let at = u64::from(tag.timestamp.saturating_sub(first));
        let pace = if tag.kind == Kind::Audio { &mut self.audio } else { &mut self.video };
        if pace.last.is_none() {
            pace.first = at;
        }
        pace.last = Some(at);
        pace.count += 1;
        self.end = self.end.max(at + pace.frame());
        at
    }
}

impl Pace {
    /// The mean frame duration so far, in ms.
    fn frame(&self) -> u64 {
        match (self.last, self.count) {
            (Some(last), 2..) => (last - self.first).div_ceil(self.count - 1),
            _ => 0,
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

/// Opens the first item that can be opened and sees whether it is FLV.
async fn validate(config: &VodConfig, tls: &Arc<rustls::ClientConfig>) -> Result<(), InputError> {
    let mut failure = None;
    for item in &config.items {
        match first_tag(item, config, tls).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or(InputError::Eof(0)))
}

async fn first_tag(item: &VodItem, config: &VodConfig, tls: &Arc<rustls::ClientConfig>) -> Result<(), InputError> {
    let mut body = open(item, config, tls).await?;
    let mut flv = FlvStream::new(config.max_tag_size);
    let mut reports = Vec::new();
    loop {
        match body.next().await {
            Some(piece) => flv.push(piece?, &mut reports)?,
            None => return Err(flv.finish(&mut reports)),
        }
        if reports.iter().any(|report| matches!(report, Report::Tag(_))) {
            return Ok(());
        }
    }
}

async fn open(
    item: &VodItem,
    config: &VodConfig,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<BoxStream<'static, Result<Bytes, InputError>>, InputError> {
    match item {
        VodItem::File(path) => {
            let name = path.display().to_string();
            let file = File::open(path).await.map_err(|error| InputError::File { path: name.clone(), error })?;
            Ok(pieces(file, name).boxed())
        }
        VodItem::Http(url) => {
            let pull = PullConfig {
                url: url.clone(),
                headers: Vec::new(),
                connect_timeout: config.connect_timeout,
                max_tag_size: config.max_tag_size,
                retry: config.retry,
            };
            let response = pull::open(&pull, tls).await?;
            Ok(response
                .bytes_stream()
                .map(|piece| piece.map_err(|error| InputError::Http(error.without_url())))
                .boxed())
        }
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

/// How much of a file is read at once.
const PIECE: usize = 64 << 10;
