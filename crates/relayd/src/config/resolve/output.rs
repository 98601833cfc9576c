//! `[[relay.output]]`

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::time::Duration;

use relay::{Flush, LogPolicy, OutputPolicy, RetryPolicy};
use rtmp::url::Target;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::Spanned;

use super::Resolver;
use super::checks::{HOUR, MS, TICK, take};
use crate::config::raw::RawOutput;
use crate::config::source::variable;
use crate::config::units::{Size, Text};
use crate::config::{CONNECT_TIMEOUT, Origin, OutputConfig, OutputTls, PemFile};

impl Resolver<'_> {
    /// `None` when it has a problem that leaves it without a target. `log` is its relay's.
    pub(super) fn output(&mut self, raw: Spanned<RawOutput>, log: &LogPolicy) -> Option<OutputConfig> {
        let table = raw.span();
        let mut raw = raw.into_inner();
        let target = self.target(&mut raw, table);
        let enabled = raw.enabled.unwrap_or(true);
        if let Some((target, span)) = target.as_ref().filter(|_| enabled) {
            self.only_one_publisher(target, span.clone());
        }
        let default = OutputPolicy::default();
        let policy = OutputPolicy {
            flush: self.flush(raw.flush, default.flush, log),
            max_lag: self.within(raw.max_lag, default.max_lag, TICK..=HOUR),
            max_lag_bytes: self.size(raw.max_lag_bytes, default.max_lag_bytes, Size::kib(16)..=Size::kib(64 << 20)),
            on_lag: take(raw.on_lag, default.on_lag),
            on_format_change: take(raw.on_format_change, default.on_format_change),
        };
        let ca = raw.ca_file.take().and_then(|file| self.certificates(&file));
        Some(OutputConfig {
            id: self.label(raw.id),
            name: self.free_text(raw.name),
            origin: Origin::File,
            enabled,
            policy,
            connect_timeout: self.within(raw.connect_timeout, CONNECT_TIMEOUT, TICK..=HOUR),
            write_timeout: self.within(raw.write_timeout, WRITE_TIMEOUT, TICK..=HOUR),
            retry: self.retry(raw.retry, RetryPolicy::OUTPUT),
            tls: OutputTls { ca, insecure: raw.insecure_tls.unwrap_or(false) },
            bind: raw.bind.map(|Text(address)| address),
            target: target?.0,
        })
    }

    /// `url`, or `server` with exactly one of the keys; also where the key stands.
    fn target(&mut self, raw: &mut RawOutput, table: Range<usize>) -> Option<(Target, Range<usize>)> {
        let keys = [&raw.key, &raw.key_file, &raw.key_env].into_iter().flatten().count();
        let (target, span) = match (raw.url.take(), raw.server.take()) {
            (Some(url), None) if keys == 0 => (Target::parse(url.get_ref()), url.span()),
            (None, Some(server)) if keys == 1 => {
                let (key, span) = self.stream_key(raw)?;
                // The parts are checked together, and what is wrong with them is nearly always the server.
                match Target::from_parts(server.get_ref(), &key) {
                    Ok(target) => (Ok(target), span),
                    Err(error) => (Err(error), server.span()),
                }
            }
            (Some(url), server) => {
                let beside = if server.is_some() { "server" } else { "a key" };
                self.fail(url.span(), format!("url and {beside} exclude each other; {TARGET_FORMS}"));
                return None;
            }
            (None, Some(server)) => {
                let found = if keys == 0 { "without a key" } else { "with several keys" };
                self.fail(server.span(), format!("server {found}; {TARGET_FORMS}"));
                return None;
            }
            (None, None) => {
                let key = if keys == 0 { "url" } else { "server" };
                self.fail_missing(table, key, format!("an output needs a target; {TARGET_FORMS}"));
                return None;
            }
        };
        match target {
            Ok(target) => Some((target, span)),
            Err(error) => {
                self.fail(span, format!("{error}; allowed: rtmp://host[:port]/app/key or rtmps://…"));
                None
            }
        }
    }

    fn stream_key(&mut self, raw: &mut RawOutput) -> Option<(Vec<u8>, Range<usize>)> {
        if let Some(file) = raw.key_file.take() {
            return Some((self.secret_file(&file)?, file.span()));
        }
        let (key, span) = match (raw.key.take(), raw.key_env.take()) {
            (Some(key), _) => (key.get_ref().clone(), key.span()),
            (None, Some(name)) => match variable(name.get_ref(), self.env) {
                Ok(key) => (key, name.span()),
                Err(message) => {
                    self.fail(name.span(), message);
                    return None;
                }
            },
            (None, None) => return None,
        };
        if key.is_empty() {
            self.fail(span, "the stream key is empty");
            return None;
        }
        Some((key.into_bytes(), span))
    }

    /// A server takes one publisher per key: the second would throw out the first, for ever.
    fn only_one_publisher(&mut self, target: &Target, span: Range<usize>) {
        let line = self.places.line(&span);
        match self.publish_points.entry(target.publish_point()) {
            Entry::Vacant(entry) => {
                entry.insert(line);
            }
            Entry::Occupied(entry) => {
                let message = format!("the same server and key as the enabled output in line {}", entry.get());
                self.fail(span, message);
            }
        }
    }

    /// At each flush the log holds what has come since the last one, and as much again for an output that misses one.
    fn flush(&mut self, value: Option<Spanned<Text<Flush>>>, default: Flush, log: &LogPolicy) -> Flush {
        let Some(value) = value else { return default };
        let Text(flush) = *value.get_ref();
        let Flush::Every(interval) = flush else { return flush };
        if !(MS..=MAX_FLUSH).contains(&interval) {
            self.fail(value.span(), "out of range; allowed: frame, or 1ms to 10s");
        } else if interval > log.max_time / 2 {
            let [max_time, half] = [log.max_time, log.max_time / 2].map(humantime::format_duration);
            self.fail(
                value.span(),
                format!(
                    "too long for log.max_time ({max_time}): what waits for its flush could leave the log unsent; \
                     allowed: frame, or 1ms to half of it ({half})"
                ),
            );
        }
        flush
    }

    /// Outputs that name the same file share what was read once.
    fn certificates(&mut self, file: &Spanned<String>) -> Option<PemFile> {
        let path = self.folder.join(file.get_ref());
        if let Some(known) = self.certificates.get(&path) {
            return Some(known.clone());
        }
        let pem = self.read_file(file, MAX_CA_FILE)?;
        let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
        if certificates.peek().is_none() || certificates.any(|certificate| certificate.is_err()) {
            self.fail(file.span(), "the file holds no certificates; allowed: a PEM file");
            return None;
        }
        let read = PemFile { path: path.clone(), pem: pem.into() };
        self.certificates.insert(path, read.clone());
        Some(read)
    }
}

const TARGET_FORMS: &str = "allowed: url, or server with one of key, key_file, key_env";
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_FLUSH: Duration = Duration::from_secs(10);
const MAX_CA_FILE: u64 = 4 << 20;
