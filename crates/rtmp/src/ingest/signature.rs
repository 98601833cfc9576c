//! Signed push URLs of the Tencent form: `?txSecret=…&txTime=…`.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use crate::url::split_query;

/// What a publisher's signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Made with the key for this stream, and its time has not passed.
    Valid,
    /// Made with the key for this stream, once.
    Expired,
    /// Missing, malformed, or made with another key or for another stream.
    Invalid,
}

/// Checks the signature in the query of a stream name or, where that has none, of the app. `now` is Unix time in seconds.
/// Values are taken as sent, not percent-decoded. Takes the same time for every secret of the right length.
pub fn check_signature(tx_key: &[u8], app: &[u8], stream: &[u8], now: u64) -> Signature {
    let (name, own_query) = split_query(stream);
    let queries = [own_query, split_query(app).1];
    let value = |name: &[u8]| queries.iter().flatten().find_map(|query| parameter(query, name));
    let (given, time) = (value(b"txSecret"), value(b"txTime").unwrap_or_default());
    let due = tx_secret(tx_key, name, time);
    let is_made_with_the_key: bool = given.unwrap_or_default().to_ascii_lowercase().ct_eq(&due[..]).into();
    match seconds(time) {
        Some(until) if is_made_with_the_key && now <= until => Signature::Valid,
        Some(_) if is_made_with_the_key => Signature::Expired,
        _ => Signature::Invalid,
    }
}

/// `txSecret` for a stream name without query: the MD5 of key, stream and `txTime` as it stands in the URL, in hex.
pub fn tx_secret(tx_key: &[u8], stream: &[u8], tx_time: &[u8]) -> [u8; 32] {
    let digest = Md5::new().chain_update(tx_key).chain_update(stream).chain_update(tx_time).finalize();
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xF)]]);
    }
    hex
}

/// The value of the first `name=` in a query.
fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// Unix time in hex, of either case.
fn seconds(text: &[u8]) -> Option<u64> {
    let is_hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(text).ok().filter(|_| is_hex)?, 16).ok()
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";
    const SECRET: &str = "29863e3d6e33ac65b4d4f1944c0ff59c";
    /// 0x67000000, the moment up to which the signature is good.
    const UNTIL: u64 = 1_728_053_248;

    #[test]
    fn the_secret_is_the_vendors() {
        assert_eq!(tx_secret(KEY, b"relay1", b"67000000"), SECRET.as_bytes());
    }

    fn check(app: &str, stream: &str, now: u64) -> Signature {
        check_signature(KEY, app.as_bytes(), stream.as_bytes(), now)
    }

    #[test]
    fn a_signature_stands_in_the_query_of_the_stream_or_of_the_app() {
        let query = format!("txSecret={SECRET}&txTime=67000000");
        let upper = SECRET.to_ascii_uppercase();
        for (app, stream) in [
            ("live", format!("relay1?{query}")),
            ("live", format!("relay1?vhost=h&txTime=67000000&flag&txSecret={upper}")),
            (&*format!("live?{query}"), "relay1".to_owned()),
            (&*format!("live?{query}"), "relay1?vhost=h".to_owned()),
        ] {
            assert_eq!(check(app, &stream, UNTIL - 1), Signature::Valid, "{app} {stream}");
            assert_eq!(check(app, &stream, UNTIL), Signature::Valid, "{app} {stream}");
            assert_eq!(check(app, &stream, UNTIL + 1), Signature::Expired, "{app} {stream}");
        }
    }

    #[test]
    fn nothing_else_passes() {
        for stream in [
            "relay1".to_owned(),
            "relay1?".to_owned(),
            "relay1?txSecret=&txTime=".to_owned(),
            "relay1?txTime=67000000".to_owned(),
            format!("relay1?txSecret={SECRET}"),
            format!("relay1?txSecret={SECRET}&txTime=67000001"),
            format!("relay1?txSecret={SECRET}&txTime=0x67000000"),
            format!("relay1?txSecret={}&txTime=67000000", &SECRET[..31]),
            format!("relay1?txSecret={SECRET}0&txTime=67000000"),
            format!("relay1?txSecret=39863e3d6e33ac65b4d4f1944c0ff59c&txTime=67000000&txSecret={SECRET}"),
            format!("relay2?txSecret={SECRET}&txTime=67000000"),
            format!("?txSecret={SECRET}&txTime=67000000"),
            format!("relay1?txsecret={SECRET}&txtime=67000000"),
        ] {
            assert_eq!(check("live", &stream, 0), Signature::Invalid, "{stream}");
        }
        // A time that no number holds is no time, whoever signed it.
        for time in ["", "+1", "10000000000000000", "soon"] {
            let secret = String::from_utf8(tx_secret(KEY, b"relay1", time.as_bytes()).to_vec()).unwrap();
            assert_eq!(
                check("live", &format!("relay1?txSecret={secret}&txTime={time}"), 0),
                Signature::Invalid,
                "{time}"
            );
        }
    }
}
