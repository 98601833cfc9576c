//! Logs to stderr.

use std::{env, fmt, io};

use anyhow::{Context, ensure};
use tracing_subscriber::EnvFilter;

use crate::{
    cli::Cli,
    config::{LogConfig, LogFormat, log_filter},
};

/// The filter of a running log, to be changed with the configuration.
pub struct LogLevel {
    set: Box<dyn Fn(EnvFilter) -> bool + Send>,
    /// The command line or RUST_LOG says what is logged.
    overridden: bool,
}

impl LogLevel {
    /// Another `[log] level` holds from now on. False when the command line or RUST_LOG has the say.
    pub fn set(&self, level: &str) -> bool {
        // The configuration has checked it.
        !self.overridden && filter(level).is_ok_and(&self.set)
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").field("overridden", &self.overridden).finish_non_exhaustive()
    }
}

/// Starts logging: the command line wins over RUST_LOG, and that over `[log]`.
pub fn start(cli: &Cli, config: &LogConfig) -> anyhow::Result<LogLevel> {
    let from_env = env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let given = cli.log_level.clone().or(from_env);
    let overridden = given.is_some();
    let filter = filter(&given.unwrap_or_else(|| config.level.clone()))?;
    let builder = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false);
    let set: Box<dyn Fn(EnvFilter) -> bool + Send> = match cli.log_format.map_or(config.format, LogFormat::from) {
        LogFormat::Text => {
            let builder = builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
    };
    Ok(LogLevel { set, overridden })
}

/// Libraries' own lines quote URLs, which hold secrets; only warnings of the TLS stack and the like are let through at
/// most, whatever level is asked for.
fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    // The parser cuts at bytes: it panics inside a character of several.
    ensure!(directives.is_ascii(), "log level {directives:?}: allowed are ASCII characters");
    let quiet = ["hyper", "hyper_util", "reqwest", "h2", "rustls", "mio", "axum", "tower", "want"];
    let filter = quiet.iter().fold(directives.to_owned(), |filter, library| format!("{filter},{library}=error"));
    log_filter(&filter).with_context(|| format!("log level {directives:?}"))
}
