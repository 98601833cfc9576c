//! `vod` inputs: lists of FLV files, played in real time.

mod item;
mod item_clock;
mod pacer;

use std::{pin::pin, time::Duration};

use relay::{Backoff, Reason, Report};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::{
    item::Items,
    item_clock::ItemClock,
    pacer::{Pacer, is_long},
};
use super::{Command, Files, Gone, Link, Shared, error::InputError};
use crate::config::{Loops, VodConfig, VodItem};

/// Validates the list, waits for its turn, plays it, and begins anew when it is told to.
pub(super) async fn run(config: VodConfig, shared: &Shared, files: &Files, mut link: Link) -> Result<(), Gone> {
    let mut backoff = Backoff::new(config.retry);
    let items = Items { config: &config, shared, files };
    loop {
        link.report(vec![Report::Connecting]).await?;
        let Ok(validated) = unless_told(&mut link, validate(items)).await? else { continue };
        let ended = match validated {
            Ok(()) => {
                link.report(vec![Report::Ready]).await?;
                wait_for_turn(&mut link).await?;
                Player::new(items, &mut backoff).play(&mut link).await?
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
            Ended::Restarted(Reason::Manual | Reason::Revert) => {}
            Ended::Restarted(reason) => {
                give_up(&config, &mut link, &mut backoff, &InputError::Restarted(reason)).await?;
            }
            Ended::Failed(error) => give_up(&config, &mut link, &mut backoff, &error).await?,
        }
    }
}

/// Tells of a turn that failed, and lets the backoff pass.
async fn give_up(config: &VodConfig, link: &mut Link, backoff: &mut Backoff, error: &InputError) -> Result<(), Gone> {
    let wait = backoff.failed(std::time::Instant::now(), fastrand::f64()).unwrap_or(config.retry.max);
    link.lost(error, Some(wait)).await?;
    link.pause(wait).await
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

/// Awaits `work`; the reason when the relay tells the input to begin anew meanwhile.
async fn unless_told<T>(link: &mut Link, work: impl Future<Output = T>) -> Result<Result<T, Reason>, Gone> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            command = link.commands.recv() => match command {
                Some(Command::Restart(reason)) => return Ok(Err(reason)),
                Some(Command::Play) => {}
                None => return Err(Gone),
            },
            done = &mut work => return Ok(Ok(done)),
        }
    }
}

enum Ended {
    /// All loops are through.
    Played,
    /// Something better feeds, or is to; the next turn begins with the first item.
    Restarted(Reason),
    /// No item could be played, or none that lasts.
    Failed(InputError),
}

/// A turn of the list: items follow one another without a seam.
struct Player<'a> {
    items: Items<'a>,
    /// Until it has been told of this turn's first tag.
    backoff: Option<&'a mut Backoff>,
    pacer: Pacer,
    /// Media time since the start at which the present item begins, in ms.
    base: u64,
    /// Media time of the end of what has been played.
    end: u64,
}

impl<'a> Player<'a> {
    fn new(items: Items<'a>, backoff: &'a mut Backoff) -> Self {
        Self { items, backoff: Some(backoff), pacer: Pacer::default(), base: 0, end: 0 }
    }

    async fn play(mut self, link: &mut Link) -> Result<Ended, Gone> {
        link.report(vec![Report::Connected]).await?;
        let mut round = 0u64;
        loop {
            let (began, media_began) = (Instant::now(), self.end);
            let mut failure: Option<InputError> = None;
            let mut played = 0;
            for item in &self.items.config.items {
                if let Some(suppressed) = link.throttle.admit(("plays", ""), std::time::Instant::now()) {
                    info!(%item, round, suppressed, "plays");
                }
                match self.play_item(item, link).await? {
                    Item::Played => played += 1,
                    Item::Restarted(reason) => return Ok(Ended::Restarted(reason)),
                    Item::Failed(error) => {
                        let kind = ("left out", error.reason().name());
                        if let Some(suppressed) = link.throttle.admit(kind, std::time::Instant::now()) {
                            warn!(%item, %error, suppressed, "the item is left out");
                        }
                        link.meter.failed(error.to_last_error());
                        if let Some(before) = failure.replace(error) {
                            link.meter.lost(before.reason());
                        }
                    }
                }
            }
            match failure {
                Some(error) if played == 0 => return Ok(Ended::Failed(error)),
                Some(error) => link.meter.lost(error.reason()),
                None => {}
            }
            if self.end == media_began {
                // Nothing would hold back the rounds to come.
                return Ok(Ended::Failed(InputError::NoDuration));
            }
            round += 1;
            if let Loops::Times(more) = self.items.config.loops
                && round > more
            {
                return Ok(Ended::Played);
            }
            if self.end - media_began < SHORTEST_ROUND.as_millis() as u64
                && let Err(reason) = self.rest(began + SHORTEST_ROUND, link).await?
            {
                return Ok(Ended::Restarted(reason));
            }
        }
    }

    /// Waits until the next round may begin; the reason when the turn is over. The line goes on with the clock meanwhile.
    async fn rest(&mut self, until: Instant, link: &mut Link) -> Result<Result<(), Reason>, Gone> {
        let told = wait_for(until, link).await?;
        self.end = self.end.max(self.pacer.position(Instant::now()));
        Ok(told)
    }

    async fn play_item(&mut self, item: &VodItem, link: &mut Link) -> Result<Item, Gone> {
        if let Some(end) = self.pacer.expected(self.end) {
            // The last frame of the item before lasts up to there; this one is opened meanwhile.
            announce(end, link).await?;
        }
        let mut body = match unless_told(link, self.items.open(item)).await? {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Ok(Item::Failed(error)),
            Err(reason) => return Ok(Item::Restarted(reason)),
        };
        let mut flv = self.items.demuxer();
        let mut clock = ItemClock::default();
        let mut tags = 0u64;
        self.base = self.end;
        let mut deadline = Instant::now() + SILENCE;
        loop {
            let piece = match unless_told(link, body.next(deadline)).await? {
                Ok(piece) => piece,
                Err(reason) => return Ok(Item::Restarted(reason)),
            };
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
                let due = self.pacer.due(at, Instant::now());
                if let Err(reason) = wait_for(due, link).await? {
                    return Ok(Item::Restarted(reason));
                }
                if let Some(backoff) = self.backoff.take() {
                    backoff.succeeded(std::time::Instant::now());
                }
                link.report(vec![Report::Bytes(tag.body.len() as u64), Report::Tag(tag)]).await?;
                deadline = Instant::now() + SILENCE;
            }
            match ended {
                None => {}
                Some(InputError::Eof(_)) if tags > 0 => return Ok(Item::Played),
                Some(error) if tags > 0 => {
                    let kind = ("ends early", error.reason().name());
                    if let Some(suppressed) = link.throttle.admit(kind, std::time::Instant::now()) {
                        warn!(%item, %error, suppressed, "the item ends early");
                    }
                    link.meter.failed(error.to_last_error());
                    link.meter.lost(error.reason());
                    return Ok(Item::Played);
                }
                Some(error) => return Ok(Item::Failed(error)),
            }
        }
    }
}

/// Waits for a moment, which is no silence of the item's; the reason when the turn is over.
async fn wait_for(due: Instant, link: &mut Link) -> Result<Result<(), Reason>, Gone> {
    announce(due, link).await?;
    unless_told(link, sleep_until(due)).await
}

/// Lets nobody take the time up to `due` for silence.
async fn announce(due: Instant, link: &Link) -> Result<(), Gone> {
    if is_long(due, Instant::now()) {
        link.report(vec![Report::Due(due.into_std())]).await?;
    }
    Ok(())
}

enum Item {
    Played,
    Restarted(Reason),
    Failed(InputError),
}

/// Opens the first item that can be opened and sees whether it is FLV.
async fn validate(items: Items<'_>) -> Result<(), InputError> {
    let mut failure = None;
    for item in &items.config.items {
        match first_tag(item, items).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or(InputError::Eof(0)))
}

async fn first_tag(item: &VodItem, items: Items<'_>) -> Result<(), InputError> {
    let mut body = items.open(item).await?;
    let deadline = Instant::now() + SILENCE;
    let mut flv = items.demuxer();
    let mut reports = Vec::new();
    loop {
        match body.next(deadline).await {
            Some(piece) => flv.push(piece?, &mut reports)?,
            None => return Err(flv.finish(&mut reports)),
        }
        if reports.iter().any(|report| matches!(report, Report::Tag(_))) {
            return Ok(());
        }
    }
}

/// How long an item that is open may give no tag. The time for which a tag waits for its moment does not count.
const SILENCE: Duration = Duration::from_secs(10);
/// Rounds begin this far apart: a list that is over sooner would only be opened, and asked for, without end.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
