//! The configuration file: any text is taken, or refused with places in it; no secret of it is ever printed.

use std::path::Path;

use relayd::config::{Config, ConfigError, InputSource, Problem, VodItem};
use toml::de::{DeTable, DeValue};

/// The file.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Names of variables may be printed, so those with secrets in them are left alone.
    let env = |name: &str| (!name.len().is_multiple_of(3)).then(|| format!("{MARK}-of-the-environment"));
    match Config::parse(&text, Path::new("/nonexistent/relay.toml"), &env) {
        Ok(config) => accepted(&config),
        Err(ConfigError::Invalid { problems, path }) => {
            assert!(!problems.is_empty(), "refused without a problem");
            refused(&text, &problems);
            let error = ConfigError::Invalid { problems, path };
            assert!(!error.to_string().is_empty());
        }
        Err(error) => panic!("a text is not refused with {error}"),
    }
}

fn refused(text: &str, problems: &[Problem]) {
    let lines = text.matches('\n').count() + 1;
    let printable = Printable::of(text);
    for problem in problems {
        assert!((1..=lines).contains(&problem.line), "line {} of {lines}", problem.line);
        assert!(!problem.message.is_empty(), "nothing is said");
        if printable != Printable::Marks {
            assert!(!problem.message.contains(MARK), "{problem:?}");
            assert!(printable == Printable::Unknown || !problem.key.contains(MARK), "{problem:?}");
        }
    }
}

/// Whether the marks of a file stand where they may be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Printable {
    /// They all stand in values.
    Nothing,
    /// In a key or a variable's name.
    Marks,
    /// The file is no TOML: there is no telling what is a key.
    Unknown,
}

impl Printable {
    fn of(text: &str) -> Self {
        match DeTable::parse(text) {
            Err(_) => Self::Unknown,
            Ok(table)
                if table
                    .get_ref()
                    .iter()
                    .any(|(key, value)| key.get_ref().contains(MARK) || shows(value.get_ref())) =>
            {
                Self::Marks
            }
            Ok(_) => Self::Nothing,
        }
    }
}

/// Whether a mark in `value` may be printed: in a key, or in what is taken for the name of a variable.
fn shows(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(table) => table.iter().any(|(key, value)| {
            let is_variable = matches!(&**key.get_ref(), "key_env" | "tx_key_env")
                && value.get_ref().as_str().is_some_and(|name| name.contains(MARK));
            key.get_ref().contains(MARK) || is_variable || shows(value.get_ref())
        }),
        DeValue::Array(values) => values.iter().any(|value| shows(value.get_ref())),
        DeValue::String(text) => text.starts_with("${") && text.contains(MARK),
        _ => false,
    }
}

fn accepted(config: &Config) {
    let mut shown: Vec<String> = vec![config.log.level.clone()];
    shown.extend(config.admin.iter().flat_map(|admin| admin.hosts.iter().cloned()));
    for relay in &config.relays {
        assert!((1..=64).contains(&relay.name.len()), "{:?}", relay.name);
        assert!(relay.log.max_bytes > 0 && relay.failover.slow_ratio < 1.0);
        shown.extend([relay.name.clone(), relay.title.clone()]);
        for input in &relay.inputs {
            shown.push(input.name.clone());
            match &input.source {
                InputSource::Pull(pull) => {
                    shown.push(pull.url.to_string());
                    shown.extend(pull.headers.iter().map(|(name, _)| name.clone()));
                }
                InputSource::Push(push) => shown.extend(push.key.expose().split('/').next().map(str::to_owned)),
                InputSource::Vod(vod) => shown.extend(vod.items.iter().map(|item| match item {
                    VodItem::File(path) => path.display().to_string(),
                    VodItem::Http(url) => url.to_string(),
                })),
            }
        }
        for output in &relay.outputs {
            shown.extend([output.id.clone(), output.name.clone(), output.target.to_string()]);
        }
    }
    let empty = Config::parse("", &config.path, &|_| None).expect("an empty file is a configuration");
    let (described, warnings) = (config.describe(), config.warnings());
    let text = format!("{described}{warnings:?}{config:?}{:?}{:?}", config.changes(&empty), empty.changes(config));
    let is_meant = shown.iter().any(|part| part.contains(MARK));
    assert!(is_meant || !text.contains(MARK), "a secret is printed:\n{text}");
}

/// Stands in secrets.
const MARK: &str = "SECRET";
