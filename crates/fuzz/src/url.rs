//! The URLs of outputs and inputs: nothing that is printed depends on a secret, and what was read can be written.

use bytes::Bytes;
use relayd::config::MediaUrl;
use rtmp::url::{StreamKey, Target, UrlError};

use crate::input::Input;

/// One byte of choice, then a text; for a target of two parts, a line end between server and key.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte() % 3;
    let rest = input.rest();
    match choice {
        0 => {
            let text = String::from_utf8_lossy(rest);
            if let Some(target) = judged(Target::parse(&text)) {
                let Some(whole) = written(&target) else { return };
                // A host with one app only has it added; its URLs need not name it, and are not all the same again.
                if !target.host.to_ascii_lowercase().ends_with(".live-video.net") {
                    assert_eq!(Target::parse(&whole).as_ref(), Ok(&target), "{whole:?}");
                }
            }
        }
        1 => {
            let mut parts = rest.splitn(2, |&byte| byte == b'\n');
            let server = String::from_utf8_lossy(parts.next().unwrap_or_default());
            let key = parts.next().unwrap_or_default();
            if let Some(target) = judged(Target::from_parts(&server, key)) {
                assert_eq!(target.key.as_bytes(), key, "a key is taken verbatim");
                let again = format!("{}/", String::from_utf8_lossy(&target.tc_url()));
                assert_eq!(Target::from_parts(&again, key).as_ref(), Ok(&target), "{again:?}");
            }
        }
        _ => media(&String::from_utf8_lossy(rest)),
    }
}

fn judged(target: Result<Target, UrlError>) -> Option<Target> {
    let target = target.ok()?;
    assert!(!target.key.as_bytes().is_empty() && !target.host.is_empty() && target.port != 0, "{target}");
    // The same with other secrets prints the same.
    let mut other = target.clone();
    other.key = StreamKey::new(Bytes::from_static(b"other"));
    if let Some(at) = target.app.iter().position(|&byte| byte == b'?') {
        other.app = [&target.app[..at], b"?other"].concat().into();
    }
    assert_eq!(format!("{target} {target:?} {}", target.key), format!("{other} {other:?} {}", other.key));
    Some(target)
}

/// The whole URL; None where a key that is no UTF-8 keeps it from being one.
fn written(target: &Target) -> Option<String> {
    let server = String::from_utf8(target.tc_url().to_vec()).ok()?;
    let key = std::str::from_utf8(target.key.as_bytes()).ok()?;
    Some(format!("{server}/{key}"))
}

fn media(text: &str) {
    let Ok(url) = MediaUrl::parse(text.to_owned()) else { return };
    assert_eq!(url.expose(), text, "a URL is kept as it was written");
    let shown = format!("{url} {url:?}");

    let query = text.find(['?', '#']).unwrap_or(text.len());
    if let Some(mark) = text.get(query..).and_then(|tail| tail.chars().next()) {
        let other = MediaUrl::parse(format!("{}{mark}other", &text[..query])).expect("any query will do");
        assert_eq!(format!("{other} {other:?}"), shown, "the query is printed");
    }
    let (scheme, rest) = text.split_once("://").expect("a URL has a scheme");
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let other = MediaUrl::parse(format!("{scheme}://user:password@{host}{}", &rest[authority.len()..]));
    let other = other.expect("any user will do");
    assert_eq!(format!("{other} {other:?}"), shown, "the user is printed");
}
