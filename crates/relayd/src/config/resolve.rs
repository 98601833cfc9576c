//! From the file as written to the typed configuration: defaults, ranges, names, and what must fit together.

mod checks;
mod ingest;
mod input;
mod limits;
mod output;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use tracing_subscriber::{EnvFilter, filter::ParseError};

use self::checks::{DAY, HOUR, MS, NOW, TICK, take};
use super::error::Problem;
use super::raw::{RawAdmin, RawConfig, RawFailover, RawLog, RawLogging, RawNetwork, RawRelay, RawTimeline};
use super::source::Places;
use super::units::{Size, Text};
use super::{
    ADMIN_LISTEN, AdminConfig, Config, LogConfig, LogFormat, NetworkConfig, Origin, PemFile, RelayConfig, Secret,
};

/// Resolves the file that `path` names; its folder is where relative paths begin.
pub(super) fn resolve(
    raw: RawConfig,
    path: &Path,
    places: &Places<'_>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<Problem>> {
    let mut resolver = Resolver {
        folder: path.parent().unwrap_or(Path::new("")),
        places,
        env,
        has_ingest: raw.ingest.is_some(),
        push_keys: HashMap::new(),
        publish_points: HashMap::new(),
        certificates: HashMap::new(),
        problems: Vec::new(),
    };
    let config = resolver.config(raw, path);
    if resolver.problems.is_empty() { Ok(config) } else { Err(resolver.problems) }
}

/// Collects problems; a value with a problem is replaced by its default, or left out, until the whole file was seen.
struct Resolver<'a> {
    folder: &'a Path,
    places: &'a Places<'a>,
    env: &'a dyn Fn(&str) -> Option<String>,
    has_ingest: bool,
    /// The keys of the push inputs so far, and their lines.
    push_keys: HashMap<String, usize>,
    /// Where the enabled outputs so far publish, and their lines.
    publish_points: HashMap<rtmp::url::PublishPoint, usize>,
    /// The CA files that were read so far.
    certificates: HashMap<PathBuf, PemFile>,
    problems: Vec<Problem>,
}

/// The filter that `[log] level` stands for. Values of fields are compared as they are: a pattern of forty characters can
/// keep the compiler of patterns busy for minutes.
pub(crate) fn log_filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_regex(false).parse(directives)
}

impl Resolver<'_> {
    fn config(&mut self, raw: RawConfig, path: &Path) -> Config {
        self.unique(raw.relay.iter().map(|relay| &relay.name));
        let log = self.logging(raw.log);
        let admin = raw.admin.map(|admin| self.admin(admin));
        let ingest = raw.ingest.map(|ingest| self.ingest(ingest, admin.as_ref()));
        let network = self.network(raw.network);
        let limits = self.limits(raw.limits);
        let relays = raw.relay.into_iter().map(|relay| self.relay(relay)).collect();
        Config { path: path.to_owned(), log, admin, ingest, network, limits, relays }
    }

    fn logging(&mut self, raw: RawLogging) -> LogConfig {
        let format = take(raw.format, LogFormat::Text);
        let Some(level) = raw.level else {
            return LogConfig { level: "info".to_owned(), format };
        };
        // A bare word that is no level would be taken for the name of a module.
        let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
        let words = level.get_ref().split(',').all(|part| part.contains('=') || is_level(part.trim()));
        // The filter's parser cuts at bytes: it panics inside a character of several.
        if !words || !level.get_ref().is_ascii() || log_filter(level.get_ref()).is_err() {
            self.fail(
                level.span(),
                format!("wrong value; allowed: {}, or a filter such as \"info,relayd=debug\"", LEVELS.join(", ")),
            );
        }
        LogConfig { level: level.into_inner(), format }
    }

    fn admin(&mut self, raw: RawAdmin) -> AdminConfig {
        let listen = raw.listen.as_ref().map_or(ADMIN_LISTEN, |listen| listen.get_ref().0);
        if let Some(given) = raw.listen
            && raw.token_file.is_none()
            && !listen.ip().to_canonical().is_loopback()
        {
            self.fail(given.span(), "an address beyond loopback needs token_file; allowed without: 127.0.0.1, [::1]");
        }
        for host in &raw.hosts {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            if host.get_ref().is_empty() || !host.get_ref().chars().all(is_name) {
                self.fail(host.span(), "wrong value; allowed: host names such as \"relay.example.com\"");
            }
        }
        let token = raw.token_file.and_then(|file| self.token(&file));
        AdminConfig { listen, token, hosts: raw.hosts.into_iter().map(Spanned::into_inner).collect() }
    }

    fn token(&mut self, file: &Spanned<String>) -> Option<Secret> {
        let bytes = self.secret_file(file)?;
        match String::from_utf8(bytes) {
            Ok(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => Some(token.into()),
            _ => {
                self.fail(
                    file.span(),
                    "the file's content is no token; allowed: one line of visible ASCII without spaces",
                );
                None
            }
        }
    }

    fn network(&mut self, raw: RawNetwork) -> NetworkConfig {
        let vod_dir = raw.vod_dir.and_then(|folder| {
            let found = std::path::absolute(self.folder.join(folder.get_ref())).ok().filter(|found| found.is_dir());
            if found.is_none() {
                self.fail(folder.span(), "not a folder; allowed: a folder that exists");
            }
            found
        });
        NetworkConfig { allow: raw.allow.into_iter().map(|Text(range)| range).collect(), vod_dir }
    }

    fn relay(&mut self, raw: RawRelay) -> RelayConfig {
        self.unique(raw.input.iter().map(|input| &input.get_ref().name));
        self.unique(raw.output.iter().map(|output| &output.get_ref().id));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !raw.name.get_ref().chars().all(is_name) || !(1..=64).contains(&raw.name.get_ref().len()) {
            self.fail(raw.name.span(), "not a name; allowed: 1 to 64 characters of a-z, A-Z, 0-9, \".\", \"_\", \"-\"");
        }
        let log = self.log(raw.log);
        RelayConfig {
            name: raw.name.into_inner(),
            title: self.free_text(raw.title),
            origin: Origin::File,
            autostart: raw.autostart.unwrap_or(true),
            inputs: raw.input.into_iter().filter_map(|input| self.input(input)).collect(),
            failover: self.failover(raw.failover),
            timeline: self.timeline(raw.timeline),
            log,
            outputs: raw.output.into_iter().filter_map(|output| self.output(output, &log)).collect(),
        }
    }

    fn failover(&mut self, raw: RawFailover) -> relay::FailoverPolicy {
        let default = relay::FailoverPolicy::default();
        let ratio = raw.slow_ratio.as_ref().map_or(default.slow_ratio, |ratio| *ratio.get_ref());
        if let Some(given) = raw.slow_ratio.filter(|_| !(0.0..1.0).contains(&ratio)) {
            self.fail(given.span(), "out of range; allowed: 0.0 (off) to below 1.0");
        }
        relay::FailoverPolicy {
            standby: take(raw.standby, default.standby),
            stall_timeout: self.within(raw.stall_timeout, default.stall_timeout, TICK..=HOUR),
            no_video: self.within(raw.no_video, default.no_video, TICK..=HOUR),
            no_audio: self.within(raw.no_audio, default.no_audio, TICK..=HOUR),
            keyframe_overdue: self.within(raw.keyframe_overdue, default.keyframe_overdue, TICK..=HOUR),
            slow_ratio: ratio,
            exact_wait: self.within(raw.exact_wait, default.exact_wait, NOW..=HOUR),
            revert: take(raw.revert, default.revert),
            revert_after: self.within(raw.revert_after, default.revert_after, NOW..=DAY),
            min_dwell: self.within(raw.min_dwell, default.min_dwell, NOW..=DAY),
            max_reverts: self.rate(raw.max_reverts, default.max_reverts),
            hold: self.within(raw.hold, default.hold, NOW..=DAY),
        }
    }

    fn timeline(&mut self, raw: RawTimeline) -> relay::TimelinePolicy {
        let default = relay::TimelinePolicy::default();
        relay::TimelinePolicy {
            max_jump: self.within(raw.max_jump, default.max_jump, MS..=HOUR),
            on_fault: take(raw.on_fault, default.on_fault),
            fault_limit: self.rate(raw.fault_limit, default.fault_limit),
        }
    }

    fn log(&mut self, raw: RawLog) -> relay::LogPolicy {
        let default = relay::LogPolicy::default();
        relay::LogPolicy {
            max_time: self.within(raw.max_time, default.max_time, TICK..=HOUR),
            max_bytes: self.size(raw.max_bytes, default.max_bytes, Size::kib(64)..=Size::kib(64 << 20)),
        }
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
