use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::process::Command;

use relay::{FailoverPolicy, Flush, LogPolicy, OutputPolicy, RetryPolicy, TimelinePolicy};

use super::*;
use crate::egress::EgressPolicy;

mod cycles;
mod describing;
mod resolving;

/// A pipe without a writer, a device without an end, a file that is none of ours: each is an error, at once.
#[test]
fn what_is_no_file_or_too_large_is_refused() {
    let folder = testkit::TempDir::new();
    let (pipe, large) = (folder.path().join("pipe"), folder.path().join("large"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    File::create(&large).unwrap().set_len(MAX_CONFIG + 1).unwrap();
    for (path, told) in [
        (pipe.as_path(), "it is not a regular file"),
        (Path::new("/dev/zero"), "it is not a regular file"),
        (folder.path(), "it is not a regular file"),
        (&large, "it is larger than 16MiB"),
    ] {
        let error = Config::load(path, &|_| None).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be read: {told}", path.display()));
    }
    let token = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"pipe\"\n";
    let error = Config::parse(token, &folder.path().join("relay.toml"), &|_| None).unwrap_err().to_string();
    assert!(
        error.ends_with("relay.toml:3: admin.token_file: the file cannot be read: it is not a regular file"),
        "{error}"
    );
}

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

    // A reload moves the listener: the same policy follows it.
    let mut config = parse("[admin]\n", &|_| None).unwrap();
    let policy = EgressPolicy::of(&config);
    for (listen, may_reach_loopback) in [
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.0.2.1:1", false),
    ] {
        config.admin.as_mut().unwrap().listen = listen.parse().unwrap();
        policy.set(&config);
        assert_eq!(policy.check(Ipv4Addr::LOCALHOST.into()).is_ok(), may_reach_loopback, "{listen}");
    }
    config.admin = None;
    policy.set(&config);
    assert!(policy.check(Ipv4Addr::LOCALHOST.into()).is_ok());
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
    let good = fs::read_to_string(repository("fixtures/config/good/secrets.toml")).unwrap();
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
