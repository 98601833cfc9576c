//! What `--check` prints and a reload tells.

use super::*;

#[test]
fn the_description_shows_everything_but_secrets() {
    for path in toml_files("fixtures/config/good") {
        let config = Config::load(&path, &|_| None).unwrap();
        for text in [config.describe(), format!("{config:?}")] {
            for secret in [
                "SECRET",
                "password",
                "sign=",
                "backup=1",
                "streamname",
                "abcd-ef",
                "file-key",
                "a-token",
                "room/stream",
                "89abc",
            ] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
    let shown = load("fixtures/config/good/inputs.toml").describe();
    for line in [
        "relay a.b_c-1, input pull\n",
        "  url = http://127.0.0.1:8000/a.flv?***\n",
        "  headers = Referer: ***, User-Agent: ***\n",
        "  key = live/***\n",
        "  flush = 10s\n",
        "  retry.give_up_after = 10m\n",
        "  failover.max_reverts = 0/1day\n",
        "  log.max_bytes = 32MiB\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
    }
}

#[test]
fn changes_are_named_and_masked() {
    let old = r#"
        [[relay]]
        name = "a"
        input = [{ name = "primary", url = "http://h/a.flv?sign=old" }, { name = "gone", url = "http://h/b.flv" }]
        output = [{ id = "1", url = "rtmp://h/live/old-key" }, { id = "2", url = "rtmp://h/live/same", max_lag = "5s" }]
        [[relay]]
        name = "b"
        output = [{ id = "1", url = "rtmp://h/b/1" }]
    "#;
    let new = r#"
        log = { level = "debug", format = "json" }
        [[relay]]
        name = "c"
        output = [{ id = "1", url = "rtmp://h/c/1" }]
        [[relay]]
        name = "a"
        input = [{ name = "new", url = "http://h/c.flv" }, { name = "primary", url = "http://h/a.flv?sign=new" }]
        output = [
            { id = "2", url = "rtmp://h/live/same", max_lag = "8s" },
            { id = "1", url = "rtmp://h/live/new-key", name = "one" },
        ]
        [ingest]
        listen = "127.0.0.1:1935"
    "#;
    let [old, new] = [old, new].map(|text| parse(text, &|_| None).unwrap());
    assert_eq!(old.changes(&old), Changes::default());
    let changes = old.changes(&new);
    assert_eq!(
        changes.live,
        [
            "log: level: info -> debug",
            "relay a: input primary: url: changed",
            "relay a: input gone removed",
            "relay a: output 1: name: \"\" -> \"one\"",
            "relay a: output 1: url: changed",
            "relay a: output 2: max_lag: 5s -> 8s",
            "relay b removed",
            "ingest added",
            "relay c added",
            "relay a: input new added",
            "relay a: outputs in the order 2, 1",
        ]
    );
    assert_eq!(changes.needs_restart, ["log: format: text -> json"]);
}

/// `--check` and a reload see every key: what differs is told, however the mask hides it.
#[test]
fn no_change_goes_unsaid() {
    let good = r#"
        [[relay]]
        name = "r"
        input = [
            { name = "i", url = "http://u:a@h/a.flv?a", headers = { A = "a" } },
            { name = "p", type = "push", key = "l/a", auth = { tx_key = "0123456789abcdef" } },
            { name = "v", type = "vod", urls = ["http://h/v.flv?a", "http://h/w.flv?a"] },
        ]
        output = [{ id = "1", server = "rtmps://h/live?a", key = "a" }]
        [ingest]
    "#;
    let old = parse(good, &|_| None).unwrap();
    for (from, to) in [
        ("u:a@", "u:b@"),
        ("a.flv?a", "a.flv?b"),
        ("A = \"a\"", "A = \"b\""),
        ("l/a", "l/b"),
        ("89abcdef", "89abcdee"),
        ("v.flv?a", "v.flv?b"),
        ("live?a", "live?b"),
        ("key = \"a\" }]", "key = \"b\" }]"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let new = parse(&text, &|_| None).unwrap();
        assert_ne!(old, new);
        assert_eq!(old.changes(&new).live.len(), 1, "{from} -> {to}: {:?}", old.changes(&new));
    }
    let mut other = old.clone();
    let with = |pem: &[u8]| Some(PemFile { path: "ca.pem".into(), pem: pem.into() });
    let (mut one, mut two) = (old.clone(), old);
    one.relays[0].outputs[0].tls.ca = with(b"one");
    two.relays[0].outputs[0].tls.ca = with(b"two");
    assert_eq!(one.changes(&two).live, ["relay r: output 1: ca_file: changed"]);
    other.log.format = LogFormat::Json;
    assert_eq!(other.changes(&two).needs_restart.len(), 1);
}
