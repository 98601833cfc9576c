//! `relayd --config relay.toml`

use std::{
    env, fmt,
    io::{self, Write},
    process::ExitCode,
    sync::Mutex,
    thread,
};

use clap::Parser;
use relayd::{
    cli::Cli,
    config::Config,
    daemon::{self, Ended},
    log_writer, logging, panic_hook,
};

fn main() -> ExitCode {
    // First of all: what a panic quotes may be a secret of the configuration.
    panic_hook::install();
    let cli = Cli::parse();
    let config = match Config::load(&cli.config, &|name| env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            complain(format_args!("{error}"));
            return ExitCode::from(EX_CONFIG);
        }
    };
    if cli.check {
        for warning in config.warnings() {
            complain(format_args!("warning: {warning}"));
        }
        let mut stdout = io::stdout();
        return match stdout.write_all(config.describe().as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(format_args!("cannot print: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    let log = match logging::start(&cli, &config.log) {
        Ok(log) => log,
        Err(error) => {
            complain(format_args!("{error:#}"));
            return ExitCode::from(EX_USAGE);
        }
    };
    // Dropped last: what is said until then is written.
    let _goodbye = match log_writer::start() {
        Ok(goodbye) => goodbye,
        Err(error) => {
            complain(format_args!("cannot start the log's thread: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // A runtime that cannot start its threads does not say so, and some of them may wait for ever.
    if let Err(error) = try_threads() {
        tracing::error!(%error, "cannot start as many threads as there are to be");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(daemon::run(config, log));
            // What has not ended by now is not worth waiting for.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Killed) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts as many threads at once as the process begins with: two for each core, and a few that come with the work.
fn try_threads() -> io::Result<()> {
    let count = 2 * thread::available_parallelism()?.get() + SPARE_THREADS;
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let wait = || drop(gate.lock());
        let started = (0..count).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, wait).map(drop));
        drop(closed);
        started
    })
}

/// Says on the terminal what is wrong. Without a terminal the exit code has to do.
fn complain(why: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "relayd: {why}");
}

/// For a reload, and for what reads files and asks name servers.
const SPARE_THREADS: usize = 4;
/// sysexits.h: a usage error is clap's 2 instead.
const EX_CONFIG: u8 = 78;
const EX_USAGE: u8 = 2;
