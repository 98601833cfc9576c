//! Logs to stderr.

use std::{env, io};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::{
    cli::Cli,
    config::{LogConfig, LogFormat},
};

/// Starts logging: the command line wins over RUST_LOG, and that over `[log]`.
pub fn start(cli: &Cli, config: &LogConfig) -> anyhow::Result<()> {
    let from_env = env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let directives = cli.log_level.clone().or(from_env).unwrap_or_else(|| config.level.clone());
    // Libraries' own lines quote URLs, which hold secrets; only warnings of the TLS stack and the like are let through
    // at most, whatever level is asked for.
    let quiet = ["hyper", "hyper_util", "reqwest", "h2", "rustls", "mio", "axum", "tower", "want"];
    let filter = quiet.iter().fold(directives.clone(), |filter, library| format!("{filter},{library}=error"));
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("log level {directives:?}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match cli.log_format.map_or(config.format, LogFormat::from) {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
