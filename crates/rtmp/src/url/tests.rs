use super::*;

fn parsed(url: &str) -> (String, u16, String, String) {
    parts(&Target::parse(url).unwrap())
}

fn from_parts(server: &str, key: &str) -> (String, u16, String, String) {
    parts(&Target::from_parts(server, key.as_bytes()).unwrap())
}

fn parts(target: &Target) -> (String, u16, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (target.host.clone(), target.port, text(&target.app), text(target.key.as_bytes()))
}

fn at_h(app: &str, key: &str) -> (String, u16, String, String) {
    ("h".into(), 1935, app.into(), key.into())
}

#[test]
fn a_url_splits_at_the_last_slash_before_the_query() {
    assert_eq!(parsed("rtmp://h/live/s"), at_h("live", "s"));
    assert_eq!(parsed("rtmp://h/live/s?txSecret=AbC&txTime=67000000"), at_h("live", "s?txSecret=AbC&txTime=67000000"));
    assert_eq!(parsed("rtmp://h/app/s?vhost=v"), at_h("app", "s?vhost=v"));
    assert_eq!(parsed("rtmp://h/a/b/s?x=1"), at_h("a/b", "s?x=1"));
    assert_eq!(parsed("rtmp://h/live/s?path=/p/q&r"), at_h("live", "s?path=/p/q&r"));
    assert_eq!(parsed("rtmp://h/live-bvc/?streamname=l&key=0a"), at_h("live-bvc", "?streamname=l&key=0a"));
    assert_eq!(parsed("rtmp://h/live/a#b"), at_h("live", "a#b"));
    assert_eq!(parsed("rtmp://h/live/a.flv"), at_h("live", "a.flv"));
}

#[test]
fn a_query_of_the_app_stays_with_the_app() {
    assert_eq!(parsed("rtmp://h/app?vhost=v/s"), at_h("app?vhost=v", "s"));
    assert_eq!(from_parts("rtmp://h/live2?backup=1", "abcd-ef"), at_h("live2?backup=1", "abcd-ef"));
}

#[test]
fn a_key_of_its_own_is_taken_verbatim() {
    let kuaishou = "kwai_x?sign=a-b&ks_fix_ts&ks_ctx=b64%3D";
    assert_eq!(from_parts("rtmp://h/gifshow/", kuaishou), at_h("gifshow", kuaishou));
    let bilibili = "?streamname=live_1&key=0a0b&schedule=rtmp&pflag=1";
    assert_eq!(from_parts("rtmp://h/live-bvc/", bilibili), at_h("live-bvc", bilibili));
    for key in ["k+x%20y~z==", "a/b/c", "stream-1?sign=%E4%BD%A0&e==", "a#b", "k k", "你"] {
        assert_eq!(from_parts("rtmp://h/app", key), at_h("app", key));
    }
    assert_eq!(from_parts("rtmp://h", "k"), at_h("", "k"));
    let raw = Target::from_parts("rtmp://h/app", b"\xff\xfe").unwrap();
    assert_eq!(raw.key.as_bytes(), b"\xff\xfe");
}

#[test]
fn the_app_of_a_single_app_host_need_not_be_named() {
    let host = "fa7.global-contribute.live-video.net";
    let want = (host.to_owned(), 443, "app".to_owned(), "sk_1?a=/b".to_owned());
    assert_eq!(from_parts(&format!("rtmps://{host}"), "sk_1?a=/b"), want);
    assert_eq!(from_parts(&format!("rtmps://{host}/app/"), "sk_1?a=/b"), want);
    assert_eq!(parsed(&format!("rtmps://{host}/app/sk_1?a=/b")), want);
    assert_eq!(parsed(&format!("rtmps://{host}/sk_1")).3, "sk_1");
}

#[test]
fn host_and_port_are_as_written() {
    assert_eq!(parsed("rtmp://[::1]/a/k"), ("::1".into(), 1935, "a".into(), "k".into()));
    assert_eq!(parsed("RTMPS://[::1]:1936/a/k"), ("::1".into(), 1936, "a".into(), "k".into()));
    assert_eq!(parsed("rtmps://Host/a/k"), ("Host".into(), 443, "a".into(), "k".into()));
    assert_eq!(parsed("rtmp://h:80/x/k"), ("h".into(), 80, "x".into(), "k".into()));
}

#[test]
fn the_tc_url_leaves_out_the_default_port_only() {
    let tc_url = |url: &str| String::from_utf8(Target::parse(url).unwrap().tc_url().to_vec()).unwrap();
    assert_eq!(tc_url("rtmp://h:1935/live/s?x=1"), "rtmp://h/live");
    assert_eq!(tc_url("rtmps://h:1935/live/s"), "rtmps://h:1935/live");
    assert_eq!(tc_url("rtmps://h/app?vhost=v/s"), "rtmps://h/app?vhost=v");
    assert_eq!(tc_url("rtmp://[::1]:2000/live/s"), "rtmp://[::1]:2000/live");
}

#[test]
fn malformed_urls_are_refused_by_cause() {
    for (url, want) in [
        ("http://h/a/k", UrlError::Scheme),
        ("h/a/k", UrlError::Scheme),
        ("rtmp://u:p@h/a/k", UrlError::UserInfo),
        ("rtmp:///a/k", UrlError::Host),
        ("rtmp://h h/a/k", UrlError::Host),
        ("rtmp://[::zz]/a/k", UrlError::Host),
        ("rtmp://[::1/a/k", UrlError::Host),
        ("rtmp://[::1]1935/a/k", UrlError::Port),
        ("rtmp://h:/a/k", UrlError::Port),
        ("rtmp://h:0/a/k", UrlError::Port),
        ("rtmp://h:65536/a/k", UrlError::Port),
        ("rtmp://h:+80/a/k", UrlError::Port),
        ("rtmp://h", UrlError::MissingKey),
        ("rtmp://h/live", UrlError::MissingKey),
        ("rtmp://h/live/", UrlError::MissingKey),
        ("rtmp://h/a/k\n", UrlError::ControlCharacter),
    ] {
        assert_eq!(Target::parse(url), Err(want), "{url:?}");
    }
    let long = "a".repeat(2049);
    assert_eq!(Target::parse(&format!("rtmp://h/{}/k", &long[..1025])), Err(UrlError::AppTooLong));
    assert_eq!(Target::from_parts("rtmp://h/a", long.as_bytes()), Err(UrlError::KeyTooLong));
    assert_eq!(Target::from_parts("rtmp://h/a", b""), Err(UrlError::MissingKey));
    assert_eq!(Target::parse(&format!("rtmp://{}/a/k", &long[..256])), Err(UrlError::Host));
}

#[test]
fn nothing_secret_is_printed() {
    let target = Target::from_parts("rtmp://h:99/app?sign=QUERY", b"KEY?x=QUERY").unwrap();
    assert_eq!(target.to_string(), "rtmp://h:99/app?***/***");
    let shown = format!("{target:?} {target} {:?} {}", target.key, target.key);
    assert!(!shown.contains("KEY") && !shown.contains("QUERY"), "{shown}");
    assert_eq!(Target::parse("rtmps://[::1]/a/b/k").unwrap().to_string(), "rtmps://[::1]/a/b/***");
}
