//! `cargo xtask peers`: the same stream through relayd, nginx-rtmp and ffmpeg tee, on this machine, each in turn.
//!
//! | module | job |
//! |---|---|
//! | `options` | the command line |
//! | `stream`, `source` | the stream with its stamps, and who sends it in real time |
//! | `chunks`, `connection`, `sink`, `tally` | the server that all outputs publish to, and what it counts |
//! | `parties`, `process` | the relays, how they are started, and what they use |
//! | `floor` | the least that any relay can do |
//! | `measure`, `histogram` | one run and its figures |
//! | `compare` | which runs are made |
//! | `callgrind`, `workload` | instructions counted, without sockets |
//! | `table` | what is printed |
//!
//! Source and sink are threads of one process, so that one clock stamps and reads the tags.

mod callgrind;
mod chunks;
mod clock;
mod compare;
mod connection;
mod floor;
mod histogram;
mod measure;
mod options;
mod parties;
mod process;
mod sink;
mod source;
mod stream;
mod table;
mod tally;
mod workload;

use std::{env, ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::{packages, steps};
pub(crate) use floor::{FLOOR, run as floor};
use options::Options;

/// Builds what is measured and what measures as releases, and goes on as the latter.
pub(crate) fn build_and_run(args: &[OsString]) -> Result<()> {
    let Some(options) = parse(args)? else { return Ok(()) };
    packages::ensure(if options.callgrind { packages::FOR_CALLGRIND } else { packages::FOR_FAN_OUT })?;
    if options.relayd.is_none() && !options.callgrind {
        steps::build_release("relayd")?;
    }
    steps::build_release("xtask")?;
    let status = Command::new(release("xtask")?)
        .arg(crate::RIG)
        .args(args)
        .status()
        .context("cannot run the release build of xtask")?;
    if !status.success() {
        bail!("the rig failed: {status}");
    }
    Ok(())
}

/// The release build's part.
pub(crate) fn rig(args: &[OsString]) -> Result<()> {
    let Some(options) = parse(args)? else { return Ok(()) };
    if let Some([outputs, tags]) = options.workload.as_deref() {
        return workload::run(*outputs, *tags, options.rate());
    }
    if options.callgrind {
        return callgrind::run(&options);
    }
    let relayd = match &options.relayd {
        Some(relayd) => relayd.clone(),
        None => release("relayd")?,
    };
    if !relayd.is_file() {
        bail!("there is no {}", relayd.display());
    }
    compare::run(&options, &relayd)
}

/// None if help was all that was asked for.
fn parse(args: &[OsString]) -> Result<Option<Options>> {
    match Options::try_parse_from(args) {
        Ok(options) => Ok(Some(options)),
        Err(error) if !error.use_stderr() => {
            error.print()?;
            Ok(None)
        }
        Err(error) => bail!("{error}"),
    }
}

/// A program of the release profile, beside the profile that this one is of.
fn release(program: &str) -> Result<PathBuf> {
    Ok(target_folder()?.join("release").join(program))
}

/// Where builds lie.
fn target_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("this program's own path")?;
    own.ancestors().nth(2).map(PathBuf::from).context("this program lies in no target folder")
}
