//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::config::LogFormat;

/// One live stream in, many platforms out: relays an HTTP-FLV stream to RTMP and RTMPS platforms without transcoding.
#[derive(Debug, Parser)]
#[command(name = "relayd", version, about, long_about = None)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Validate the configuration, print what it resolves to, and exit.
    #[arg(long)]
    pub check: bool,
    /// How log lines are written; overrides the configuration.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<Format>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as "info,relayd=debug"; overrides RUST_LOG and the configuration.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The formats of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}
