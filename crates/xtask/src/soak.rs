//! A long run of the release daemon between peers that misbehave at random.
//!
//! The run itself needs optimisation as the daemon does, so [`launch`] builds both and starts this program again.

mod acts;
mod audience;
mod events;
mod meter;
mod report;
mod run;
mod stage;
mod viewers;
mod windows;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::steps;

/// The hidden task that runs the soak.
pub(crate) const RUN: &str = "soak-run";

/// How the run is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    length: Duration,
    outputs: usize,
    seed: u64,
    month: bool,
}

/// Builds daemon and runner with optimisation and starts the runner.
pub(crate) fn launch(arguments: &[OsString]) -> Result<()> {
    let options = Options::parse(arguments)?;
    if options.month {
        let mut test = steps::cargo("test --release --locked -p relayd --test month -- --nocapture fifty_days");
        return steps::run(test.env("MONTH", "full"));
    }
    steps::run(&mut steps::cargo("build --release --locked -p relayd -p xtask"))?;
    let runner = release_folder()?.join("xtask");
    let status = Command::new(&runner).arg(RUN).args(arguments).status();
    let status = status.with_context(|| format!("cannot run {}", runner.display()))?;
    if !status.success() {
        bail!("the soak failed: {status}");
    }
    Ok(())
}

/// Runs the soak with the daemon that lies beside this program.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let daemon = release_folder()?.join("relayd");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime")?
        .block_on(run::soak(&daemon, &options))
}

/// Where programs built with optimisation lie: beside the folder of this one, or its own.
fn release_folder() -> Result<PathBuf> {
    let this = env::current_exe().context("this program's path")?;
    let target = this.ancestors().nth(2).map(Path::to_owned);
    Ok(target.context("this program lies in a folder of the target folder")?.join("release"))
}

impl Options {
    fn parse(arguments: &[OsString]) -> Result<Self> {
        let mut options = Self { length: Duration::from_secs(30 * 60), outputs: 20, seed: 1, month: false };
        let mut words = arguments.iter().map(|word| word.to_str().unwrap_or_default());
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let value = words.next().with_context(|| format!("{word} needs a number"))?;
                value.parse().with_context(|| format!("{word} {value}"))
            };
            match word {
                "--minutes" => options.length = Duration::from_secs(60 * number()?.max(SHORTEST)),
                "--outputs" => options.outputs = usize::try_from(number()?)?.clamp(stage::RELAYS.len(), 500),
                "--seed" => options.seed = number()?,
                "--month" => options.month = true,
                other => bail!("{other:?}: allowed are --minutes N, --outputs N, --seed N, --month"),
            }
        }
        Ok(options)
    }
}

/// Minutes that leave something to be seen after the warm-up.
const SHORTEST: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_have_defaults_and_limits() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.length.as_secs(), options.outputs, options.month), (1_800, 20, false));
        let options = parse(&["--minutes", "5", "--outputs", "1", "--seed", "9"]).unwrap();
        assert_eq!((options.length.as_secs(), options.outputs, options.seed), (300, 4, 9));
        assert_eq!(parse(&["--minutes", "1"]).unwrap().length.as_secs(), 240);
        for wrong in [&["--minutes"][..], &["--minutes", "soon"], &["fast"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
