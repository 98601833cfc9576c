//! The configuration of the daemon: read from TOML, checked whole, and typed.

mod cycles;
mod describe;
mod error;
mod files;
mod limits;
mod raw;
mod resolve;
mod source;
mod units;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::describe::Changes;
pub use self::error::{ConfigError, Problem};
pub use self::limits::LimitsConfig;
pub(crate) use self::resolve::log_filter;
use self::units::Size;
use crate::egress::Cidr;
use crate::ingest::{CertificateError, certified_key};
pub use crate::secret::{MediaUrl, Secret};

/// Everything that one configuration file says, with defaults filled in. Its Debug output is masked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that it was read from, as given on the command line.
    pub path: PathBuf,
    /// `[log]`.
    pub log: LogConfig,
    /// `[admin]`; `None` leaves the HTTP side off.
    pub admin: Option<AdminConfig>,
    /// `[ingest]`; `None` leaves the RTMP listener off, and then no relay has a push input.
    pub ingest: Option<IngestConfig>,
    /// `[network]`.
    pub network: NetworkConfig,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `[[relay]]`, in the file's order; names are unique.
    pub relays: Vec<RelayConfig>,
}

impl Config {
    /// Reads and checks the file at `path`, and the key, token and CA files that it names (relative to its folder).
    /// `env` looks up environment variables for `"${NAME}"` and `key_env`.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, env)
    }

    /// The same for a `text` that was read already, or that is to stand at `path`.
    pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::invalid(path, problems);
        let (raw, places) = source::read(text, env).map_err(invalid)?;
        resolve::resolve(raw, path, &places, env).map_err(invalid)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {}", Size(MAX_CONFIG)));
    let text = files::read(path, MAX_CONFIG)?.ok_or_else(too_large)?;
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Bytes: some tens of thousands of relays.
const MAX_CONFIG: u64 = 16 << 20;

/// `[log]`: what is logged to stderr, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter of tracing-subscriber: a level, or directives such as `info,relayd=debug`.
    pub level: String,
    /// Lines for people or for programs.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[admin]`: the HTTP side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Loopback, or anything when there is a token.
    pub listen: SocketAddr,
    /// The bearer token, visible ASCII; `None` asks for none.
    pub token: Option<Secret>,
    /// Host names accepted besides those of loopback, without ports.
    pub hosts: Vec<String>,
}

/// `[ingest]`: the RTMP listener for push inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestConfig {
    /// Where it listens for RTMP.
    pub listen: SocketAddr,
    /// Where it listens for RTMPS; `None` leaves that off.
    pub tls: Option<IngestTlsConfig>,
}

/// The RTMPS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestTlsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificates, the listener's own first.
    pub cert: PemFile,
    /// The private key that belongs to it.
    pub key: PemFile,
}

impl IngestTlsConfig {
    /// The certificate with its key.
    pub fn certificate(&self) -> Result<rustls::sign::CertifiedKey, CertificateError> {
        certified_key(&self.cert.pem, &self.key.pem)
    }
}

/// `[network]`: the egress policy for what is made over an API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// What may be connected to although it is denied by default.
    pub allow: Vec<Cidr>,
    /// The only place of files; absolute. `None` leaves none.
    pub vod_dir: Option<PathBuf>,
}

/// Who made a relay or an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file, which is trusted.
    File,
    /// Somebody who may use an API: what it connects to is limited by [`NetworkConfig`].
    Api,
}

impl Origin {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// `[[relay]]`: one programme.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayConfig {
    /// Unique; 1 to 64 characters of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// Free text; empty when left out.
    pub title: String,
    /// Who made it, and its inputs.
    pub origin: Origin,
    /// Starts with the daemon, or when a reload makes it true.
    pub autostart: bool,
    /// The highest priority first; may be empty.
    pub inputs: Vec<InputConfig>,
    /// `[relay.failover]`.
    pub failover: relay::FailoverPolicy,
    /// `[relay.timeline]`.
    pub timeline: relay::TimelinePolicy,
    /// `[relay.log]`.
    pub log: relay::LogPolicy,
    /// May be empty.
    pub outputs: Vec<OutputConfig>,
}

/// `[[relay.input]]`: where media comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputConfig {
    /// Unique in the relay.
    pub name: String,
    /// Its `type` with the keys of that type.
    pub source: InputSource,
}

/// The types of inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputSource {
    /// An HTTP-FLV stream that is requested.
    Pull(PullConfig),
    /// A publisher that comes to the RTMP listener.
    Push(PushConfig),
    /// FLV files in a row.
    Vod(VodConfig),
}

impl InputSource {
    /// As far as decisions depend on it.
    pub fn kind(&self) -> relay::InputKind {
        match self {
            Self::Pull(_) => relay::InputKind::Pull,
            Self::Push(_) => relay::InputKind::Push,
            Self::Vod(_) => relay::InputKind::Vod,
        }
    }
}

/// `type = "pull"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullConfig {
    /// What is requested.
    pub url: MediaUrl,
    /// Further request headers; names and values are valid for HTTP, values are ASCII.
    pub headers: Vec<(String, Secret)>,
    /// For connecting, TLS and the response's head together.
    pub connect_timeout: Duration,
    /// Bytes of one tag's body; a larger one ends the connection.
    pub max_tag_size: u32,
    /// Never gives up.
    pub retry: relay::RetryPolicy,
}

/// `type = "push"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    /// `app/stream` without a query; unique in the configuration.
    pub key: Secret,
    /// The key that push URLs are signed with; `None` asks for no signature.
    pub tx_key: Option<Secret>,
    /// What a second publisher may do.
    pub on_duplicate: OnDuplicate,
    /// How long the present publisher has sent nothing before [`OnDuplicate::Replace`] lets another take its place.
    pub replace_after: Duration,
    /// Without a byte for this long a publisher is closed.
    pub idle_timeout: Duration,
}

/// What becomes of a publisher whose key is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// It is refused.
    Reject,
    /// It takes the place of one that has fallen silent, and is refused otherwise.
    Replace,
}

/// `type = "vod"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VodConfig {
    /// At least one, played in order.
    pub items: Vec<VodItem>,
    /// How often the whole row is played.
    pub loops: Loops,
    /// For connecting, TLS and the response's head of an HTTP item.
    pub connect_timeout: Duration,
    /// Bytes of one tag's body.
    pub max_tag_size: u32,
    /// Never gives up.
    pub retry: relay::RetryPolicy,
}

/// One FLV file of a vod input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VodItem {
    /// A file of this machine, which need not exist yet; relative paths were resolved against the file's folder.
    File(PathBuf),
    /// A file behind HTTP.
    Http(MediaUrl),
}

/// How often a vod input plays its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    /// Until it is stopped (`-1`).
    Forever,
    /// Once, and this many times more.
    Times(u64),
}

/// `[[relay.output]]`: one publish target.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Unique in the relay.
    pub id: String,
    /// Free text; empty when left out.
    pub name: String,
    /// Who made it: outputs can be added to a relay of the file.
    pub origin: Origin,
    /// Server, app and key; unique among the enabled outputs of the configuration.
    pub target: rtmp::url::Target,
    /// A disabled output is known but not connected.
    pub enabled: bool,
    /// How it reads the log.
    pub policy: relay::OutputPolicy,
    /// For connecting, TLS and the RTMP handshake up to the publish reply, each.
    pub connect_timeout: Duration,
    /// Without progress on the socket for this long it reconnects.
    pub write_timeout: Duration,
    /// How it comes back.
    pub retry: relay::RetryPolicy,
    /// For `rtmps://`.
    pub tls: OutputTls,
    /// The local address that it connects from.
    pub bind: Option<IpAddr>,
}

impl OutputConfig {
    /// Differs from `other` in nothing that a session of it would notice: in its name, or in how it comes back.
    pub fn has_session_of(&self, other: &Self) -> bool {
        Self { name: other.name.clone(), retry: other.retry, ..self.clone() } == *other
    }
}

/// How the server of an `rtmps://` output is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OutputTls {
    /// Certificates trusted besides the system's; at least one.
    pub ca: Option<PemFile>,
    /// Any certificate passes.
    pub insecure: bool,
}

/// A file of certificates or keys, as it was when the configuration was read: other content is another configuration.
/// Prints as its path.
#[derive(Clone, Eq)]
pub struct PemFile {
    /// Its path.
    pub path: PathBuf,
    /// Its content: one copy for all who name the file, however many outputs that are.
    pub pem: Arc<[u8]>,
}

impl PartialEq for PemFile {
    fn eq(&self, other: &Self) -> bool {
        // Within one configuration the content is the same copy, and need not be looked at.
        self.path == other.path && (Arc::ptr_eq(&self.pem, &other.pem) || self.pem == other.pem)
    }
}

impl Hash for PemFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to tell most apart; the content may be long.
        (&self.path, self.pem.len()).hash(state);
    }
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const INGEST_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1935);
/// The default of inputs and outputs alike.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
