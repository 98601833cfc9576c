//! Logs to stderr.

use std::{env, fmt, io};

use anyhow::{Context, ensure};
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    cli::Cli,
    config::{LogConfig, LogFormat, log_filter},
    log_writer,
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
    let builder = tracing_subscriber::fmt().with_writer(log_writer::writer).with_target(false);
    let set: Box<dyn Fn(EnvFilter) -> bool + Send> = match cli.log_format.map_or(config.format, LogFormat::from) {
        LogFormat::Text => {
            let builder = builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().with(filter_fn(is_ours_or_an_error)).init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().with(filter_fn(is_ours_or_an_error)).init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
    };
    Ok(LogLevel { set, overridden })
}

fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    // The parser cuts at bytes: it panics inside a character of several.
    ensure!(directives.is_ascii(), "log level {directives:?}: allowed are ASCII characters");
    log_filter(directives).with_context(|| format!("log level {directives:?}"))
}

/// Libraries' own lines quote URLs, which hold secrets. Whatever is asked for, and for whom, what they say below an error
/// is not logged.
fn is_ours_or_an_error(line: &Metadata<'_>) -> bool {
    *line.level() == Level::ERROR || line.target().split("::").next() == Some("relayd")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, error, info_span, subscriber::with_default, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_directive_lets_libraries_talk() {
        for directives in
            ["trace", "hyper::proto=trace,rustls=debug,relayd=debug", "debug,[relay]=trace", "[relay]=trace"]
        {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .with_env_filter(filter(directives).unwrap())
                .finish()
                .with(filter_fn(is_ours_or_an_error));
            with_default(subscriber, || {
                let _relay = info_span!(target: "relayd::daemon", "relay").entered();
                warn!(target: "hyper::proto::h1", "library");
                debug!(target: "reqwest::connect", "library");
                debug!(target: "relayd_of_another", "library");
                error!(target: "rustls::conn", "failed");
                debug!(target: "relayd::input::pull", "ours");
            });
            let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(!lines.contains("library"), "{directives}: {lines}");
            assert!(lines.contains("ours") && lines.contains("failed"), "{directives}: {lines}");
        }
    }
}
