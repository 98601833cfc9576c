use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::Ipv4Addr;

use relay::{FailoverPolicy, Flush, LogPolicy, OutputPolicy, RetryPolicy, TimelinePolicy};

use super::*;
use crate::egress::EgressPolicy;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension() == Some(OsStr::new("toml"))).collect();
    files.sort();
    assert!(!files.is_empty(), "no examples in {folder}");
    files
}

fn load(path: &str) -> Config {
    Config::load(&repository(path), &|_| None).unwrap()
}

/// Parses `text` as a file in a folder of its own name, so that nothing of it exists.
fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    let (raw, places) = source::read(text, env)?;
    resolve::resolve(raw, Path::new("folder/relay.toml"), &places, env)
}

fn problem(text: &str) -> String {
    let problems = parse(text, &|_| None).unwrap_err();
    ConfigError::invalid(Path::new("relay.toml"), problems).to_string()
}

#[test]
fn every_good_example_is_accepted() {
    for path in toml_files("config").into_iter().chain(toml_files("fixtures/config/good")) {
        if let Err(error) = Config::load(&path, &|_| None) {
            panic!("{error}");
        }
    }
}

#[test]
fn every_bad_example_fails_with_its_pinned_message() {
    for path in toml_files("fixtures/config/bad") {
        let folder = format!("{}/", path.parent().unwrap().display());
        let error = Config::load(&path, &|_| None).expect_err(&path.display().to_string());
        let pinned = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        let message = error.to_string().replace(&folder, "");
        assert_eq!(message.trim_end(), pinned.trim_end());
        assert!(!message.contains("SECRET") && !format!("{error:?}").contains("SECRET"), "{message}");
    }
}

#[test]
fn a_file_that_many_outputs_name_is_kept_once() {
    let ca = repository("fixtures/tls/one.pem");
    let output = |id| {
        let url = format!("rtmps://h/live/{id}");
        format!("[[relay.output]]\nid = \"{id}\"\nurl = \"{url}\"\nca_file = \"{}\"\n", ca.display())
    };
    let text = format!("[[relay]]\nname = \"r\"\n{}{}", output(1), output(2));
    let pem = |config: &Config, at: usize| Arc::clone(&config.relays[0].outputs[at].tls.ca.as_ref().unwrap().pem);
    let config = parse(&text, &|_| None).unwrap();
    assert!(Arc::ptr_eq(&pem(&config, 0), &pem(&config, 1)));
    // Read again it is another copy, and the same configuration.
    let again = parse(&text, &|_| None).unwrap();
    assert!(!Arc::ptr_eq(&pem(&config, 0), &pem(&again, 0)));
    assert_eq!(config, again);
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/relay.toml"), &|_| None).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/relay.toml: cannot be read: "), "{error}");
}

/// The reference names every key that the parser knows: the parser's own lists are the measure.
#[test]
fn the_reference_is_complete_and_shows_the_defaults() {
    let reference = fs::read_to_string(repository("config/relay.toml")).unwrap();
    let mut known = BTreeSet::new();
    for table in ["", "[log]", "[admin]", "[ingest]", "[network]", "[limits]", "[[relay]]", "[[relay.input]]"]
        .into_iter()
        .chain(["[relay.failover]", "[relay.timeline]", "[relay.log]"])
        .chain(["[[relay.input]]\n[relay.input.retry]", "[[relay.input]]\n[relay.input.auth]"])
    {
        let relay = if table.contains("relay.") { "[[relay]]\n" } else { "" };
        let message = problem(&format!("{relay}{table}\nunknown = 1\n"));
        let (_, allowed) = message.split_once("unknown key; allowed: ").expect(&message);
        known.extend(allowed.split(", ").map(str::to_owned));
    }
    assert!(known.len() > 80, "{known:?}");
    for key in known {
        let words = reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        assert!(words.into_iter().any(|word| word == key), "{key} is not in config/relay.toml");
    }

    let config = load("config/relay.toml");
    let relay = &config.relays[0];
    assert_eq!(relay.failover, FailoverPolicy::default());
    assert_eq!(relay.timeline, TimelinePolicy::default());
    assert_eq!(relay.log, LogPolicy::default());
    assert_eq!(relay.outputs[0].policy, OutputPolicy::default());
    assert_eq!(relay.outputs[0].retry, RetryPolicy::OUTPUT);
    let short = parse(
        r#"
        [admin]
        [ingest]
        [[relay]]
        name = "demo"
        input = [
            { name = "primary", url = "https://play.example.com/live/stream.flv" },
            { name = "backup", type = "push", key = "live/change-me" },
        ]
        output = [{ id = "1", url = "rtmp://push.example.com/live/stream-key" }]
        "#,
        &|_| None,
    )
    .unwrap();
    assert_eq!((&short.log, &short.admin, &short.ingest), (&config.log, &config.admin, &config.ingest));
    assert_eq!(short.network, config.network);
    assert_eq!((&short.limits, &config.limits), (&LimitsConfig::default(), &LimitsConfig::default()));
    assert_eq!(short.relays[0].inputs[..], relay.inputs[..2]);
    assert_eq!(short.relays[0].outputs[0], relay.outputs[0]);
    assert_eq!((&short.relays[0].title, short.relays[0].autostart), (&relay.title, relay.autostart));
}

#[test]
fn inputs_are_typed() {
    let config = load("fixtures/config/good/inputs.toml");
    let relay = &config.relays[0];
    let [pull, push, vod] = &relay.inputs[..] else { panic!("{relay:?}") };
    let InputSource::Pull(pull) = &pull.source else { panic!("{pull:?}") };
    assert_eq!(pull.url.expose(), "http://user:password@127.0.0.1:8000/a.flv?sign=x%2By&flag&b64=YQ==&p=a/b");
    assert_eq!(pull.headers[0], ("Referer".to_owned(), Secret::from("https://example.com".to_owned())));
    assert_eq!(pull.max_tag_size, 0xFF_FC00);
    assert_eq!((pull.retry.min, pull.retry.max), (Duration::from_millis(500), Duration::from_millis(500)));
    let InputSource::Push(push) = &push.source else { panic!("{push:?}") };
    assert_eq!((push.key.expose(), &push.tx_key), ("live/room/stream", &None));
    assert_eq!((push.on_duplicate, push.idle_timeout), (OnDuplicate::Reject, Duration::from_secs(10)));
    let InputSource::Vod(vod) = &vod.source else { panic!("{vod:?}") };
    assert_eq!(vod.loops, Loops::Times(0));
    assert_eq!(vod.items[0], VodItem::File(repository("fixtures/config/good/../../demo.flv")));
    assert_eq!(vod.items[1], VodItem::File("/srv/a.flv".into()));
    assert!(matches!(&vod.items[2], VodItem::Http(url) if url.expose() == "https://example.com/a.flv"));
    assert_eq!(relay.outputs[0].policy.flush, Flush::Every(Duration::from_secs(10)));
    assert_eq!(relay.outputs[0].retry.give_up_after, Some(Duration::from_secs(600)));
    assert_eq!(relay.failover.hold, Duration::ZERO);
}

#[test]
fn the_ingest_may_be_strict() {
    let config = load("fixtures/config/good/ingest.toml");
    let tls = config.ingest.as_ref().unwrap().tls.as_ref().unwrap();
    assert_eq!(tls.cert.path, repository("fixtures/config/good/../../tls/one.pem"));
    let limits = &config.limits;
    assert_eq!(
        (limits.handshake_timeout, limits.publish_timeout),
        (Duration::from_secs(3600), Duration::from_secs(3600))
    );
    assert_eq!((limits.rtmp.max_message, limits.rtmp.max_unaccepted_message), (4 << 10, 4 << 10));
    assert_eq!((limits.metadata().depth, limits.metadata().values), (1, 65_536));
    let pushes: Vec<_> = config.relays[0]
        .inputs
        .iter()
        .map(|input| match &input.source {
            InputSource::Push(push) => (push.tx_key.as_ref().unwrap().expose(), push.on_duplicate, push.replace_after),
            other => panic!("{other:?}"),
        })
        .collect();
    let after = Duration::from_secs;
    assert_eq!(
        pushes,
        [("0123456789abcdef", OnDuplicate::Replace, after(0)), ("tx-file-key", OnDuplicate::Reject, after(3)),]
    );
}

#[test]
fn targets_are_raw_bytes_from_every_place() {
    let config = load("fixtures/config/good/targets.toml");
    assert_eq!(config.admin.as_ref().unwrap().token.as_ref().unwrap().expose(), "a-token");
    let outputs = &config.relays[0].outputs;
    let keys: Vec<_> = outputs.iter().map(|output| output.target.key.as_bytes()).collect();
    assert_eq!(keys[0], b"kwai_x?sign=a-b&ks_fix_ts&ks_ctx=b64%3D");
    assert_eq!(keys[1], b"?streamname=live_1&key=0a0b&schedule=rtmp&pflag=1");
    assert_eq!(keys[3], b"file-key?x=%2F&y==");
    assert_eq!(&outputs[2].target.app[..], b"live2?backup=1");
    assert_eq!(outputs[2].bind, Some(Ipv4Addr::new(192, 0, 2, 10).into()));
    assert!(outputs[2].tls.insecure && !outputs[4].enabled);
}

#[test]
fn whole_values_come_from_the_environment() {
    let env = |name: &str| match name {
        "KEY" => Some("env-key?a&b=%3D".to_owned()),
        "HOLD" => Some("2m".to_owned()),
        _ => None,
    };
    let text = r#"
        [[relay]]
        name = "r"
        failover = { hold = "${HOLD}" }
        output = [
            { id = "1", server = "rtmp://h/live", key = "${KEY}" },
            { id = "2", server = "rtmp://h2/live", key_env = "KEY" },
            { id = "3", server = "rtmp://h/live", key = "a${KEY}" },
        ]
    "#;
    let config = parse(text, &env).unwrap();
    let relay = &config.relays[0];
    assert_eq!(relay.failover.hold, Duration::from_secs(120));
    assert_eq!(relay.outputs[0].target.key.as_bytes(), b"env-key?a&b=%3D");
    assert_eq!(relay.outputs[1].target.key.as_bytes(), b"env-key?a&b=%3D");
    assert_eq!(relay.outputs[2].target.key.as_bytes(), b"a${KEY}");
    let undefined = parse(text, &|_| None).unwrap_err();
    assert_eq!(undefined.iter().map(|problem| problem.line).collect::<Vec<_>>(), [4, 6]);
    let wrong = parse(text, &|_| Some("soon".to_owned())).unwrap_err();
    assert_eq!((wrong[0].line, wrong[0].key.as_str()), (4, "relay.failover.hold"));
}

#[test]
fn the_egress_policy_is_what_network_says_and_minds_where_the_api_listens() {
    let config = load("fixtures/config/good/network.toml");
    let shown = config.network.allow.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown, ["127.0.0.0/8", "::1/128", "169.254.10.0/24", "fd00:ec2::254/128"]);
    let folder = config.network.vod_dir.expect("the example names one");
    assert!(folder.is_absolute() && folder.join("demo.flv").is_file(), "{}", folder.display());

    let mut config = parse("[admin]\n", &|_| None).unwrap();
    for (listen, may_reach_loopback) in [
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.0.2.1:1", false),
    ] {
        config.admin.as_mut().unwrap().listen = listen.parse().unwrap();
        let check = EgressPolicy::of(&config).check(Ipv4Addr::LOCALHOST.into());
        assert_eq!(check.is_ok(), may_reach_loopback, "{listen}");
    }
    config.admin = None;
    assert!(EgressPolicy::of(&config).check(Ipv4Addr::LOCALHOST.into()).is_ok());
}

#[test]
fn a_token_is_needed_beyond_loopback_only() {
    for (listen, needs_token) in [
        ("127.0.0.1:1", false),
        ("127.9.9.9:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("192.0.2.1:1", true),
    ] {
        let result = parse(&format!("[admin]\nlisten = {listen:?}\n"), &|_| None);
        assert_eq!(result.is_err(), needs_token, "{listen}");
    }
}

#[test]
fn every_problem_of_a_file_is_reported_with_its_place() {
    let message = problem("[[relay]]\nname = \"\"\n[relay.failover]\nhold = \"2d\"\n");
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("relay.toml:2: relay.name: "), "{message}");
    assert_eq!(lines[1], "relay.toml:4: relay.failover.hold: out of range; allowed: 0s to 1day");
}

/// Whatever one slip of the editor makes of a file, its message holds no value of it.
#[test]
fn no_damage_to_a_file_prints_its_secrets() {
    let good = r#"
        [[relay]]
        name = "r"
        [[relay.input]]
        name = "i"
        url = "http://SECRET:SECRET@h/a.flv?SECRET"
        headers = { A = "SECRET" }
        [[relay.input]]
        name = "p"
        type = "push"
        key = "live/SECRET"
        auth = { tx_key = "SECRET-SECRET" }
        [[relay.output]]
        id = "1"
        url = "rtmp://h/live/SECRET?SECRET"
        [[relay.output]]
        id = "2"
        server = "rtmp://h/live?SECRET"
        key = 'SECRET'
    "#;
    let mut refused = 0;
    for (at, _) in good.char_indices() {
        for with in ["", "\"", "'", "\n", "=", "[", "#", "\\", "3", "${"] {
            let damaged = format!("{}{with}{}", &good[..at], &good[at + 1..]);
            if let Err(problems) = parse(&damaged, &|_| None) {
                refused += 1;
                assert!(!format!("{problems:?}").contains("SECRET"), "{problems:?}\n{damaged}");
            }
        }
    }
    assert!(refused > good.len(), "only {refused} of the damaged files are refused");
}

#[test]
fn the_description_shows_everything_but_secrets() {
    for path in toml_files("fixtures/config/good") {
        let config = Config::load(&path, &|_| None).unwrap();
        for text in [config.describe(), format!("{config:?}")] {
            for secret in [
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
        input = [{ name = "i", url = "http://u:a@h/a.flv?a", headers = { A = "a" } }, { name = "p", type = "push", key = "l/a" }]
        output = [{ id = "1", server = "rtmps://h/live?a", key = "a" }]
        [ingest]
    "#;
    let old = parse(good, &|_| None).unwrap();
    for (from, to) in [
        ("u:a@", "u:b@"),
        ("a.flv?a", "a.flv?b"),
        ("A = \"a\"", "A = \"b\""),
        ("l/a", "l/b"),
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
