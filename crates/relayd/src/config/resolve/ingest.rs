//! `[ingest]`, and the inputs whose publishers it lets in.

use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::Resolver;
use super::checks::{HOUR, NOW, TICK};
use crate::config::raw::{RawAuth, RawIngest, RawInput};
use crate::config::source::variable;
use crate::config::{
    AdminConfig, INGEST_LISTEN, IngestConfig, IngestTlsConfig, OnDuplicate, PemFile, PushConfig, Secret,
};
use crate::ingest::{CertificateError, certified_key};

impl Resolver<'_> {
    pub(super) fn ingest(&mut self, raw: Spanned<RawIngest>, admin: Option<&AdminConfig>) -> IngestConfig {
        let table = raw.span();
        let raw = raw.into_inner();
        let listen = raw.listen.as_ref().map_or(INGEST_LISTEN, |listen| listen.get_ref().0);
        if let Some(given) = &raw.listen
            && admin.is_some_and(|admin| is_same_port(admin.listen, listen))
        {
            self.fail(given.span(), "the address of admin.listen; allowed: another address or port");
        }
        let tls = match (raw.tls_listen, raw.tls_cert, raw.tls_key) {
            (None, None, None) => None,
            (Some(at), Some(cert), Some(key)) => {
                let address = at.get_ref().0;
                if is_same_port(address, listen) {
                    self.fail(at.span(), "the address of ingest.listen; allowed: another address or port");
                } else if admin.is_some_and(|admin| is_same_port(admin.listen, address)) {
                    self.fail(at.span(), "the address of admin.listen; allowed: another address or port");
                }
                self.certificate(&cert, &key).map(|(cert, key)| IngestTlsConfig { listen: address, cert, key })
            }
            (at, cert, key) => {
                let spans = [at.map(|at| at.span()), cert.map(|cert| cert.span()), key.map(|key| key.span())];
                for (name, _) in ["tls_listen", "tls_cert", "tls_key"].iter().zip(&spans).filter(|(_, s)| s.is_none()) {
                    let given = spans.iter().flatten().next().unwrap_or(&table).clone();
                    self.fail(
                        given,
                        format!("RTMPS needs {name} too; allowed: tls_listen, tls_cert and tls_key together"),
                    );
                }
                None
            }
        };
        IngestConfig { listen, tls }
    }

    fn certificate(&mut self, cert: &Spanned<String>, key: &Spanned<String>) -> Option<(PemFile, PemFile)> {
        let (pem, key_pem) = (self.read_file(cert, MAX_PEM), self.read_file(key, MAX_PEM));
        let (pem, key_pem) = (pem?, key_pem?);
        if let Err(error) = certified_key(&pem, &key_pem) {
            let is_key = matches!(error, CertificateError::NoKey | CertificateError::Mismatch);
            self.fail(if is_key { key.span() } else { cert.span() }, error.to_string());
            return None;
        }
        let file =
            |name: &Spanned<String>, pem: Vec<u8>| PemFile { path: self.folder.join(name.get_ref()), pem: pem.into() };
        Some((file(cert, pem), file(key, key_pem)))
    }

    pub(super) fn push(&mut self, raw: RawInput, table: &Range<usize>) -> Option<PushConfig> {
        let Some(key) = raw.key else {
            self.fail_missing(table.clone(), "key", "a push input needs it: \"app/stream\"");
            return None;
        };
        if !self.has_ingest {
            self.fail(key.span(), "a push input needs the [ingest] table with listen");
        }
        let text = key.get_ref();
        let named = text.split_once('/').is_some_and(|(app, stream)| !app.is_empty() && !stream.is_empty());
        if !named || text.ends_with('/') || text.contains(|c: char| c == '?' || c.is_control()) {
            self.fail(key.span(), "wrong value; allowed: \"app/stream\", without a query");
        }
        if text.len() > MAX_KEY {
            self.fail(key.span(), format!("too long; allowed: {MAX_KEY} bytes"));
        }
        let line = self.places.line(&key.span());
        match self.push_keys.entry(text.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(line);
            }
            Entry::Occupied(entry) => {
                let message = format!("already the key of the push input in line {}", entry.get());
                self.fail(key.span(), message);
            }
        }
        let on_duplicate = raw.on_duplicate.map_or(OnDuplicate::Reject, |value| value.get_ref().0);
        if let Some(after) = raw.replace_after.as_ref().filter(|_| on_duplicate == OnDuplicate::Reject) {
            self.fail(after.span(), "goes with on_duplicate = \"replace\" only");
        }
        Some(PushConfig {
            key: Secret::from(key.into_inner()),
            tx_key: raw.auth.and_then(|auth| self.tx_key(auth)),
            on_duplicate,
            replace_after: self.within(raw.replace_after, REPLACE_AFTER, NOW..=HOUR),
            idle_timeout: self.within(raw.idle_timeout, IDLE_TIMEOUT, TICK..=HOUR),
        })
    }

    fn tx_key(&mut self, raw: Spanned<RawAuth>) -> Option<Secret> {
        let table = raw.span();
        let (bytes, span) = match raw.into_inner() {
            RawAuth { tx_key: Some(key), tx_key_file: None, tx_key_env: None } => {
                (key.get_ref().clone().into_bytes(), key.span())
            }
            RawAuth { tx_key: None, tx_key_file: Some(file), tx_key_env: None } => {
                (self.secret_file(&file)?, file.span())
            }
            RawAuth { tx_key: None, tx_key_file: None, tx_key_env: Some(name) } => {
                match variable(name.get_ref(), self.env) {
                    Ok(key) => (key.into_bytes(), name.span()),
                    Err(message) => {
                        self.fail(name.span(), message);
                        return None;
                    }
                }
            }
            _ => {
                self.fail(table, "no key, or several; allowed: one of tx_key, tx_key_file, tx_key_env");
                return None;
            }
        };
        let key = String::from_utf8(bytes).ok().filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
        let Some(key) = key.filter(|key| (MIN_TX_KEY..=MAX_TX_KEY).contains(&key.len())) else {
            let message = format!("not a key; allowed: {MIN_TX_KEY} to {MAX_TX_KEY} visible ASCII characters");
            self.fail(span, message);
            return None;
        };
        Some(key.into())
    }
}

/// Two listeners on it are one too many. Port 0 is another one each time.
fn is_same_port(a: SocketAddr, b: SocketAddr) -> bool {
    a == b && a.port() != 0
}

const REPLACE_AFTER: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Any shorter one can be found by trying, from a single signed URL.
const MIN_TX_KEY: usize = 8;
const MAX_TX_KEY: usize = 256;
/// Half of what a publisher may send as its name: the rest is for queries.
const MAX_KEY: usize = 1 << 10;
const MAX_PEM: u64 = 1 << 20;
