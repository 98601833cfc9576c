//! What is wrong with a configuration, and where. No message ever holds a value: it could be a stream key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be opened, or is no UTF-8 text.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is wrong; printed one problem per line.
    #[error("{}", Lines { path, problems })]
    Invalid {
        /// The configuration file.
        path: PathBuf,
        /// At least one, in the order of their lines.
        problems: Vec<Problem>,
    },
}

/// One offence: `line: key: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// The key with its tables, such as `relay.failover.hold`; empty when the text is no TOML at that place.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl ConfigError {
    /// `problems` in whatever order they were found.
    pub(super) fn invalid(path: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self::Invalid { path: path.to_owned(), problems }
    }
}

struct Lines<'a> {
    path: &'a PathBuf,
    problems: &'a [Problem],
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { line, key, message }) in self.problems.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            let colon = if key.is_empty() { "" } else { ": " };
            write!(f, "{end}{}:{line}: {key}{colon}{message}", self.path.display())?;
        }
        Ok(())
    }
}
