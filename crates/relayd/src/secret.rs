//! Text that is used but never printed: Debug and Display show `***` in its place.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A token, a key or a header's value. Printing it gives `***`; it is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself, for the one place that sends or compares it. Comparing it with what a peer sent must take
    /// constant time, which `==` does not.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// An `http://` or `https://` URL, kept byte for byte as written. Printing it leaves out the userinfo and masks the
/// query: `http://host/path?***`.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaUrl(Secret);

/// Why a text is no [`MediaUrl`]. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaUrlError {
    /// An `rtmp://` or `rtmps://` URL.
    #[error("pulling from rtmp:// and rtmps:// is not supported; allowed: an http:// or https:// URL")]
    Rtmp,
    /// Anything else that cannot be requested over HTTP.
    #[error("not a URL that can be requested; allowed: an http:// or https:// URL")]
    Invalid,
}

impl MediaUrl {
    /// Checks that `text` is an absolute HTTP URL with a host. Nothing is decoded, sorted or encoded.
    pub fn parse(text: String) -> Result<Self, MediaUrlError> {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        if matches!(scheme.as_str(), "rtmp" | "rtmps") {
            return Err(MediaUrlError::Rtmp);
        }
        // The URL parser drops tabs and line ends and mends "http:///host"; neither is what would be sent.
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if !matches!(scheme.as_str(), "http" | "https") || text.contains(odd) || authority(&text).is_empty() {
            return Err(MediaUrlError::Invalid);
        }
        match url::Url::parse(&text) {
            Ok(url) if url.has_host() => Ok(Self(text.into())),
            _ => Err(MediaUrlError::Invalid),
        }
    }

    /// The URL as written, for the request.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Display for MediaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.expose();
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        let authority = authority(text);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // Both parts come from `text`, so this only skips what was just read.
        let rest = text.get(scheme.len() + "://".len() + authority.len()..).unwrap_or("");
        let path = rest.split(['?', '#']).next().unwrap_or("");
        let masked = match rest.as_bytes().get(path.len()) {
            Some(b'?') => "?***",
            Some(_) => "#***",
            None => "",
        };
        write!(f, "{scheme}://{host}{path}{masked}")
    }
}

impl fmt::Debug for MediaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `userinfo@host:port` of an absolute URL; a backslash ends it as well, since HTTP clients take it for a slash.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or("")
}

const MASK: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_a_mask() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
        assert_ne!(secret, Secret::from("hunter3".to_owned()));
    }

    #[test]
    fn a_url_keeps_its_bytes_and_prints_without_secrets() {
        for (text, shown) in [
            ("http://h/a.flv", "http://h/a.flv"),
            ("https://h:8443/a/b.flv?sign=x%2By&flag&b64=YQ==", "https://h:8443/a/b.flv?***"),
            ("http://user:pass@h/a.flv", "http://h/a.flv"),
            ("http://us@er:pass@h?q", "http://h?***"),
            ("http://h/a#fragment?x", "http://h/a#***"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("http://user:pass@h\\a", "http://h\\a"),
        ] {
            let url = MediaUrl::parse(text.to_owned()).unwrap();
            assert_eq!(url.expose(), text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn what_cannot_be_requested_is_refused() {
        for text in
            ["", "h/a.flv", "not a url", "ftp://h/a", "http://", "http:///h", "http:h", "http://h/a b", "http://h\n/"]
        {
            assert_eq!(MediaUrl::parse(text.to_owned()), Err(MediaUrlError::Invalid), "{text:?}");
        }
        for text in ["rtmp://h/a/b", "RTMPS://h/a/b"] {
            assert_eq!(MediaUrl::parse(text.to_owned()), Err(MediaUrlError::Rtmp), "{text:?}");
        }
    }
}
