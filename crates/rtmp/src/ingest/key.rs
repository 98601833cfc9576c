//! Whether a publisher knows the key.

use subtle::ConstantTimeEq;

use crate::url::split_query;

/// Whether a publisher's app and stream name are the configured `app/stream`. Queries of either are ignored. Takes the
/// same time wherever the two differ; only their lengths can be told from it.
pub fn key_matches(configured: &[u8], app: &[u8], key: &[u8]) -> bool {
    let sent = [split_query(app).0, split_query(key).0].join(&b'/');
    configured.ct_eq(&sent).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_and_stream_make_the_key() {
        assert!(key_matches(b"live/in", b"live", b"in"));
        assert!(key_matches(b"live/a/in", b"live/a", b"in"));
        assert!(key_matches(b"live/a/in", b"live", b"a/in"));
        for (app, key) in
            [("live", "other"), ("live", ""), ("", "live/in"), ("live", "in2"), ("live", "i"), ("Live", "in")]
        {
            assert!(!key_matches(b"live/in", app.as_bytes(), key.as_bytes()), "{app} {key}");
        }
    }

    #[test]
    fn queries_do_not_count() {
        assert!(key_matches(b"live/in", b"live", b"in?a=b%3D&c"));
        assert!(key_matches(b"live/in", b"live?vhost=x/y", b"in?"));
        assert!(!key_matches(b"live/in", b"live", b"?in"));
    }
}
