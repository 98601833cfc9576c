//! The configuration file is read again while the programme runs: what has not changed notices nothing.

mod inputs;
mod listeners;
mod outputs;
mod silence;

use serde_json::Value;
use testkit::{Encode, Ended, Feed, Ingest, Origin, Record, Relayd, Served, Signal, http, judge};

use crate::stage::{failover, flows_on, input_of, output, pull, relay, setup, start};

/// Lets it read its file again; what has changed.
async fn reload(relayd: &Relayd, change: impl FnOnce(&str) -> String) -> Vec<String> {
    relayd.rewrite(change);
    let response = relayd.reload().await;
    assert_eq!(response.status, 200, "{}", response.text());
    let changes = response.json()["changes"].clone();
    serde_json::from_value(changes).unwrap()
}

fn ended_cleanly(record: &Record) {
    assert_eq!(record.ended, Some(Ended::Closed), "{record:?}");
    assert!(record.command_names().ends_with(&["FCUnpublish", "deleteStream"]), "{record:?}");
}

/// No key of the platforms was ever published to twice at once.
fn one_at_a_time(ingests: &[&Ingest]) {
    for ingest in ingests {
        let records = ingest.records();
        let published: Vec<_> = records.iter().filter(|record| record.started.is_some()).collect();
        for (n, later) in published.iter().enumerate() {
            for earlier in published[..n].iter().filter(|earlier| earlier.key == later.key) {
                let is_over = earlier.ended_at.is_some() && earlier.ended_at <= later.started;
                assert!(is_over, "{earlier:?} and {later:?} overlap");
            }
        }
    }
}

/// A live encode at two origins, and platforms.
struct Stage {
    relayd: Relayd,
    encode: Encode,
    primary: Served,
    backup: Served,
    ingests: Vec<Ingest>,
    _origin: Origin,
}

impl Stage {
    /// A relay of two inputs with the same encode; output n publishes to platform n, of which there is one more.
    async fn new(outputs: usize, more: &str) -> Self {
        let (origin, encode) = (Origin::start().await, Encode::live("main"));
        let (primary, backup) = (origin.serve("a", Feed::of(&encode)), origin.serve("b", Feed::of(&encode)));
        let mut ingests = Vec::new();
        let mut parts = vec![pull("primary", primary.url(), ""), pull("backup", backup.url(), "")];
        for n in 0..=outputs {
            ingests.push(Ingest::start().await);
            if n < outputs {
                parts.push(output(&n.to_string(), &ingests[n].url("key"), "enabled = true"));
            }
        }
        let relayd = start(&format!("{more}{}", relay("r", &parts))).await;
        for ingest in &ingests[..outputs] {
            ingest.published(40).await;
        }
        relayd.until("r", "both inputs", |status| !input_of(status, "backup")["aligned_with"].is_null()).await;
        Self { relayd, encode, primary, backup, ingests, _origin: origin }
    }

    async fn status(&self) -> Value {
        self.relayd.status("r").await
    }

    /// The outputs of these platforms have had one session, which lost nothing, and go on.
    async fn untouched(&self, platforms: &[usize]) {
        for &n in platforms {
            let record = flows_on(&self.ingests[n]).await;
            judge::clean(&record, &self.encode);
            assert_eq!(self.ingests[n].records().len(), 1, "platform {n} saw another connection");
        }
    }

    fn connections(&self) -> Vec<usize> {
        self.ingests.iter().map(|ingest| ingest.records().len()).collect()
    }
}

#[tokio::test]
async fn relays_come_and_go_and_the_others_go_on() {
    let stage = Stage::new(1, "").await;
    let (witness, new) = (&stage.ingests[0], &stage.ingests[1]);
    let second = relay("new", &[pull("primary", stage.primary.url(), ""), output("1", &new.url("key"), "")]);
    let changes = reload(&stage.relayd, |config| format!("{second}{config}")).await;
    assert_eq!(changes, ["relay new added"]);
    judge::clean(&new.published(60).await, &stage.encode);
    let names = |all: &Value| -> Vec<String> {
        all["relays"].as_array().unwrap().iter().map(|relay| relay["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&stage.relayd.get("/api/v1/relays").await.json()), ["new", "r"], "in the file's order");
    assert!(stage.relayd.series("relayd_output_up{output=\"1\",relay=\"new\"}").await.is_some());

    let mut viewer = http::open(stage.relayd.admin(), "GET", "/live/new.flv", &[], b"").await.unwrap();
    let changes = reload(&stage.relayd, |config| config.replace(&second, "")).await;
    assert_eq!(changes, ["relay new removed"]);
    while viewer.next().await.unwrap().is_some() {}
    ended_cleanly(&new.ended(0).await);
    assert_eq!(names(&stage.relayd.get("/api/v1/relays").await.json()), ["r"]);
    assert!(stage.relayd.series("relayd_output_up{output=\"1\",relay=\"new\"}").await.is_none());

    reload(&stage.relayd, |config| format!("{second}{config}")).await;
    new.connected(2).await;
    judge::clean(&new.published(60).await, &stage.encode);
    stage.untouched(&[0]).await;
    assert_eq!(witness.records().len(), 1);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let stage = Stage::new(2, "").await;
    let (key, taken) = (stage.ingests[2].url("hidden"), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let good = std::cell::RefCell::new(String::new());
    for (what, change, status, told) in [
        (
            "an unknown key",
            ("enabled = true", "enabled = true\ncolour = \"hidden\""),
            422,
            "relay.output.colour: unknown key; allowed: id",
        ),
        (
            "a range",
            ("enabled = true", "max_lag = \"2h\""),
            422,
            "relay.output.max_lag: out of range; allowed: 100ms to 1h",
        ),
        ("no TOML", ("[[relay]]", "[[relay]"), 422, ""),
        ("no URL", ("url = \"http", "url = \"hidden"), 422, "relay.input.url: not a URL"),
        (
            "a key file",
            (
                "[[relay.output]]",
                "[[relay.output]]\nid = \"9\"\nserver = \"rtmp://h/a\"\nkey_file = \"gone\"\n[[relay.output]]",
            ),
            422,
            "relay.output.key_file: the file cannot be read",
        ),
    ] {
        stage.relayd.rewrite(|config| {
            good.replace(config.to_owned());
            // What is right in the file does not count either.
            let config = config.replace("\n[admin]", &format!("\n{}\n[admin]", output("new", &key, "")));
            config.replacen(change.0, change.1, 1)
        });
        let response = stage.relayd.reload().await;
        assert_eq!(response.status, status, "{what}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        let (_, place) = detail.split_once("relay.toml:").unwrap_or_else(|| panic!("no place in {detail}"));
        assert!(place.starts_with(|c: char| c.is_ascii_digit()) && place.contains(told), "{what}: {detail}");
        assert!(!detail.contains("hidden"), "{detail}");
        stage.relayd.logs(&detail).await;
        stage.relayd.rewrite(|_| good.borrow().clone());
    }
    // The same over SIGHUP.
    stage.relayd.rewrite(|config| config.replace("[[relay]]", "[[relay]"));
    stage.relayd.signal(Signal::HUP);
    stage.relayd.logs("asked_by=\"SIGHUP\"").await;
    stage.relayd.rewrite(|_| good.borrow().clone());

    // A listener that cannot move: nothing else changes either.
    let address = taken.local_addr().unwrap();
    stage.relayd.rewrite(|config| {
        let config = config.replace("\n[admin]", &format!("\n{}\n[admin]", output("new", &key, "")));
        format!("[ingest]\nlisten = \"{address}\"\n{config}")
    });
    let response = stage.relayd.reload().await;
    assert_eq!(response.status, 409, "{}", response.text());
    assert!(response.text().contains(&format!("ingest.listen: cannot listen on {address}")), "{}", response.text());
    stage.relayd.rewrite(|_| good.borrow().clone());

    stage.untouched(&[0, 1]).await;
    assert!(stage.ingests[2].records().is_empty(), "an output of a bad file was started");
    assert_eq!(reload(&stage.relayd, str::to_owned).await, Vec::<String>::new());
}

#[tokio::test]
async fn sighup_reloads_like_the_api() {
    let stage = Stage::new(1, "").await;
    let url = stage.ingests[1].url("key");
    stage.relayd.rewrite(|config| config.replace("\n[admin]", &format!("\n{}\n[admin]", output("new", &url, ""))));
    stage.relayd.signal(Signal::HUP);
    judge::clean(&stage.ingests[1].published(40).await, &stage.encode);
    stage.relayd.logs("reload: relay r: output new added").await;
    stage.untouched(&[0]).await;
}

#[tokio::test]
async fn policies_and_texts_change_in_place() {
    let stage = Stage::new(1, "").await;
    let tables = "title = \"new\"\nautostart = false\n";
    let policies = format!(
        "{}[relay.timeline]\nmax_jump = \"2s\"\n[relay.log]\nmax_time = \"1s\"\n",
        failover("standby = \"cold\"\nhold = \"500ms\"")
    );
    let changes = reload(&stage.relayd, |config| {
        config
            .replace("name = \"r\"\n", &format!("name = \"r\"\n{tables}"))
            .replace("[admin]", &format!("{policies}[admin]"))
    })
    .await;
    for line in [
        "relay r: title: \"\" -> \"new\"",
        "relay r: autostart: true -> false (what runs goes on)",
        "relay r: failover.standby: hot -> cold",
        "relay r: failover.hold: 1m -> 500ms",
        "relay r: timeline.max_jump: 1s -> 2s",
        "relay r: log.max_time: 10s -> 1s",
    ] {
        assert!(changes.iter().any(|change| change == line), "{line} is not in {changes:?}");
    }
    let idle = |status: &Value| input_of(status, "backup")["state"] == "idle" && status["title"] == "new";
    stage.relayd.until("r", "the standby is let go", idle).await;
    let seconds = stage.relayd.series("relayd_log_seconds{relay=\"r\"}").await.unwrap();
    assert!(seconds <= 1.2, "{seconds} s in the log");
    stage.untouched(&[0]).await;
    // The new hold is the one that counts.
    for feed in [&stage.primary, &stage.backup] {
        feed.set_status(404);
        feed.kill();
    }
    ended_cleanly(&stage.ingests[0].ended(0).await);
}

#[tokio::test]
async fn a_relay_that_waits_is_started_by_its_autostart_and_not_stopped_by_it() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    let parts =
        ["autostart = false\n".to_owned(), pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")];
    let relayd = start(&relay("r", &parts)).await;
    assert_eq!(relayd.status("r").await["state"], "stopped");
    assert_eq!(reload(&relayd, |config| config.replace("id = \"1\"", "id = \"1\"\nname = \"one\"")).await.len(), 1);
    assert_eq!(relayd.status("r").await["state"], "stopped", "nothing has asked for it");

    let with = |from: bool, to: bool| {
        move |config: &str| config.replace(&format!("autostart = {from}"), &format!("autostart = {to}"))
    };
    let changes = reload(&relayd, with(false, true)).await;
    assert_eq!(changes, ["relay r: autostart: false -> true"]);
    judge::clean(&ingest.published(40).await, &encode);
    let changes = reload(&relayd, with(true, false)).await;
    assert_eq!(changes, ["relay r: autostart: true -> false (what runs goes on)"]);
    assert_eq!(reload(&relayd, with(false, true)).await, ["relay r: autostart: false -> true"]);
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!((ingest.records().len(), feed.requests().len()), (1, 1));
}

#[tokio::test]
async fn counters_survive() {
    let stage = Stage::new(2, "").await;
    let series = [
        "relayd_input_bytes_total{input=\"primary\",relay=\"r\"}",
        "relayd_input_tags_total{input=\"primary\",kind=\"video\",relay=\"r\"}",
        "relayd_input_bytes_total{input=\"backup\",relay=\"r\"}",
        "relayd_output_tags_total{output=\"0\",relay=\"r\"}",
        "relayd_output_tags_total{output=\"1\",relay=\"r\"}",
        "relayd_output_bytes_total{output=\"1\",relay=\"r\"}",
    ];
    let mut before = Vec::new();
    for series in series {
        before.push(stage.relayd.series(series).await.unwrap());
    }
    // Everything but the relay's name and the first output's is another.
    let other = stage.ingests[2].url("key");
    reload(&stage.relayd, |config| {
        let config = config.replace(&stage.ingests[1].url("key"), &other);
        config
            .replace("a.flv", "a.flv?x")
            .replace("b.flv", "b.flv?x")
            .replace("[admin]", "[relay.log]\nmax_time = \"5s\"\n[admin]")
    })
    .await;
    stage.ingests[2].published(40).await;
    for (series, before) in series.into_iter().zip(before) {
        let after = stage.relayd.series(series).await.unwrap();
        assert!(after > before && before > 0.0, "{series}: {before} -> {after}");
    }
    assert_eq!(stage.relayd.series("relayd_input_reconnects_total{input=\"backup\",relay=\"r\"}").await, Some(1.0));
    assert_eq!(stage.relayd.series("relayd_output_reconnects_total{output=\"0\",relay=\"r\"}").await, Some(0.0));
}

#[tokio::test]
async fn the_log_level_is_live_and_its_format_is_not() {
    let relayd = start(&format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("r", &[]))).await;
    relayd.rewrite(|config| format!("[log]\nlevel = \"debug\"\nformat = \"json\"\n{config}"));
    let json = relayd.reload().await.json();
    assert_eq!(json["changes"], serde_json::json!(["log: level: info -> debug"]));
    assert_eq!(json["needs_restart"], serde_json::json!(["log: format: text -> json"]));
    relayd.logs("needs a restart: log: format: text -> json").await;
    let ingest = relayd.ingest();
    drop(tokio::net::TcpStream::connect(ingest).await.unwrap());
    relayd.logs("left before it published").await;
    // What still needs a restart is said again.
    let json = relayd.reload().await.json();
    assert_eq!((&json["changes"], json["needs_restart"].as_array().map(Vec::len)), (&serde_json::json!([]), Some(1)));
    relayd.rewrite(|config| format!("[limits]\nviewers = 1\n{config}"));
    for _ in 0..2 {
        let json = relayd.reload().await.json();
        assert_eq!(json["changes"], serde_json::json!([]));
        assert!(json["needs_restart"].to_string().contains("limits: viewers: 64 -> 1"), "{json}");
    }

    let overridden = setup(&relay("r", &[])).argument("--log-level=info").start().await;
    overridden.rewrite(|config| format!("[log]\nlevel = \"debug\"\n{config}"));
    for _ in 0..2 {
        let json = overridden.reload().await.json();
        assert_eq!(json["changes"], serde_json::json!([]));
        assert!(json["needs_restart"][0].as_str().unwrap().contains("level: info -> debug (overridden"), "{json}");
    }
}

#[tokio::test]
async fn reloads_wait_for_one_another() {
    let stage = Stage::new(1, "").await;
    let url = stage.ingests[1].url("key");
    for round in 0..5 {
        stage.relayd.rewrite(|config| {
            let new = format!("\n{}\n[admin]", output("new", &url, ""));
            if round % 2 == 0 { config.replace("\n[admin]", &new) } else { config.replace(&new, "\n[admin]") }
        });
        let (a, b, c) = tokio::join!(stage.relayd.reload(), stage.relayd.reload(), stage.relayd.reload());
        let changes: usize = [a, b, c]
            .iter()
            .map(|response| {
                assert_eq!(response.status, 200, "{}", response.text());
                response.json()["changes"].as_array().unwrap().len()
            })
            .sum();
        assert_eq!(changes, 1, "each change is carried out once");
    }
    stage.ingests[1].published(20).await;
    one_at_a_time(&[&stage.ingests[1]]);
    stage.untouched(&[0]).await;
}
