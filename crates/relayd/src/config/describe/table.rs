//! Keys and their values as they are shown, and whether a value is another where the mask hides it.

use std::{
    fmt::{self, Display},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::LazyLock,
    time::Duration,
};

use relay::{Rate, RetryPolicy};

use crate::config::{PemFile, Secret};

/// A part of the configuration that comes and goes as a whole.
pub(super) struct Table {
    pub(super) name: TableName,
    pub(super) facts: Vec<Fact>,
}

/// `relay a`, or `relay a` and its `output 1`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) whole: String,
    pub(super) part: Option<String>,
}

impl Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)?;
        self.part.as_ref().map_or(Ok(()), |part| write!(f, ": {part}"))
    }
}

pub(super) struct Fact {
    pub(super) key: &'static str,
    pub(super) shown: String,
    /// A keyed print of what `shown` masks, to notice a change: no secret is copied for it.
    pub(super) print: u64,
}

impl Table {
    pub(super) fn new(whole: impl Into<String>) -> Self {
        Self { name: TableName { whole: whole.into(), part: None }, facts: Vec::new() }
    }

    pub(super) fn part(whole: String, part: String) -> Self {
        Self { name: TableName { whole, part: Some(part) }, facts: Vec::new() }
    }

    pub(super) fn fact(&mut self, key: &'static str, value: impl Display) {
        self.hidden(key, value, []);
    }

    /// A value that shows as `shown` and consists of `parts`.
    pub(super) fn hidden<'a>(
        &mut self,
        key: &'static str,
        shown: impl Display,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let mut print = PRINTS.build_hasher();
        // Each with its length: where one ends and the next begins counts as well.
        parts.into_iter().for_each(|part| part.hash(&mut print));
        self.facts.push(Fact { key, shown: shown.to_string(), print: print.finish() });
    }

    /// A key or a token of which nothing is shown.
    pub(super) fn secret(&mut self, key: &'static str, secret: Option<&Secret>) {
        self.hidden(key, if secret.is_some() { "***" } else { "none" }, secret.map(|it| it.expose().as_bytes()));
    }

    pub(super) fn file(&mut self, key: &'static str, file: Option<&PemFile>) {
        let path = file.map_or_else(|| "none".to_owned(), |file| file.path.display().to_string());
        self.hidden(key, path, file.map(|file| &*file.pem));
    }

    pub(super) fn duration(&mut self, key: &'static str, value: Duration) {
        self.fact(key, humantime::format_duration(value));
    }

    pub(super) fn retry(&mut self, retry: &RetryPolicy) {
        self.duration("retry.min", retry.min);
        self.duration("retry.max", retry.max);
        let never = || "never".to_owned();
        self.fact(
            "retry.give_up_after",
            retry.give_up_after.map_or_else(never, |after| humantime::format_duration(after).to_string()),
        );
    }
}

pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

pub(super) fn rate(rate: Rate) -> String {
    format!("{}/{}", rate.count, humantime::format_duration(rate.window))
}

/// Of this process: what a print is of cannot be found by trying.
static PRINTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
