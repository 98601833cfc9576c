//! `relayd --config relay.toml`

use std::{
    env, fmt,
    io::{self, Write},
    process::ExitCode,
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

/// Says on the terminal why there is nothing to run. Without a terminal the exit code has to do.
fn complain(why: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "relayd: {why}");
}

/// sysexits.h: a usage error is clap's 2 instead.
const EX_CONFIG: u8 = 78;
const EX_USAGE: u8 = 2;
