//! Outputs that come, go and change.

use testkit::{Encode, Feed, Ingest, Origin, Record, Script, judge};

use super::{Stage, ended_cleanly, one_at_a_time, reload};
use crate::stage::{flows_on, output, output_of, pull, relay, setup, start};

/// `[[relay.output]] id = "n"`, up to the next table.
fn table_of(config: &str, n: usize) -> String {
    let begin = config.find(&format!("[[relay.output]]\nid = \"{n}\"")).unwrap();
    let len = config[begin + 1..].find("\n[").map_or(config.len() - begin, |len| len + 2);
    config[begin..begin + len].to_owned()
}

/// What becomes of a session after another, told by the file: (what changes, how, which platforms see a new connection).
#[tokio::test]
async fn only_the_outputs_that_changed_move() {
    let stage = Stage::new(4, "").await;
    let platforms: Vec<_> = stage.ingests.iter().map(|ingest| ingest.url("key")).collect();
    type Change<'a> = Box<dyn FnOnce(&str) -> String + 'a>;
    let steps: Vec<(&str, Change<'_>, Vec<&str>, Vec<usize>)> = vec![
        ("nothing", Box::new(str::to_owned), vec![], vec![]),
        (
            "an output is added",
            Box::new(|config| config.replace("\n[admin]", &format!("\n{}\n[admin]", output("4", &platforms[4], "")))),
            vec!["relay r: output 4 added"],
            vec![4],
        ),
        (
            "a name",
            Box::new(|config| config.replace("id = \"1\"", "id = \"1\"\nname = \"one\"")),
            vec!["relay r: output 1: name: \"\" -> \"one\""],
            vec![],
        ),
        (
            "how it comes back",
            Box::new(|config| {
                let table = table_of(config, 1);
                config.replace(&table, &table.replace("\"400ms\"", "\"500ms\""))
            }),
            vec!["relay r: output 1: retry.max: 400ms -> 500ms"],
            vec![],
        ),
        (
            "a key",
            Box::new(|config| config.replace(&platforms[1], &stage.ingests[1].url("new-key"))),
            vec!["relay r: output 1: url: changed"],
            vec![1],
        ),
        (
            "a limit",
            Box::new(|config| config.replace(&platforms[2], &format!("{}\"\nmax_lag = \"6s", platforms[2]))),
            vec!["relay r: output 2: max_lag: 5s -> 6s"],
            vec![2],
        ),
        (
            "one is disabled",
            Box::new(|config| {
                let table = table_of(config, 2);
                config.replace(&table, &table.replace("enabled = true", "enabled = false"))
            }),
            vec!["relay r: output 2: enabled: true -> false"],
            vec![],
        ),
        (
            "it is enabled again",
            Box::new(|config| config.replace("enabled = false", "enabled = true")),
            vec!["relay r: output 2: enabled: false -> true"],
            vec![2],
        ),
        (
            "the order",
            Box::new(|config| {
                let (three, two) = (table_of(config, 3), table_of(config, 2));
                config.replace(&three, "").replace(&two, &format!("{three}{two}"))
            }),
            vec!["relay r: outputs in the order 0, 1, 3, 2, 4"],
            vec![],
        ),
        (
            "one is removed",
            Box::new(|config| config.replace(&table_of(config, 2), "")),
            vec!["relay r: output 2 removed"],
            vec![],
        ),
        (
            "keys are swapped",
            Box::new(|config| {
                let (four, one) = (&platforms[4], stage.ingests[1].url("new-key"));
                config.replace(four, "FOUR").replace(&one, four).replace("FOUR", &one)
            }),
            vec!["relay r: output 1: url: changed", "relay r: output 4: url: changed"],
            vec![1, 4],
        ),
    ];
    let mut expected = stage.connections();
    for (what, change, told, moved) in steps {
        let mut changes = reload(&stage.relayd, change).await;
        changes.iter_mut().for_each(|change| {
            // Other ports on each run.
            if let Some(at) = change.find("url: rtmp") {
                change.replace_range(at.., "url: changed");
            }
        });
        assert_eq!(changes, told, "{what}");
        for n in moved {
            expected[n] += 1;
            stage.ingests[n].connected(expected[n]).await;
            stage.ingests[n].published(40).await;
            if expected[n] > 1 {
                ended_cleanly(&stage.ingests[n].ended(expected[n] - 2).await);
            }
        }
        flows_on(&stage.ingests[0]).await;
        assert_eq!(stage.connections(), expected, "{what}");
    }
    stage.untouched(&[0, 3]).await;
    one_at_a_time(&stage.ingests.iter().collect::<Vec<_>>());
    assert_eq!(stage.primary.requests().len() + stage.backup.requests().len(), 2, "an input reconnected");

    let status = stage.status().await;
    let outputs: Vec<_> = status["outputs"].as_array().unwrap().iter().map(|output| &output["id"]).collect();
    assert_eq!(outputs, ["0", "1", "3", "4"]);
    assert_eq!(output_of(&status, "1")["name"], "one");
    let sent: usize = stage.ingests[1].records()[0].messages.len();
    assert!(output_of(&status, "1")["tags"].as_u64() > Some(sent as u64 + 40), "it counts on: {status}");
}

#[tokio::test]
async fn a_key_file_with_another_key_is_another_output() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let (feed, ingests) = (origin.serve("a", Feed::of(&encode)), [Ingest::start().await, Ingest::start().await]);
    let keyed = |n: usize| {
        let address = ingests[n].address();
        format!("[[relay.output]]\nid = \"{n}\"\nserver = \"rtmp://{address}/live\"\nkey_file = \"{n}.key\"\n")
    };
    let config = relay("r", &[pull("primary", feed.url(), ""), keyed(0), keyed(1)]);
    let relayd = setup(&config).file("0.key", "first\n").file("1.key", "first\n").start().await;
    for ingest in &ingests {
        assert_eq!(ingest.published(40).await.key, "first");
    }
    relayd.write("1.key", "second\n");
    assert_eq!(reload(&relayd, str::to_owned).await, ["relay r: output 1: url: changed"]);
    ended_cleanly(&ingests[1].ended(0).await);
    ingests[1].connected(2).await;
    assert_eq!(ingests[1].published(40).await.key, "second");
    judge::clean(&flows_on(&ingests[0]).await, &encode);
    assert_eq!(ingests[0].records().len(), 1, "the other output reconnected");
}

#[tokio::test]
async fn an_output_that_has_given_up_tries_again_with_another_retry() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    ingest.stop_listening();
    let url = ingest.url("key");
    let output = format!("[[relay.output]]\nid = \"1\"\nurl = \"{url}\"\nretry = {{ give_up_after = \"1ms\" }}\n");
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output])).await;
    let stands = |what: &'static str| move |status: &serde_json::Value| output_of(status, "1")["state"] == what;
    relayd.until("r", "given up", stands("failed")).await;
    // It waits for an hour, unless it is told otherwise.
    reload(&relayd, |config| config.replace("give_up_after = \"1ms\"", "min = \"1h\", max = \"1h\"")).await;
    relayd.until("r", "waiting", stands("backoff")).await;
    ingest.listen_again();
    let changes = reload(&relayd, |config| config.replace("min = \"1h\", max = \"1h\"", "")).await;
    assert_eq!(changes, ["relay r: output 1: retry.min: 1h -> 500ms", "relay r: output 1: retry.max: 1h -> 1m"]);
    judge::clean(&ingest.published(40).await, &encode);
}

/// A platform that takes nothing any more cannot hold up the next session for long.
#[tokio::test]
async fn a_deaf_platform_is_left_in_time() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").frame_bytes(120_000, 28_000));
    let (feed, witness) = (origin.serve("a", Feed::of(&encode)), Ingest::start().await);
    let ingest = Ingest::scripted(Script::new().stop_reading_after(100)).await;
    let outputs = [output("1", &ingest.url("key"), ""), output("2", &witness.url("key"), "")];
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;
    relayd.until("r", "the output lags", |status| output_of(status, "1")["lag_ms"].as_u64() > Some(500)).await;

    ingest.behave(Script::new());
    reload(&relayd, |config| config.replace(&ingest.url("key"), &ingest.url("other"))).await;
    ingest.connected(2).await;
    let record = ingest.published(40).await;
    assert_eq!((record.key.as_str(), ingest.records().len()), ("other", 2));
    judge::clean(&record, &encode);
    judge::clean(&flows_on(&witness).await, &encode);
    assert_eq!(witness.records().len(), 1, "the other output reconnected");
}

/// Two outputs of two relays change places: each begins when the other has ended.
#[tokio::test]
async fn keys_move_between_relays_one_publisher_at_a_time() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let (feed, ingest, witness) = (origin.serve("a", Feed::of(&encode)), Ingest::start().await, Ingest::start().await);
    let relay_with = |name: &str, key: &str| {
        let witness = output("w", &witness.url(name), "");
        relay(name, &[pull("primary", feed.url(), ""), output("1", &ingest.url(key), ""), witness])
    };
    let config = format!("{}{}", relay_with("one", "a"), relay_with("two", "b"));
    let relayd = start(&config).await;
    let both_live = |records: &[Record], all: usize| {
        let live = |record: &&Record| record.ended.is_none() && record.frames().count() > 20;
        (records.len() == all && records[all - 2..].iter().filter(live).count() == 2).then_some(())
    };
    ingest.until("both keys", |records| both_live(records, 2)).await;

    for round in 1..=3 {
        reload(&relayd, |config| {
            let (a, b) = (ingest.url("a"), ingest.url("b"));
            config.replace(&a, "KEY").replace(&b, &a).replace("KEY", &b)
        })
        .await;
        ingest.until("both keys again", |records| both_live(records, 2 + 2 * round)).await;
    }
    // The relay goes, and its key is another's.
    let changes = reload(&relayd, |config| {
        let two = config.find("[[relay]]\nname = \"two\"").unwrap();
        let admin = config.find("\n[admin]").unwrap();
        let key = config[two..].contains(&ingest.url("a"));
        let (own, other) = (ingest.url("a"), ingest.url("b"));
        let (own, other) = if key { (other, own) } else { (own, other) };
        format!("{}{}", config[..two].replace(&own, &other), &config[admin..])
    })
    .await;
    assert_eq!(changes, ["relay one: output 1: url: changed", "relay two removed"]);
    ingest.connected(9).await;
    ingest.published(40).await;
    one_at_a_time(&[&ingest]);
    let records = witness.records();
    let [one, two] = ["one", "two"].map(|key| records.iter().find(|record| record.key == key).unwrap());
    assert_eq!((records.len(), &one.ended), (2, &None), "the witness reconnected");
    ended_cleanly(two);
    judge::clean(one, &encode);
    assert_eq!(relayd.get("/api/v1/relays/two").await.status, 404);
}
