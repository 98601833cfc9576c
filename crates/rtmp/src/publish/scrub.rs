//! Servers repeat keys and tokens in what they say; none of it may reach a log.

use crate::url::{Target, split_query};

/// What must not appear in a server's words.
pub(super) struct Scrub {
    secrets: Vec<String>,
    /// The same as a code would show them.
    bare: Vec<String>,
}

impl Scrub {
    pub(super) fn new(target: &Target) -> Self {
        let key = target.key.as_bytes();
        let (name, query) = split_query(key);
        let mut secrets = vec![key];
        secrets.extend((name.len() >= MIN_NAME).then_some(name));
        for query in [query, split_query(&target.app).1].into_iter().flatten() {
            let values =
                query.split(|&byte| byte == b'&').map(|pair| match pair.iter().position(|&byte| byte == b'=') {
                    Some(at) => &pair[at + 1..],
                    None => pair,
                });
            secrets.extend(std::iter::once(query).chain(values).filter(|part| part.len() >= MIN_VALUE));
        }
        let secrets: Vec<_> = secrets.into_iter().map(printable).collect();
        let bare = secrets.iter().map(|secret| secret.chars().filter(is_expected).collect()).collect();
        Self { secrets, bare }
    }

    /// A status code: letters, digits, dots and the like, at most 64 of them.
    pub(super) fn code(&self, code: &[u8]) -> String {
        let expected: String = mask(&clipped(code), &self.secrets).chars().filter(is_expected).collect();
        // What was left out may have stood inside a secret.
        mask(&expected, &self.bare).chars().take(MAX_CODE).collect()
    }

    /// A server's words without control characters, at most 200 characters.
    pub(super) fn description(&self, text: &[u8]) -> String {
        mask(&clipped(text), &self.secrets).chars().take(MAX_DESCRIPTION).collect()
    }
}

fn mask(text: &str, secrets: &[String]) -> String {
    let (mut masked, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.as_bytes().get(at) {
        let found = secrets.iter().map(|secret| found_at(text, at, secret)).max().unwrap_or(0);
        if found > 0 {
            masked.extend(b"***");
            at += found;
        } else {
            masked.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&masked).into_owned()
}

/// How much of `text` at `at` is the secret, or a beginning of it long enough to be no accident.
fn found_at(text: &str, at: usize, secret: &str) -> usize {
    let (text, secret) = (text.as_bytes(), secret.as_bytes());
    let same = text[at..].iter().zip(secret).take_while(|(a, b)| a == b).count();
    if same < secret.len() {
        return if same >= MIN_BEGINNING { same } else { 0 };
    }
    // A key of one letter is in every word; it is meant only where it stands alone.
    let stands_alone = || {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let after = text.get(at + same);
        !before.into_iter().chain(after).any(u8::is_ascii_alphanumeric)
    };
    if same >= MIN_NAME || stands_alone() { same } else { 0 }
}

fn clipped(text: &[u8]) -> String {
    printable(&text[..text.len().min(MAX_TEXT)])
}

/// What a code is made of.
fn is_expected(c: &char) -> bool {
    c.is_ascii_alphanumeric() || "._-*".contains(*c)
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect()
}

const MIN_NAME: usize = 4;
const MIN_VALUE: usize = 6;
const MIN_BEGINNING: usize = 8;
const MAX_CODE: usize = 64;
const MAX_DESCRIPTION: usize = 200;
/// More than this of a server's text is never looked at.
const MAX_TEXT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(server: &str, key: &str) -> Scrub {
        Scrub::new(&Target::from_parts(server, key.as_bytes()).unwrap())
    }

    #[test]
    fn keys_names_and_values_are_masked() {
        let scrub = scrub("rtmp://h/app?vhost=secrethost", "stream-1?sign=%E4%BD&t=67000000");
        for said in [
            "no stream-1?sign=%E4%BD&t=67000000",
            "no stream-1!",
            "no sign=%E4%BD&t=67000000",
            "t is 67000000",
            "vhost secrethost",
            "cut: stream-1?sig",
        ] {
            let shown = scrub.description(said.as_bytes());
            assert!(shown.contains("***"), "{shown}");
            for secret in ["stream-1", "E4", "67000000", "secrethost", "sig"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }

    #[test]
    fn control_characters_hide_nothing() {
        let scrub = scrub("rtmp://h/a", "topsecret");
        assert_eq!(scrub.description(b"bad \x1b[31mtop\x00sec\xc2\x85ret\n"), "bad [31m***");
        assert_eq!(scrub.code(b"NetStream.topsecret\r\nX: y"), "NetStream.***Xy");
    }

    #[test]
    fn what_a_code_leaves_out_hides_nothing() {
        let scrub = scrub("rtmp://h/a", "stream-1?sign=secret-sign");
        assert_eq!(scrub.code(b"NetStream.stream -1"), "NetStream.***");
        assert_eq!(scrub.code("NetStream.secretü-sig\u{200b}n".as_bytes()), "NetStream.***");
    }

    #[test]
    fn a_short_key_is_masked_where_it_stands_alone() {
        let scrub = scrub("rtmp://h/a", "k");
        assert_eq!(scrub.description(b"unknown stream k."), "unknown stream ***.");
        assert_eq!(scrub.description(b"k"), "***");
    }

    #[test]
    fn long_words_are_cut() {
        let scrub = scrub("rtmp://h/a", "key");
        assert_eq!(scrub.description("ä".repeat(5000).as_bytes()).chars().count(), 200);
        assert_eq!(scrub.code(&[b'a'; 500]).len(), 64);
    }
}
