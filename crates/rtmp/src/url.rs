//! Where to publish. App and key are raw bytes from end to end: signed queries do not survive decoding, sorting or
//! encoding again.

use std::{fmt, net::Ipv6Addr};

use bytes::Bytes;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP, port 1935 by default.
    Rtmp,
    /// TLS, port 443 by default.
    Rtmps,
}

impl Scheme {
    /// As written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
        }
    }

    /// The port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Rtmp => 1935,
            Self::Rtmps => 443,
        }
    }
}

/// A stream name with its query, which together let anyone publish. It prints as `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamKey(Bytes);

impl StreamKey {
    /// Takes the key's bytes as they are.
    pub fn new(key: Bytes) -> Self {
        Self(key)
    }

    /// The secret itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A server, an app on it and the key to publish with. Prints with key and queries masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name or address as written, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The app with its query, as written. May be empty.
    pub app: Bytes,
    /// The stream name with its query, as written.
    pub key: StreamKey,
}

impl Target {
    /// Splits a whole URL: at the last `/` before the first `?` if something follows it, else (`app?x=y/stream`) at the
    /// last `/`.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let server = Server::parse(url)?;
        let name_len = server.path.find('?').unwrap_or(server.path.len());
        let before_query = server.path[..name_len].rfind('/').filter(|&at| at + 1 < server.path.len());
        let (app, key) = match before_query.or_else(|| server.path.rfind('/')) {
            Some(at) => (&server.path[..at], &server.path[at + 1..]),
            // Such hosts have one app only, and hand out `host/key`.
            None if is_single_app_host(server.host) => ("", server.path),
            None => (server.path, ""),
        };
        server.target(app, key.as_bytes())
    }

    /// Takes a server URL, whose path is the app with its query (one trailing `/` is not part of it), and a key, both
    /// verbatim.
    pub fn from_parts(server: &str, key: &[u8]) -> Result<Self, UrlError> {
        let server = Server::parse(server)?;
        server.target(server.path.strip_suffix('/').unwrap_or(server.path), key)
    }

    /// The `tcUrl` of the connect command: scheme, host, a port that is not the default one, app with its query.
    pub fn tc_url(&self) -> Bytes {
        let mut url = self.origin().into_bytes();
        url.push(b'/');
        url.extend_from_slice(&self.app);
        url.into()
    }

    /// What it has in common with every target that a server takes for the same.
    pub fn publish_point(&self) -> PublishPoint {
        let Self { scheme: _, host, port, app, key } = self;
        PublishPoint { host: host.to_ascii_lowercase(), port: *port, app: app.clone(), key: key.clone() }
    }

    fn origin(&self) -> String {
        let scheme = self.scheme.as_str();
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let host = &self.host;
        if self.port == self.scheme.default_port() {
            format!("{scheme}://{open}{host}{close}")
        } else {
            format!("{scheme}://{open}{host}{close}:{}", self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        let (name, query) = split_query(&self.app);
        if !self.app.is_empty() {
            write!(f, "/{}", String::from_utf8_lossy(name))?;
        }
        f.write_str(if query.is_some() { "?***/***" } else { "/***" })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// A key of an app on a server, which takes one publisher at a time. Prints as a whole masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublishPoint {
    host: String,
    port: u16,
    app: Bytes,
    key: StreamKey,
}

impl fmt::Debug for PublishPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishPoint(***)")
    }
}

/// Why a URL is no publish target. Says nothing of the URL's text, which holds secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `rtmp://` nor `rtmps://`.
    #[error("the URL must begin with rtmp:// or rtmps://")]
    Scheme,
    /// `user:password@host`.
    #[error("user and password in the URL are not supported")]
    UserInfo,
    /// No host, or one with spaces, control characters, a malformed IPv6 literal, or more than 255 bytes.
    #[error("the URL's host is missing or malformed")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the URL's port must be a number from 1 to 65535")]
    Port,
    /// Nothing names the stream.
    #[error("the stream key is missing: the URL must be like rtmp://host/app/key")]
    MissingKey,
    /// More than 1024 bytes: connect would not fit one chunk.
    #[error("the app is longer than {MAX_APP} bytes")]
    AppTooLong,
    /// More than 2048 bytes: publish would not fit one chunk.
    #[error("the stream key is longer than {MAX_KEY} bytes")]
    KeyTooLong,
    /// A control character, such as the line break at the end of a key file.
    #[error("the app or the stream key has a control character in it")]
    ControlCharacter,
}

/// The part of an app or stream name before its query.
pub fn without_query(text: &[u8]) -> &[u8] {
    split_query(text).0
}

/// The part before the first `?`, and the query after it.
pub(crate) fn split_query(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'?') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// A URL up to its path.
struct Server<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
    /// Behind the first `/`, raw.
    path: &'a str,
}

impl<'a> Server<'a> {
    fn parse(url: &'a str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = [Scheme::Rtmp, Scheme::Rtmps]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or(UrlError::Scheme)?;
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => (&rest[..at], rest[at..].strip_prefix('/').unwrap_or(&rest[at..])),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(literal) => {
                let (host, port) = literal.split_once(']').ok_or(UrlError::Host)?;
                host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(UrlError::Port)?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_malformed = |c: char| c.is_whitespace() || c.is_control();
        if host.is_empty() || host.len() > MAX_HOST || host.contains(is_malformed) {
            return Err(UrlError::Host);
        }
        let port = match port {
            None => scheme.default_port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|&port| port != 0).ok_or(UrlError::Port)?
            }
            Some(_) => return Err(UrlError::Port),
        };
        Ok(Self { scheme, host, port, path })
    }

    fn target(&self, app: &str, key: &[u8]) -> Result<Target, UrlError> {
        let app = if app.is_empty() && is_single_app_host(self.host) { "app" } else { app };
        if key.is_empty() {
            return Err(UrlError::MissingKey);
        }
        if app.len() > MAX_APP {
            return Err(UrlError::AppTooLong);
        }
        if key.len() > MAX_KEY {
            return Err(UrlError::KeyTooLong);
        }
        if app.bytes().chain(key.iter().copied()).any(|byte| byte.is_ascii_control()) {
            return Err(UrlError::ControlCharacter);
        }
        Ok(Target {
            scheme: self.scheme,
            host: self.host.to_owned(),
            port: self.port,
            app: Bytes::copy_from_slice(app.as_bytes()),
            key: StreamKey(Bytes::copy_from_slice(key)),
        })
    }
}

/// Amazon IVS, and Kick on it: the dashboards show a server without an app, while the ingest has the app `app`.
fn is_single_app_host(host: &str) -> bool {
    const DOMAIN: &str = ".live-video.net";
    host.len() > DOMAIN.len()
        && host.get(host.len() - DOMAIN.len()..).is_some_and(|end| end.eq_ignore_ascii_case(DOMAIN))
}

const MAX_HOST: usize = 255;
const MAX_APP: usize = 1024;
const MAX_KEY: usize = 2048;

#[cfg(test)]
mod tests;
