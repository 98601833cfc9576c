//! Platforms that do not let an output publish, or talk nonsense: their trouble is told, and is nobody else's.

use testkit::{Encode, Feed, Ingest, Origin, Script, Step, judge};

use crate::stage::{output, output_of, pull, relay, start};

/// What an output meets, and the `kind` of the error that is shown for it.
fn refusals() -> Vec<(&'static str, Script, &'static str)> {
    vec![
        ("bad-name", Script::new().reject_publish("NetStream.Publish.BadName"), "rejected"),
        ("denied", Script::new().reject_publish("NetStream.Publish.Denied"), "rejected"),
        ("connect", Script::new().reject_connect(), "rejected"),
        ("closes", Script::new().close_after_start(), "closed"),
        ("no-handshake", Script::new().never_answer(Step::Handshake), "timeout"),
        ("no-connect", Script::new().never_answer(Step::Connect), "timeout"),
        ("no-stream", Script::new().never_answer(Step::CreateStream), "timeout"),
        ("no-start", Script::new().never_answer(Step::Publish), "timeout"),
        ("bomb", Script::new().amf_bomb(), "protocol"),
        ("garbage", Script::new().garbage(), "protocol"),
        ("huge-message", Script::new().huge_message(), "protocol"),
        ("huge-chunks", Script::new().chunk_size(0x7FFF_FFFF).huge_message(), "protocol"),
        ("chunks-of-2-31", Script::new().chunk_size(1 << 31), "protocol"),
    ]
}

#[tokio::test]
async fn refusals_are_told_and_disturb_no_other_output() {
    let (origin, encode, good) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let (mut outputs, mut ingests) = (output("good", &good.url("key"), ""), Vec::new());
    for (name, script, kind) in refusals() {
        let ingest = Ingest::scripted(script).await;
        outputs += &output(name, &ingest.url("hidden-key"), "connect_timeout = \"500ms\"");
        ingests.push((name, kind, ingest));
    }
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs])).await;

    for (name, kind, ingest) in &ingests {
        ingest.connected(2).await;
        let what = format!("an error of {name}");
        let status = relayd.until("r", &what, |status| !output_of(status, name)["last_error"].is_null());
        let status = status.await;
        assert_eq!(output_of(&status, name)["last_error"]["kind"], *kind, "{name}: {status:#}");
        let shown = status.to_string();
        assert!(!shown.contains("hidden-key"), "{shown}");
    }
    let record = good.published(120).await;
    judge::clean(&record, &encode);
    assert_eq!(good.records().len(), 1, "the good output reconnected");
    assert!(!relayd.stderr().contains("hidden-key"), "{}", relayd.stderr());
}

#[tokio::test]
async fn a_platform_that_changes_its_mind_gets_the_programme() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let (mut outputs, mut ingests) = (String::new(), Vec::new());
    for (name, script, _) in refusals() {
        let ingest = Ingest::scripted(script).await;
        outputs += &output(name, &ingest.url("key"), "connect_timeout = \"300ms\"");
        ingests.push((name, ingest));
    }
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs])).await;

    for (_, ingest) in &ingests {
        ingest.connected(1).await;
        ingest.behave(Script::new());
    }
    for (name, ingest) in &ingests {
        let record = ingest.published(40).await;
        judge::clean(&record, &encode);
        let what = format!("{name} is live");
        let status = relayd.until("r", &what, |status| output_of(status, name)["state"] == "live");
        assert!(output_of(&status.await, name)["reconnects"].as_u64() >= Some(1), "{name}");
    }
}

#[tokio::test]
async fn nobody_listening_is_told_and_tried_again() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let gone = Ingest::start().await;
    let url = gone.url("key");
    drop(gone);
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &url, "")])).await;

    let status = relayd
        .until("r", "a failed connection", |status| {
            let output = output_of(status, "1");
            output["state"] == "backoff" && output["next_retry_ms"].is_u64()
        })
        .await;
    assert!(output_of(&status, "1")["last_error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
}

#[tokio::test]
async fn an_output_that_gives_up_stays_down() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let ingest = Ingest::scripted(Script::new().reject_connect()).await;
    let url = ingest.url("key");
    let output = format!(
        "[[relay.output]]\nid = \"1\"\nurl = \"{url}\"\nretry = {{ min = \"100ms\", max = \"200ms\", give_up_after = \"500ms\" }}\n"
    );
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output])).await;

    let status = relayd.until("r", "the output has failed", |status| output_of(status, "1")["state"] == "failed").await;
    assert!(output_of(&status, "1")["next_retry_ms"].is_null(), "{status}");
    assert_eq!(status["state"], "running");
}
