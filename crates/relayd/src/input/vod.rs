//! `vod` inputs: lists of FLV files, played in real time.

use std::{fmt, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use flv::{Class, Kind, Tag};
use futures::{Stream, StreamExt, stream::BoxStream};
use relay::{Backoff, Report};
use tokio::{
    fs::File,
    io::AsyncReadExt,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{Command, Gone, Link, Shared, error::InputError, guard, pull, stream::FlvStream};
use crate::config::{Loops, PullConfig, VodConfig, VodItem};

/// Validates the list, waits for its turn, plays it, and begins anew when it is told to.
pub(super) async fn run(config: VodConfig, shared: &Shared, mut link: Link) -> Result<(), Gone> {
    let mut backoff = Backoff::new(config.retry);
    loop {
        link.report(vec![Report::Connecting]).await?;
        let Some(validated) = unless_told(&mut link, validate(&config, shared)).await? else { continue };
        let ended = match validated {
            Ok(()) => {
                link.report(vec![Report::Ready]).await?;
                wait_for_turn(&mut link).await?;
                Player::new(&config).play(shared, &mut link, &mut backoff).await?
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

/// Awaits `work`; None when the relay tells the input to begin anew meanwhile.
async fn unless_told<T>(link: &mut Link, work: impl Future<Output = T>) -> Result<Option<T>, Gone> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            command = link.commands.recv() => match command {
                Some(Command::Restart(_)) => return Ok(None),
                Some(Command::Play) => {}
                None => return Err(Gone),
            },
            done = &mut work => return Ok(Some(done)),
        }
    }
}

enum Ended {
    /// All loops are through.
    Played,
    /// Something better feeds; the next turn begins with the first item.
    Restarted,
    /// No item could be played, or none that lasts.
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

    async fn play(mut self, shared: &Shared, link: &mut Link, backoff: &mut Backoff) -> Result<Ended, Gone> {
        link.report(vec![Report::Connected]).await?;
        let mut round = 0u64;
        loop {
            let began = self.end;
            let mut failure = None;
            let mut played = 0;
            for item in &self.config.items {
                info!(%item, round, "plays");
                match self.play_item(item, shared, link).await? {
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
            if self.end == began {
                // Nothing would hold back the rounds to come.
                return Ok(Ended::Failed(InputError::NoDuration));
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

    async fn play_item(&mut self, item: &VodItem, shared: &Shared, link: &mut Link) -> Result<Item, Gone> {
        let mut body = match unless_told(link, open(item, self.config, shared)).await? {
            Some(Ok(body)) => body,
            Some(Err(error)) => return Ok(Item::Failed(error)),
            None => return Ok(Item::Restarted),
        };
        let mut flv = FlvStream::new(self.config.max_tag_size, &shared.limits);
        let mut clock = ItemClock::default();
        let mut tags = 0u64;
        self.base = self.end;
        loop {
            let Some(piece) = unless_told(link, next_piece(&mut body)).await? else { return Ok(Item::Restarted) };
            let mut reports = Vec::new();
            let ended = match piece {
                Some(Ok(piece)) => flv.push(piece, &mut reports).err(),
                Some(Err(error)) => Some(error),
                None => Some(flv.finish(&mut reports)),
            };
            for report in reports {
                // A file is read in lumps; what counts as received is what is played.
                let mut tag = match report {
                    Report::Tag(tag) => tag,
                    Report::Bytes(_) => continue,
                    other => {
                        link.report(vec![other]).await?;
                        continue;
                    }
                };
                tags += 1;
                let at = self.base + clock.place(&tag);
                self.end = self.base + clock.end;
                // Wire timestamps wrap; the relay unwraps them.
                tag.timestamp = (at & u64::from(u32::MAX)) as u32;
                if !self.wait_until(at, link).await? {
                    return Ok(Item::Restarted);
                }
                link.report(vec![Report::Bytes(tag.body.len() as u64), Report::Tag(tag)]).await?;
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
        Ok(unless_told(link, sleep_until(due)).await?.is_some())
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
    /// From a timestamp to the time since the item's beginning.
    offset: Option<i64>,
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
    ///
    /// A timestamp that leaps is damage or a seam: what follows it goes on one frame after what came before it.
    fn place(&mut self, tag: &Tag) -> u64 {
        let newest = self.audio.last.max(self.video.last).unwrap_or(0);
        let is_media =
            matches!(tag.class(), Class::Key | Class::Inter | Class::Disposable | Class::Audio | Class::VideoOther);
        if !is_media {
            return newest;
        }
        let timestamp = i64::from(tag.timestamp);
        let offset = self.offset.get_or_insert(-timestamp);
        let pace = if tag.kind == Kind::Audio { &mut self.audio } else { &mut self.video };
        let forward = timestamp + *offset - newest.cast_signed();
        let back = pace.last.unwrap_or(newest).cast_signed() - timestamp - *offset;
        // A track that begins late or pauses has not leapt when it is where the other is; tracks that are loosely
        // interleaved step back only against each other.
        if forward > MAX_STEP || back > MAX_STEP_BACK {
            *offset = self.end.max(newest + 1).cast_signed() - timestamp;
        }
        let at = 0.max(timestamp + *offset).cast_unsigned();
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
            (Some(last), 2..) => last.saturating_sub(self.first).div_ceil(self.count - 1),
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
async fn validate(config: &VodConfig, shared: &Shared) -> Result<(), InputError> {
    let mut failure = None;
    for item in &config.items {
        match first_tag(item, config, shared).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or(InputError::Eof(0)))
}

async fn first_tag(item: &VodItem, config: &VodConfig, shared: &Shared) -> Result<(), InputError> {
    let mut body = open(item, config, shared).await?;
    let mut flv = FlvStream::new(config.max_tag_size, &shared.limits);
    let mut reports = Vec::new();
    loop {
        match next_piece(&mut body).await {
            Some(piece) => flv.push(piece?, &mut reports)?,
            None => return Err(flv.finish(&mut reports)),
        }
        if reports.iter().any(|report| matches!(report, Report::Tag(_))) {
            return Ok(());
        }
    }
}

/// A server that sends nothing must not hold up the items behind.
async fn next_piece(body: &mut Body) -> Option<Result<Bytes, InputError>> {
    timeout(SILENCE, body.next()).await.unwrap_or(Some(Err(InputError::Silent(SILENCE))))
}

type Body = BoxStream<'static, Result<Bytes, InputError>>;

async fn open(item: &VodItem, config: &VodConfig, shared: &Shared) -> Result<Body, InputError> {
    match item {
        VodItem::File(path) => {
            let file = guard::open(&shared.egress, path).await?;
            Ok(pieces(file, path.display().to_string()).boxed())
        }
        VodItem::Http(url) => {
            let pull = PullConfig {
                url: url.clone(),
                headers: Vec::new(),
                connect_timeout: config.connect_timeout,
                max_tag_size: config.max_tag_size,
                retry: config.retry,
            };
            let response = pull::open(&pull, shared).await?;
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

/// How long an item may give nothing.
const SILENCE: Duration = Duration::from_secs(10);
/// An item's timestamps that step further, in ms, leap.
const MAX_STEP: i64 = 10_000;
/// A track's timestamps that step back further, in ms, leap.
const MAX_STEP_BACK: i64 = 1_000;
/// How much of a file is read at once.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn places(stamps: &[(Kind, u32)]) -> Vec<u64> {
        let mut clock = ItemClock::default();
        let body = |kind| Bytes::from_static(if kind == Kind::Audio { &[0xaf, 1, 0] } else { &[0x27, 1, 0, 0, 0, 0] });
        stamps.iter().map(|&(kind, timestamp)| clock.place(&Tag { kind, timestamp, body: body(kind) })).collect()
    }

    #[test]
    fn a_timestamp_that_leaps_goes_on_one_frame_later() {
        let video = |stamps: &[u32]| places(&stamps.iter().map(|&at| (Kind::Video, at)).collect::<Vec<_>>());
        assert_eq!(video(&[7, 47, 87, 4_000_000_087, 127, 167]), [0, 40, 80, 120, 160, 200]);
        assert_eq!(video(&[5_000, 5_040, 0, 40]), [0, 40, 80, 120]);
        assert_eq!(video(&[100, 60, 100]), [0, 0, 0]);
    }

    #[test]
    fn tracks_that_begin_late_or_interleave_loosely_stay_where_they_are() {
        let (v, a) = (Kind::Video, Kind::Audio);
        assert_eq!(places(&[(v, 0), (v, 9_000), (v, 18_000), (a, 18_000)]), [0, 9_000, 18_000, 18_000]);
        assert_eq!(places(&[(v, 0), (a, 0), (v, 3_000), (a, 20), (v, 3_040)]), [0, 0, 3_000, 20, 3_040]);
    }
}
