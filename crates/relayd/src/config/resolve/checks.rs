//! The checks that several tables share: ranges, names, free text and the files that hold secrets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use relay::{Rate, RetryPolicy};
use toml::Spanned;

use super::Resolver;
use crate::config::files;
use crate::config::raw::RawRetry;
use crate::config::units::{GiveUp, Size, Text};

pub(super) const NOW: Duration = Duration::ZERO;
pub(super) const MS: Duration = Duration::from_millis(1);
/// The shortest timeout: below it ordinary jitter is a fault.
pub(super) const TICK: Duration = Duration::from_millis(100);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The value, or the default of a key that was left out.
pub(super) fn take<T>(value: Option<Text<T>>, default: T) -> T {
    value.map_or(default, |Text(value)| value)
}

impl Resolver<'_> {
    pub(super) fn fail(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push(self.places.problem(span, message));
    }

    /// The same for a key that should be in the table at `table`.
    pub(super) fn fail_missing(&mut self, table: Range<usize>, key: &str, message: impl Into<String>) {
        self.problems.push(self.places.missing(table, key, message));
    }

    pub(super) fn within(
        &mut self,
        value: Option<Spanned<Text<Duration>>>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = value else { return default };
        let Text(duration) = *value.get_ref();
        self.check(value.span(), &duration, range, |d| humantime::format_duration(*d).to_string());
        duration
    }

    pub(super) fn size(
        &mut self,
        value: Option<Spanned<Text<Size>>>,
        default: usize,
        range: RangeInclusive<Size>,
    ) -> usize {
        let Some(value) = value else { return default };
        let Text(size) = *value.get_ref();
        self.check(value.span(), &size, range, Size::to_string);
        usize::try_from(size.0).unwrap_or(usize::MAX)
    }

    /// Events are remembered for the whole window, so their number is bounded.
    pub(super) fn rate(&mut self, value: Option<Spanned<Text<Rate>>>, default: Rate) -> Rate {
        let Some(value) = value else { return default };
        let Text(rate) = *value.get_ref();
        if rate.count > MAX_COUNT || !(TICK..=DAY).contains(&rate.window) {
            self.fail(value.span(), format!("out of range; allowed: 0 to {MAX_COUNT} times in 100ms to 1day"));
        }
        rate
    }

    pub(super) fn retry(&mut self, raw: Option<Spanned<RawRetry>>, default: RetryPolicy) -> RetryPolicy {
        let Some(raw) = raw else { return default };
        let span = raw.span();
        let raw = raw.into_inner();
        let give_up_after = raw.give_up_after.map_or(default.give_up_after, |value| {
            let Text(GiveUp(after)) = *value.get_ref();
            if let Some(after) = after {
                self.check(value.span(), &after, MS..=365 * DAY, |d| humantime::format_duration(*d).to_string());
            }
            after
        });
        let min = self.within(raw.min, default.min, MS..=HOUR);
        let max = self.within(raw.max, default.max, MS..=DAY);
        if min > max {
            let (min, max) = (humantime::format_duration(min), humantime::format_duration(max));
            self.fail(span, format!("min ({min}) is longer than max ({max}); allowed: min up to max"));
        }
        RetryPolicy { min, max, give_up_after }
    }

    /// Reports each name that stands twice, at its second place.
    pub(super) fn unique<'n>(&mut self, names: impl Iterator<Item = &'n Spanned<String>>) {
        let mut lines = HashMap::new();
        for name in names {
            match lines.entry(name.get_ref().as_str()) {
                Entry::Vacant(entry) => {
                    entry.insert(self.places.line(&name.span()));
                }
                Entry::Occupied(entry) => {
                    let message = format!("already used in line {}; allowed: a value of its own", entry.get());
                    self.fail(name.span(), message);
                }
            }
        }
    }

    /// The name of an input, or the id of an output: a part of API paths and a metric's label.
    pub(super) fn label(&mut self, value: Spanned<String>) -> String {
        let odd = |c: char| c.is_control() || c == '/';
        if !(1..=64).contains(&value.get_ref().chars().count()) || value.get_ref().contains(odd) {
            self.fail(value.span(), "wrong value; allowed: 1 to 64 characters, no \"/\" and no control characters");
        }
        value.into_inner()
    }

    pub(super) fn free_text(&mut self, value: Option<Spanned<String>>) -> String {
        let Some(value) = value else { return String::new() };
        if value.get_ref().chars().count() > MAX_FREE_TEXT || value.get_ref().contains(char::is_control) {
            self.fail(
                value.span(),
                format!("wrong value; allowed: up to {MAX_FREE_TEXT} characters, no control characters"),
            );
        }
        value.into_inner()
    }

    /// What a key or token file holds, without the line end that editors leave.
    pub(super) fn secret_file(&mut self, file: &Spanned<String>) -> Option<Vec<u8>> {
        let mut bytes = self.read_file(file, MAX_SECRET)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() || bytes.contains(&b'\n') {
            self.fail(file.span(), "the file is empty or has several lines; allowed: a file of one line");
            return None;
        }
        Some(bytes)
    }

    /// At most `limit` bytes; the file's name is not repeated, as a key may stand there by mistake.
    pub(super) fn read_file(&mut self, file: &Spanned<String>, limit: u64) -> Option<Vec<u8>> {
        match files::read(&self.folder.join(file.get_ref()), limit) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => self.fail(file.span(), format!("the file is too large; allowed: {}", Size(limit))),
            Err(error) => self.fail(file.span(), format!("the file cannot be read: {error}")),
        }
        None
    }

    pub(super) fn check<T: PartialOrd, D: Display>(
        &mut self,
        span: Range<usize>,
        value: &T,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> D,
    ) {
        if !range.contains(value) {
            self.fail(span, format!("out of range; allowed: {} to {}", show(range.start()), show(range.end())));
        }
    }
}

const MAX_COUNT: u32 = 10_000;
const MAX_FREE_TEXT: usize = 256;
const MAX_SECRET: u64 = 64 << 10;
