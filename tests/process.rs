//! The process: command line, exit codes, signals, secrets.

use std::{fs::File, net::TcpListener, process::Command, time::Duration};

use testkit::{Encode, Ended, Feed, Ingest, Origin, Script, Setup, Signal, Step, TempDir, judge};

use crate::stage::{flows_on, output, output_of, pull, push, relay, setup};

#[tokio::test]
async fn a_check_prints_what_the_configuration_means_without_its_secrets() {
    let parts = [
        pull("primary", "http://user:pass@127.0.0.1/a.flv?sign=hidden1", "headers = { Authorization = \"hidden2\" }"),
        push("backup", "live/hidden3"),
        output("1", "rtmp://127.0.0.1/live/hidden4?x=hidden5", ""),
        output("2", "${TARGET}", ""),
    ];
    let config = format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("main", &parts));
    let setup = setup(&config).argument("--check").variable("TARGET", "rtmps://[::1]:444/app?k=hidden6/hidden7");
    let finished = setup.run().await;
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    for shown in ["main", "http://", "127.0.0.1/a.flv?***", "rtmp://127.0.0.1/live/***", "rtmps://[::1]:444/"] {
        assert!(finished.stdout.contains(shown), "{shown} is not in {}", finished.stdout);
    }
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!all.contains("hidden") && !all.contains("pass@"), "{all}");
}

/// The ingest's port is this test's own: it is known, and nobody can listen there.
#[tokio::test]
async fn a_relay_that_is_fed_what_it_sends_is_told_and_not_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ingest = taken.local_addr().unwrap();
    let looped = [push("in", "live/hidden1"), output("1", &format!("rtmp://{ingest}/live/hidden1?x=hidden2"), "")];
    let config = format!("[ingest]\nlisten = \"{ingest}\"\n{}", relay("echo", &looped));
    let warning = "relay.toml: what relay echo sends comes back to an input of its own";
    let check = setup(&config).argument("--check").run().await;
    let start = setup(&config).run().await;
    assert_eq!((check.status.code(), start.status.code()), (Some(0), Some(1)), "{check:?} {start:?}");
    for stderr in [&check.stderr, &start.stderr] {
        assert_eq!(stderr.matches(warning).count(), 1, "{stderr}");
        assert!(!stderr.contains("hidden"), "{stderr}");
    }
    let relayd = setup(&relay("echo", &[])).start().await;
    relayd.rewrite(|before| format!("{}{config}", before.replace("[[relay]]\nname = \"echo\"\n", "")));
    assert_eq!(relayd.reload().await.status, 409, "nobody can listen there");
    relayd.logs(warning).await;
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_told_with_their_place() {
    let two_alike = [output("1", "rtmp://127.0.0.1/live/same", ""), output("2", "rtmp://127.0.0.1/live/same", "")];
    let cases = [
        (relay("r", &["colour = \"red\"\n".into()]), "colour"),
        (relay("r", &[pull("primary", "ftp://127.0.0.1/a", "")]), "url"),
        (relay("r", &[output("1", "http://127.0.0.1/a", "")]), "url"),
        (relay("r", &[output("1", "rtmp://127.0.0.1/live/key", "max_lag = \"never\"")]), "max_lag"),
        (relay("r", &[output("1", "${NOT_DEFINED}", "")]), "NOT_DEFINED"),
        (relay("r", &two_alike), "same"),
        (format!("{}{}", relay("r", &[]), relay("r", &[])), "name"),
        ("[admin]\nlisten = \"0.0.0.0:8080\"\n".to_owned(), "token"),
        ("[[relay]\n".to_owned(), "relay.toml:1"),
    ];
    for (config, named) in cases {
        for check in [true, false] {
            let mut setup = setup(&config);
            if check {
                setup = setup.argument("--check");
            }
            let finished = setup.run().await;
            assert_eq!(finished.status.code(), Some(78), "{config}\n{finished:?}");
            assert!(finished.stderr.contains("relay.toml:"), "no place in {}", finished.stderr);
            assert!(finished.stderr.contains(named), "{named} is not in {}", finished.stderr);
            assert!(!finished.stderr.contains("/live/same"), "{}", finished.stderr);
        }
    }
}

#[tokio::test]
async fn what_cannot_start_says_so_by_its_exit_code() {
    let finished = setup("").argument("--no-such-flag").run().await;
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    let finished = setup("").argument("--version").run().await;
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.starts_with("relayd "), "{finished:?}");
    let finished = setup("").argument("--help").run().await;
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.contains("--check"), "{finished:?}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for section in ["admin", "ingest"] {
        let finished = setup(&format!("[{section}]\nlisten = \"{address}\"\n")).run().await;
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains(&address.to_string()), "{finished:?}");
    }
}

#[tokio::test]
async fn a_missing_configuration_file_is_a_configuration_error() {
    let setup = Setup::new(env!("CARGO_BIN_EXE_relayd"), "").configured_by("nowhere.toml");
    let finished = setup.run().await;
    assert_eq!(finished.status.code(), Some(78), "{finished:?}");
    assert!(finished.stderr.contains("nowhere.toml"), "{finished:?}");
}

#[test]
fn what_cannot_be_printed_leaves_the_exit_code_to_tell() {
    let folder = TempDir::new();
    let (good, bad) = (folder.write("good.toml", ""), folder.write("bad.toml", "nonsense"));
    let full = || File::options().write(true).open("/dev/full").expect("a device of every Linux");
    for (config, code) in [(good, 1), (bad, 78)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
        command.arg("--check").arg("--config").arg(&config).stdout(full()).stderr(full());
        assert_eq!(command.status().unwrap().code(), Some(code), "{}", config.display());
    }
}

/// What rotates logs sends some daemons a signal; a log's file that has grown to its limit is one, too.
#[tokio::test]
async fn signals_that_mean_nothing_end_nothing() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let config = relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")]);
    let relayd = setup(&config).start().await;
    ingest.published(40).await;
    for signal in [Signal::USR1, Signal::USR2, Signal::XFSZ, Signal::PIPE] {
        relayd.signal(signal);
    }
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
}

/// Publishers wait until relays have said which keys there are: none is refused at the start.
#[tokio::test]
async fn the_ingest_opens_once_the_relays_have_started() {
    let config = format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("r", &[push("primary", "live/x")]));
    let relayd = setup(&config).start().await;
    let log = relayd.stderr();
    let line = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text} is not in {log}"));
    assert!(line("started inputs=1") < line("RTMP ingest listen="), "{log}");
}

#[tokio::test]
async fn sigterm_drains_every_output_before_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let (origin, encode) = (Origin::start().await, Encode::live("main"));
        let feed = origin.serve("main", Feed::of(&encode));
        let ingests = [Ingest::start().await, Ingest::start().await];
        let outputs = [output("1", &ingests[0].url("key"), ""), output("2", &ingests[1].url("key"), "")];
        let config = relay("r", &[pull("primary", feed.url(), ""), outputs.concat()]);
        let mut relayd = setup(&config).start().await;
        for ingest in &ingests {
            ingest.published(60).await;
        }
        relayd.signal(signal);
        let status = relayd.wait_exit(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0), "{}", relayd.stderr());
        for ingest in &ingests {
            let record = ingest.ended(0).await;
            assert_eq!(record.ended, Some(Ended::Closed));
            assert!(record.command_names().ends_with(&["FCUnpublish", "deleteStream"]), "{record:?}");
            assert_eq!(ingest.records().len(), 1, "a new session was begun");
        }
    }
}

#[tokio::test]
async fn a_deaf_platform_does_not_hold_the_end_up() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").frame_bytes(120_000, 28_000));
    let feed = origin.serve("main", Feed::of(&encode));
    let deaf = Ingest::scripted(Script::new().stop_reading_after(100)).await;
    let silent = Ingest::scripted(Script::new().never_answer(Step::Publish)).await;
    let outputs = [output("1", &deaf.url("key"), ""), output("2", &silent.url("key"), "")];
    let mut relayd = setup(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).start().await;
    silent.connected(1).await;
    relayd.until("r", "the output lags", |status| output_of(status, "1")["lag_ms"].as_u64() > Some(500)).await;

    relayd.signal(Signal::TERM);
    let status = relayd.wait_exit(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0), "{}", relayd.stderr());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").frame_bytes(120_000, 28_000));
    let feed = origin.serve("main", Feed::of(&encode));
    let deaf = Ingest::scripted(Script::new().stop_reading_after(100)).await;
    let mut relayd =
        setup(&relay("r", &[pull("primary", feed.url(), ""), output("1", &deaf.url("key"), "")])).start().await;
    relayd.until("r", "the output lags", |status| output_of(status, "1")["lag_ms"].as_u64() > Some(500)).await;

    relayd.signal(Signal::TERM);
    relayd.logs("draining").await;
    relayd.signal(Signal::TERM);
    let status = relayd.wait_exit(Duration::from_secs(1)).await;
    assert_eq!(status.code(), Some(1), "{}", relayd.stderr());
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let (good, bad) =
        (Ingest::start().await, Ingest::scripted(Script::new().reject_publish("NetStream.Publish.BadName")).await);
    let input = feed.url().replace("http://", "http://user-hidden1:pass-hidden2@");
    let nowhere = "http://127.0.0.1:9/x.flv?sign=hidden3";
    let parts = [
        pull("primary", &format!("{input}?sign=hidden4"), "headers = { Cookie = \"hidden5\" }"),
        pull("backup", nowhere, ""),
        push("studio", "live/hidden6"),
        output("1", &good.url("hidden7?auth=hidden8"), ""),
        output("2", &bad.url("hidden9"), ""),
        output("3", "rtmps://127.0.0.1:9/app?k=hidden10/hidden11", ""),
    ];
    let config = format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("r", &parts));
    for format in ["text", "json"] {
        // Libraries would quote what they connect to.
        let all = "--log-level=trace,hyper_util::client=trace,reqwest::connect=trace,[relay]=trace";
        let setup = setup(&config).argument(all).argument(&format!("--log-format={format}"));
        let mut relayd = setup.token("hidden12").start().await;
        good.published(20).await;
        let url = format!("rtmp://{}/live/hidden13", relayd.ingest());
        assert!(testkit::Publisher::start(&url, &encode).await.is_err(), "a wrong key was let in");
        let status = relayd
            .until("r", "errors of the others", |status| {
                ["2", "3"].iter().all(|id| !output_of(status, id)["last_error"].is_null())
                    && !status["inputs"][1]["last_error"].is_null()
            })
            .await;
        relayd.signal(Signal::HUP);
        relayd.logs("SIGHUP").await;
        let reloaded = relayd.reload().await.text();
        relayd.rewrite(|config| config.replace("hidden9", "hidden14").replace("hidden3", "hidden15"));
        let reloaded = format!("{reloaded}{}", relayd.reload().await.text());
        assert!(reloaded.contains("changed"), "{reloaded}");
        relayd.rewrite(|config| config.replace("hidden4", "hidden16\ncolour = "));
        let refused = relayd.reload().await.text();
        assert!(refused.contains("relay.toml:"), "{refused}");
        relayd.signal(Signal::TERM);
        relayd.wait_exit(Duration::from_secs(5)).await;
        let shown = format!("{status}\n{reloaded}\n{}", relayd.stderr());
        let line = shown.lines().find(|line| line.contains("hidden"));
        assert!(line.is_none(), "{line:?}");
    }
}
