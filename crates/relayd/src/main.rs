//! `relayd --config relay.toml`

use std::{env, process::ExitCode};

use clap::Parser;
use relayd::{
    cli::Cli,
    config::Config,
    daemon::{self, Ended},
    logging, panic_hook,
};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what --check and start-up errors say is for the terminal"
)]
fn main() -> ExitCode {
    // First of all: what a panic quotes may be a secret of the configuration.
    panic_hook::install();
    let cli = Cli::parse();
    let config = match Config::load(&cli.config, &|name| env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("relayd: {error}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    if cli.check {
        print!("{}", config.describe());
        return ExitCode::SUCCESS;
    }
    let log = match logging::start(&cli, &config.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("relayd: {error:#}");
            return ExitCode::from(EX_USAGE);
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

/// sysexits.h: a usage error is clap's 2 instead.
const EX_CONFIG: u8 = 78;
const EX_USAGE: u8 = 2;
