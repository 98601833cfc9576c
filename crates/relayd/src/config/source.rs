//! From TOML text to [`RawConfig`]: where each key stands, values from the environment, and errors that quote no value.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::error::Problem;
use super::raw::RawConfig;

/// Reads `text`. A string that is `"${NAME}"` as a whole is replaced by what `env` has for NAME.
pub(super) fn read<'a>(
    text: &'a str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(RawConfig, Places<'a>), Vec<Problem>> {
    let mut places = Places::of(text);
    let mut table = DeTable::parse(text).map_err(|error| vec![places.syntax_problem(&error)])?;
    let mut walk = Walk { places: &mut places, env, problems: Vec::new() };
    walk.table(table.get_mut(), "");
    if !walk.problems.is_empty() {
        return Err(walk.problems);
    }
    match RawConfig::deserialize(Deserializer::from(table)) {
        Ok(raw) => Ok((raw, places)),
        Err(error) => Err(vec![places.value_problem(&error)]),
    }
}

/// The variable called `name`. Only what can be a name is repeated in the message: anything else may be a stream key
/// that stands there by mistake.
pub(super) fn variable(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(is_name) {
        return Err("not the name of an environment variable; allowed: A-Z, a-z, 0-9, \"_\"".to_owned());
    }
    env(name).ok_or_else(|| format!("the environment has no variable {name}"))
}

/// Where each key and value of the file stands.
pub(super) struct Places<'a> {
    text: &'a str,
    /// Where each line ends.
    ends: Vec<usize>,
    keys: Vec<(Range<usize>, String)>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, ends: text.match_indices('\n').map(|(end, _)| end).collect(), keys: Vec::new() }
    }

    /// A problem of the key or value at `span`.
    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { line: self.line(&span), key: self.key(&span).to_owned(), message: message.into() }
    }

    /// A problem of `key`, which is not in the table at `span`.
    pub(super) fn missing(&self, table: Range<usize>, key: &str, message: impl Into<String>) -> Problem {
        let line = self.line(&table);
        Problem { line, key: join(self.key(&table), key), message: message.into() }
    }

    /// The line in which `span` begins, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.ends.partition_point(|&end| end < span.start)
    }

    /// The innermost key around `span`, with its tables.
    fn key(&self, span: &Range<usize>) -> &str {
        let around = self.keys.iter().filter(|(place, _)| place.start <= span.start && span.end <= place.end);
        around.min_by_key(|(place, _)| place.len()).map_or("", |(_, key)| key)
    }

    /// The parser's own messages quote nothing of the file.
    fn syntax_problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let key = match error.message() {
            "duplicate key" => self.text.get(span.clone()).unwrap_or(""),
            _ => "",
        };
        Problem { line: self.line(&span), key: key.to_owned(), message: error.message().to_owned() }
    }

    /// Serde's messages quote the value that they refuse; only what they say besides is taken over.
    fn value_problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        if let Some(key) = message.strip_prefix("missing field ") {
            return self.missing(span, key.trim_matches('`'), "a required key is missing");
        }
        let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
        if message.starts_with("unknown field ") {
            let allowed = expected.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ");
            return self.problem(span, format!("unknown key; allowed: {allowed}"));
        }
        if let Some(found) = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))
        {
            let allowed = match (found.starts_with("map"), expected) {
                (true, "a sequence") => format!("a list of tables, [[{}]]", self.key(&span)),
                (_, "a sequence") => "a list".to_owned(),
                (_, "a boolean") => "true, false".to_owned(),
                (_, "f64") => "a number".to_owned(),
                (_, "i64") => "a whole number".to_owned(),
                (_, "a map") => "a table".to_owned(),
                (_, other) if other.starts_with("struct ") => "a table".to_owned(),
                (_, other) => other.to_owned(),
            };
            return self.problem(span, format!("wrong type of value; allowed: {allowed}"));
        }
        let ours = message.starts_with(super::units::WRONG_VALUE);
        self.problem(span, if ours { message } else { "wrong value" })
    }
}

struct Walk<'a, 't> {
    places: &'a mut Places<'t>,
    env: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl Walk<'_, '_> {
    fn table(&mut self, table: &mut DeTable<'_>, path: &str) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            self.places.keys.push((key.span(), path.clone()));
            if NOT_SUPPORTED.contains(&path.as_str()) {
                self.problems.push(self.places.problem(key.span(), "not supported"));
            }
            self.value(value, &path);
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, path: &str) {
        let span = value.span();
        self.places.keys.push((span.clone(), path.to_owned()));
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, path),
            DeValue::Array(array) => array.iter_mut().for_each(|item| self.value(item, path)),
            DeValue::String(text) => {
                let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
                    return;
                };
                match variable(name, self.env) {
                    Ok(value) => *text = value.into(),
                    Err(message) => self.problems.push(self.places.problem(span, message)),
                }
            }
            _ => {}
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Tables and keys that have a meaning elsewhere in the design but none here; everything else unknown is a typo.
const NOT_SUPPORTED: [&str; 3] = ["state", "webhook", "cme"];
