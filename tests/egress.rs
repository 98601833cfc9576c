//! Where relays that were made over an API may go: the daemon's own tasks, with a relay that the configuration file does
//! not vouch for. And where outputs connect from.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use relayd::config::{Config, LimitsConfig, NetworkConfig, Origin as MadeBy};
use relayd::egress::{Cidr, Egress, EgressPolicy};
use relayd::events::EventBus;
use relayd::ingest::{Census, PushKeys};
use relayd::input;
use relayd::lanes::Lanes;
use relayd::output::PublishPoints;
use relayd::relay_task::{RelayHandle, RelayTask, Shared};
use relayd::resolver::Resolver;
use relayd::tls::TlsConfigs;
use serde_json::Value;
use testkit::{DEADLINE, Encode, Feed, Ingest, Origin, TempDir, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::stage::{input_of, output, output_of, pull, relay, start, vod};

/// A relay's task without a daemon around it.
struct Running {
    relay: RelayHandle,
    _cancel: DropGuard,
}

/// Runs what `text` says under a policy that denies loopback but for `allow`. `trusted_inputs`: only the outputs were
/// made over the API.
fn run(text: &str, allow: &[&str], vod_dir: Option<&TempDir>, trusted_inputs: bool) -> Running {
    let folder = TempDir::new();
    let mut config = Config::load(&folder.write("relay.toml", text), &|_| None).unwrap();
    let mut relay = config.relays.remove(0);
    if !trusted_inputs {
        relay.origin = MadeBy::Api;
    }
    for output in &mut relay.outputs {
        output.origin = MadeBy::Api;
    }
    let allow = allow.iter().map(|range| Cidr::parse(range).unwrap()).collect();
    let network = NetworkConfig { allow, vod_dir: vod_dir.map(|folder| folder.path().to_owned()) };
    let (tls, cancel) = (TlsConfigs::load(), CancellationToken::new());
    let egress = Arc::new(EgressPolicy::new(&network, true));
    let limits = Arc::new(LimitsConfig::default());
    let shared = Shared {
        inputs: input::Shared {
            tls: tls.native(),
            push_keys: PushKeys::default(),
            resolver: Resolver::system(),
            limits: Arc::clone(&limits),
            egress: Egress::Limited(Arc::clone(&egress)),
        },
        egress,
        tls,
        census: Arc::new(Census::new(&limits)),
        lanes: Lanes::start().unwrap(),
        points: PublishPoints::default(),
        hooks: relayd::test_hooks::TestHooks::from_env(),
        events: EventBus::default(),
        watch_with: Arc::default(),
    };
    let (task, relay) = RelayTask::new(relay, shared, cancel.clone());
    task.lane().handle().spawn(task.run());
    Running { relay, _cancel: cancel.drop_guard() }
}

impl Running {
    async fn until(&self, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        eventually(what, DEADLINE, async || {
            let status = serde_json::to_value(self.relay.status().await.expect("the relay answers")).unwrap();
            if test(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
        .await
    }

    /// Waits for an input's trouble, and gives its message.
    async fn refusal(&self) -> String {
        let status = self.until("the input fails", |status| !status["inputs"][0]["last_error"].is_null()).await;
        let error = &input_of(&status, "primary")["last_error"];
        assert_eq!(error["kind"], "connect", "{error}");
        error["message"].as_str().unwrap().to_owned()
    }

    async fn is_live(&self) {
        self.until("the input feeds", |status| status["active_input"] == "primary").await;
    }
}

/// A name of loopback in place of its address.
fn by_name(url: &str) -> String {
    assert!(url.contains("127.0.0.1"), "{url}");
    url.replace("127.0.0.1", "localhost")
}

#[tokio::test]
async fn an_input_goes_where_the_policy_lets_it() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let relay = |url: &str| relay("r", &[pull("primary", url, "")]);
    let forms = [
        feed.url().to_owned(),
        by_name(feed.url()),
        feed.url().replace("127.0.0.1", "0x7f.1"),
        feed.url().replace("127.0.0.1", "2130706433"),
    ];
    let mapped = feed.url().replace("127.0.0.1", "[::ffff:127.0.0.1]");
    for url in forms.iter().chain([&mapped]) {
        let refused = run(&relay(url), &[], None, false).refusal().await;
        assert!(refused.contains("egress policy refuses") && refused.contains("loopback"), "{url}: {refused}");
    }
    assert_eq!(feed.requests().len(), 0, "a refused address was asked");

    for url in &forms {
        run(&relay(url), &["127.0.0.1"], None, false).is_live().await;
    }
    // The file's own relays are nobody's business.
    run(&relay(feed.url()), &[], None, true).is_live().await;
}

/// Redirects every request to `target`, and counts them.
async fn redirect(from: &str, target: String) -> SocketAddr {
    let listener = TcpListener::bind((from, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn each_redirect_is_judged_anew() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    for (path, named) in [("address", false), ("name", true)] {
        let feed = origin.serve(path, Feed::of(&encode));
        let target = if named { by_name(feed.url()) } else { feed.url().to_owned() };
        let first = redirect("127.0.0.2", target.clone()).await;
        let second = redirect("127.0.0.2", format!("http://{first}/again")).await;
        let relay = relay("r", &[pull("primary", &format!("http://{second}/a.flv"), "")]);
        let refused = run(&relay, &["127.0.0.2"], None, false).refusal().await;
        assert!(refused.contains("egress policy refuses"), "{target}: {refused}");
        assert_eq!(feed.requests().len(), 0, "a redirect to {target} was followed");
        run(&relay, &["127.0.0.0/8"], None, false).is_live().await;
        run(&relay, &[], None, true).is_live().await;
        assert_eq!(feed.requests().len(), 2);
    }
}

#[tokio::test]
async fn an_output_that_is_refused_fails_for_good_and_connects_nowhere() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let (refused, allowed) = (Ingest::start().await, Ingest::start().await);
    let outputs = [
        output("address", &refused.url("a"), ""),
        output("name", &by_name(&refused.url("b")), ""),
        output("short", &refused.url("c").replace("127.0.0.1", "127.1"), ""),
        output("mapped", &refused.url("d").replace("127.0.0.1", "[::ffff:127.0.0.1]"), ""),
    ];
    let config = relay("r", &[pull("primary", feed.url(), ""), outputs.concat()]);
    let failed = |status: &Value| {
        let outputs = status["outputs"].as_array().unwrap();
        outputs.iter().all(|output| output["state"] == "failed")
    };
    let running = run(&config, &[], None, true);
    let status = running.until("every output has failed", failed).await;
    for id in ["address", "name", "short", "mapped"] {
        let output = output_of(&status, id);
        assert_eq!((&output["origin"], &output["last_error"]["kind"]), (&"api".into(), &"egress".into()), "{output}");
        assert!(output["next_retry_ms"].is_null(), "{output}");
    }
    assert_eq!(refused.records().len(), 0, "a refused address was connected to");

    let config = relay("r", &[pull("primary", feed.url(), ""), output("1", &by_name(&allowed.url("a")), "")]);
    let _running = run(&config, &["127.0.0.0/8"], None, true);
    testkit::judge::clean(&allowed.published(40).await, &encode);
}

#[tokio::test]
async fn files_come_from_one_folder_only() {
    let (folder, elsewhere) = (TempDir::new(), TempDir::new());
    let clip = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/demo.flv")).unwrap();
    let inside = folder.write("a.flv", &clip);
    let outside = elsewhere.write("a.flv", &clip);
    std::os::unix::fs::symlink(&outside, folder.path().join("link.flv")).unwrap();
    let relay = |path: &str| relay("r", &[vod("primary", &[&format!("file:{path}")], -1)]);
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();

    run(&relay(&text(inside.clone())), &[], Some(&folder), false).is_live().await;
    for path in [text(outside.clone()), text(folder.path().join("link.flv")), text(folder.path().join("../a.flv"))] {
        let refused = run(&relay(&path), &[], Some(&folder), false).refusal().await;
        assert!(refused.contains("not below network.vod_dir"), "{path}: {refused}");
    }
    let refused = run(&relay(&text(inside)), &[], None, false).refusal().await;
    assert!(refused.contains("vod_dir is not set"), "{refused}");
    run(&relay(&text(outside)), &[], Some(&folder), true).is_live().await;
}

#[tokio::test]
async fn an_output_connects_from_the_address_it_is_bound_to() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let outputs = [
        output("free", &ingest.url("free"), ""),
        output("bound", &ingest.url("bound"), "bind = \"127.0.0.2\""),
        output("elsewhere", &ingest.url("elsewhere"), "bind = \"192.0.2.1\""),
    ];
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;
    let both = |status: &Value| ["free", "bound"].iter().all(|id| output_of(status, id)["state"] == "live");
    relayd.until("r", "two outputs are live", both).await;
    let failed = |status: &Value| !output_of(status, "elsewhere")["last_error"].is_null();
    let status = relayd.until("r", "an address of another machine is refused", failed).await;
    assert_eq!(output_of(&status, "elsewhere")["last_error"]["kind"], "connect");

    let from = |key: &str| ingest.records().iter().find(|record| record.key == key).unwrap().peer.unwrap().ip();
    assert_eq!((from("free").to_string(), from("bound").to_string()), ("127.0.0.1".into(), "127.0.0.2".into()));
}

/// A label has 63 characters at most, so this one fails without asking anybody.
#[tokio::test]
async fn a_name_without_an_address_is_told_as_that() {
    let url = format!("http://{}.test/a.flv", "x".repeat(64));
    for trusted in [true, false] {
        let running = run(&relay("r", &[pull("primary", &url, "")]), &[], None, trusted);
        let status = running.until("the input fails", |status| !status["inputs"][0]["last_error"].is_null()).await;
        assert_eq!(input_of(&status, "primary")["last_error"]["kind"], "dns", "{status}");
    }
}
