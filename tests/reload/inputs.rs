//! Inputs that come, go and change.

use serde_json::Value;
use testkit::{DEADLINE, Encode, Feed, Ingest, Origin, Publisher, Relayd, eventually, judge};

use super::{Stage, ended_cleanly, reload};
use crate::stage::{flows_on, input_of, output, output_of, pull, push, relay, setup, start, vod};

#[tokio::test]
async fn inputs_that_have_not_changed_keep_their_connections() {
    let stage = Stage::new(1, "").await;
    let (a, b) = (pull("primary", stage.primary.url(), ""), pull("backup", stage.backup.url(), ""));
    let before = stage.status().await;

    let changes = reload(&stage.relayd, |config| config.replace(&format!("{a}{b}"), &format!("{b}{a}"))).await;
    assert_eq!(changes, ["relay r: inputs in the order backup, primary"]);
    let status = stage.status().await;
    assert_eq!((&status["active_input"], &status["selected_input"]), (&"primary".into(), &"backup".into()));
    assert_eq!((&status["inputs"][0]["name"], &status["splices"]), (&"backup".into(), &0.into()));
    assert!(input_of(&status, "primary")["tags"].as_u64() >= input_of(&before, "primary")["tags"].as_u64());
    assert!(!input_of(&status, "backup")["aligned_with"].is_null(), "the alignment is kept: {status}");

    // The standby changes: it alone connects anew.
    let other = format!("{}?x=1", stage.backup.url());
    let changes =
        reload(&stage.relayd, |config| config.replace(&format!("{}\"", stage.backup.url()), &format!("{other}\"")))
            .await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    stage.backup.requested(2).await;
    let locked = |status: &Value| !input_of(status, "backup")["aligned_with"].is_null();
    let status = stage.relayd.until("r", "the new connection is aligned", locked).await;
    assert_eq!(input_of(&status, "backup")["reconnects"], 1);

    // The input that feeds is taken away, and then changed: the other goes on with the very next tag.
    let changes = reload(&stage.relayd, |config| config.replace(&a, "")).await;
    assert_eq!(changes, ["relay r: input primary removed"]);
    let status = stage.relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    assert_eq!(status["splices"], 1);
    stage.untouched(&[0]).await;
    assert_eq!((stage.primary.requests().len(), stage.backup.requests().len()), (1, 2));
    reload(&stage.relayd, |config| config.replace("[[relay.output]]", &format!("{a}[[relay.output]]"))).await;
    let locked = |status: &Value| !input_of(status, "primary")["aligned_with"].is_null();
    stage.relayd.until("r", "the primary is aligned", locked).await;
    reload(&stage.relayd, |config| config.replace(&other, &format!("{other}&y=2"))).await;
    stage.relayd.until("r", "the primary feeds", |status| status["active_input"] == "primary").await;
    stage.backup.requested(3).await;
    stage.untouched(&[0]).await;

    let ledger = stage.relayd.get("/api/v1/relays/r/ledger").await.json();
    let splices: Vec<_> =
        ledger["events"].as_array().unwrap().iter().filter(|event| event["type"] == "splice").collect();
    assert_eq!(splices.len(), 2, "{ledger}");
    assert!(splices.iter().all(|splice| splice["reason"] == "manual"), "{splices:?}");
    let counted = stage.relayd.series("relayd_splices_total{reason=\"manual\",relay=\"r\"}").await;
    assert_eq!(counted, Some(2.0));
}

#[tokio::test]
async fn without_inputs_the_sessions_are_held() {
    let stage = Stage::new(1, "").await;
    let inputs = format!("{}{}", pull("primary", stage.primary.url(), ""), pull("backup", stage.backup.url(), ""));
    let changes = reload(&stage.relayd, |config| config.replace(&inputs, "")).await;
    assert_eq!(changes, ["relay r: input primary removed", "relay r: input backup removed"]);
    let status = stage.relayd.until("r", "holding", |status| status["state"] == "holding").await;
    assert_eq!(status["inputs"], Value::Array(vec![]));
    let frames = stage.ingests[0].records()[0].frames().count();

    reload(&stage.relayd, |config| config.replace("[[relay.output]]", &format!("{inputs}[[relay.output]]"))).await;
    let record = stage.ingests[0].published(frames + 60).await;
    assert_eq!(stage.ingests[0].records().len(), 1, "the output reconnected");
    judge::monotonic(&record);
    judge::genuine(&record, &[&stage.encode]);
    judge::headers_once(&record);
    judge::gaps_end_with_keyframes(&record);
    judge::in_step(&record, 40);
}

/// A push input keeps its publisher; one whose key changes lets it go, and takes the new key at once.
#[tokio::test]
async fn publishers_of_unchanged_keys_stay() {
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let parts = [push("one", "live/one"), push("two", "live/two"), output("1", &ingest.url("key"), "")];
    let mut relayd = start(&format!("[ingest]\nlisten = \"127.0.0.1:0\"\n{}", relay("r", &parts))).await;
    let url = |relayd: &Relayd, key: &str| format!("rtmp://{}/live/{key}", relayd.ingest());
    let _one = Publisher::start(&url(&relayd, "one"), &encode).await.unwrap();
    // Of two publishers at once either may feed.
    ingest.published(40).await;
    let _two = Publisher::start(&url(&relayd, "two"), &encode).await.unwrap();
    let locked = |status: &Value| !input_of(status, "two")["aligned_with"].is_null();
    relayd.until("r", "both publishers", locked).await;

    // The listener moves: those who are in stay.
    let before = relayd.ingest();
    reload(&relayd, |config| config.replacen("127.0.0.1:0", "127.0.0.2:0", 1)).await;
    relayd.logs("RTMP ingest listen=127.0.0.2").await;
    eventually("the old listener is gone", DEADLINE, async || match tokio::net::TcpStream::connect(before).await {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody listens there".to_owned()),
    })
    .await;
    let status = relayd.status("r").await;
    assert_eq!(
        (input_of(&status, "one")["state"].as_str(), input_of(&status, "two")["state"].as_str()),
        (Some("live"), Some("standby"))
    );

    // The keys change places: neither publisher may stay, and both keys are free at once.
    reload(&relayd, |config| {
        config.replace("live/one", "KEY").replace("live/two", "live/one").replace("KEY", "live/two")
    })
    .await;
    relayd.until("r", "nobody publishes", |status| status["active_input"].is_null()).await;
    let _publisher = Publisher::start(&url(&relayd, "two"), &encode).await.unwrap();
    let status = relayd.until("r", "the new publisher feeds", |status| status["active_input"] == "one").await;
    assert_eq!(input_of(&status, "one")["reconnects"], 1, "{status}");
    flows_on(&ingest).await;
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    assert!(relayd.is_running());
}

/// A relay whose files have all been played ends; with other inputs in its file it begins again.
#[tokio::test]
async fn a_relay_that_has_ended_starts_again_with_other_inputs() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("a", Feed::of(&encode));
    let file = vod("file", &["file:clip.flv"], 0);
    let parts = [file.clone(), output("1", &ingest.url("key"), "")];
    let relayd = setup(&relay("r", &parts)).file("clip.flv", encode.file(960)).start().await;
    relayd.until("r", "the end", |status| status["state"] == "stopped").await;
    ended_cleanly(&ingest.ended(0).await);
    let response = relayd.send("POST", "/api/v1/relays/r/switch", br#"{"input":"file"}"#).await;
    assert_eq!((response.status, response.header("content-type")), (409, Some("application/problem+json")));
    let before = relayd.status("r").await;

    reload(&relayd, |config| config.replace("id = \"1\"", "id = \"1\"\nname = \"one\"")).await;
    assert_eq!(relayd.status("r").await["state"], "stopped", "the inputs are the same");
    reload(&relayd, |config| config.replace(&file, &pull("live", feed.url(), ""))).await;
    ingest.connected(2).await;
    judge::clean(&ingest.published(40).await, &encode);
    let status = relayd.until("r", "running", |status| status["state"] == "running").await;
    assert!(output_of(&status, "1")["tags"].as_u64() > output_of(&before, "1")["tags"].as_u64(), "{status}");
    assert!(status["timeline_ms"].as_i64() > before["timeline_ms"].as_i64(), "one line: {status}");
}
