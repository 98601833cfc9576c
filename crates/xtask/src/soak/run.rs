//! The run from start to verdict.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use testkit::{Relayd, Signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Options,
    acts::{self, clock},
    meter::Meter,
    report::{self, Memory},
    stage::Stage,
    viewers,
    windows::Scope,
};
use crate::steps;

/// Runs it; an error is the verdict that it failed.
pub(super) async fn soak(daemon: &Path, options: &Options) -> Result<()> {
    let stage = Arc::new(Stage::new(options.outputs).await);
    let relayd = Arc::new(stage.start(daemon).await);
    all_live(&stage).await?;
    let start = Instant::now();
    let end = start + options.length;
    println!("{} outputs live; {:?} with seed {}", options.outputs, options.length, options.seed);

    let listener = tokio::spawn(viewers::listen(relayd.admin()));
    let script = tokio::spawn(acts::play(Arc::clone(&stage), Arc::clone(&relayd), options.seed, start, end - CALM));
    let mut meter = Meter::default();
    let mut next = start;
    while Instant::now() < end {
        next += SAMPLE;
        sleep_until(next).await;
        meter.sample(&relayd, &stage, start).await;
        if meter.samples.len().is_multiple_of(LINE)
            && let Some(sample) = meter.samples.last()
        {
            println!("{} {}", clock(start), report::line(sample));
        }
    }
    let played = script.await.context("the script")?;
    all_live(&stage).await?;
    let memory = Memory::of(&meter);

    let relayd = Arc::into_inner(relayd).context("nobody else holds the daemon")?;
    let mut skipped = BTreeMap::new();
    let mut log = String::new();
    let relayd = kills(&stage, daemon, relayd, start, &mut skipped, &mut log).await?;
    let events = listener.await.context("the listener to events")?;
    log += &relayd.stderr();
    let clean_end = finish(&stage, relayd).await;

    let failures = report::print(&stage, &meter, &memory, &played, &events, &skipped, clean_end.err());
    if failures == 0 {
        return Ok(());
    }
    let path = steps::root().join("target/soak.log");
    fs::write(&path, log).with_context(|| path.display().to_string())?;
    Err(anyhow!("{failures} findings; see above, and what the daemon logged in {}", path.display()))
}

/// Kills the daemon outright, again and again, and starts it anew; gives the last one. `log` takes what the others logged.
async fn kills(
    stage: &Stage,
    daemon: &Path,
    mut relayd: Relayd,
    start: Instant,
    skipped: &mut BTreeMap<String, u64>,
    log: &mut String,
) -> Result<Relayd> {
    for _ in 0..KILLS {
        count_skipped(&relayd, stage, skipped).await?;
        println!("{} the daemon is killed and started anew", clock(start));
        let window = stage.windows.open(Scope::Everything);
        relayd.signal(Signal::KILL);
        relayd.wait_exit(Duration::from_secs(5)).await;
        *log += &relayd.stderr();
        relayd = stage.start(daemon).await;
        all_live(stage).await?;
        stage.windows.close(window);
        sleep(BETWEEN_KILLS).await;
    }
    count_skipped(&relayd, stage, skipped).await?;
    Ok(relayd)
}

/// Adds what this life of the daemon has counted.
async fn count_skipped(relayd: &Relayd, stage: &Stage, skipped: &mut BTreeMap<String, u64>) -> Result<()> {
    let mut meter = Meter::default();
    meter.sample(relayd, stage, Instant::now()).await;
    if let Some(failure) = meter.failures.pop() {
        bail!("{failure}");
    }
    for (output, count) in meter.skipped {
        *skipped.entry(output).or_default() += count;
    }
    Ok(())
}

/// Ends the daemon in good order: within its five seconds, with status 0.
async fn finish(stage: &Stage, mut relayd: Relayd) -> Result<()> {
    stage.windows.open(Scope::Everything);
    relayd.signal(Signal::TERM);
    let status = relayd.wait_exit(Duration::from_secs(6)).await;
    if status.success() { Ok(()) } else { Err(anyhow!("the daemon ended with {status}:\n{}", relayd.stderr())) }
}

async fn all_live(stage: &Stage) -> Result<()> {
    let deadline = Instant::now() + ALL_LIVE;
    loop {
        let dead: Vec<_> = stage.platforms.iter().filter(|platform| !platform.judge.is_live()).collect();
        if dead.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let ids: Vec<_> = dead.iter().map(|platform| platform.id.as_str()).collect();
            bail!("not live within {ALL_LIVE:?}: outputs {}", ids.join(", "));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(2);
/// Samples per line.
const LINE: usize = 15;
/// Nothing new is done this long before the end.
const CALM: Duration = Duration::from_secs(60);
/// How long outputs may take to be live at a start.
const ALL_LIVE: Duration = Duration::from_secs(30);
/// How often the daemon is killed at the end.
const KILLS: usize = 3;
/// How long it lives in between: for the greater part no kill explains a loss any more.
const BETWEEN_KILLS: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::windows::LEAD;

    #[test]
    fn a_loss_between_two_kills_counts() {
        let excused = Scope::Everything.slack() + LEAD;
        assert!(excused < BETWEEN_KILLS / 2, "{excused:?} of {BETWEEN_KILLS:?} are excused");
    }
}
