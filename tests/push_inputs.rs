//! Publishers that come to the daemon.

use testkit::{Encode, Feed, Ingest, Origin, Publisher, PublisherError, Relayd, Track, judge};

use crate::stage::{failover, output, output_of, pull, push, relay, start};

const INGEST: &str = "[ingest]\nlisten = \"127.0.0.1:0\"\n";

async fn stage(ingest: &Ingest, more: &str) -> Relayd {
    let parts = [push("studio", "live/secret-key"), failover(more), output("1", &ingest.url("key"), "")];
    start(&format!("{INGEST}{}", relay("r", &parts))).await
}

fn url(relayd: &Relayd, path: &str) -> String {
    format!("rtmp://{}/{path}", relayd.ingest())
}

#[tokio::test]
async fn a_publisher_is_relayed() {
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let relayd = stage(&ingest, "").await;
    let publisher = Publisher::start(&url(&relayd, "live/secret-key?vhost=x"), &encode).await.unwrap();

    let record = ingest.published(150).await;
    judge::clean(&record, &encode);
    let shown = format!("{}{}", relayd.status("r").await, relayd.stderr());
    assert!(!shown.contains("secret-key"), "{shown}");
    publisher.close().await.unwrap();
    relayd.until("r", "holding", |status| status["state"] == "holding").await;
}

#[tokio::test]
async fn a_publisher_that_comes_back_continues_the_programme() {
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let relayd = stage(&ingest, "").await;
    let publisher = Publisher::start(&url(&relayd, "live/secret-key"), &encode).await.unwrap();
    ingest.published(60).await;

    drop(publisher);
    relayd.until("r", "holding", |status| status["state"] == "holding").await;
    let before = ingest.records()[0].frames().count();
    let _publisher = Publisher::start(&url(&relayd, "live/secret-key"), &encode).await.unwrap();
    let record = ingest.published(before + 60).await;
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    judge::monotonic(&record);
    judge::genuine(&record, &[&encode]);
    judge::gaps_end_with_keyframes(&record);
    judge::headers_once(&record);
}

#[tokio::test]
async fn strangers_are_refused_and_learn_nothing() {
    let (encode, ingest) = (Encode::live("studio"), Ingest::start().await);
    let relayd = stage(&ingest, "").await;
    let _publisher = Publisher::start(&url(&relayd, "live/secret-key"), &encode).await.unwrap();

    let mut answers = Vec::new();
    for path in ["live/wrong", "live/secret-ke", "live/secret-keyy", "other/secret-key", "live/secret-key"] {
        let refused = Publisher::start(&url(&relayd, path), &encode).await;
        match refused {
            Err(PublisherError::Session(error)) => answers.push(error.to_string()),
            other => panic!("{path}: {other:?}"),
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a key in use is told from an unknown one: {answers:?}");
    judge::clean(&ingest.published(120).await, &encode);
}

#[tokio::test]
async fn a_publisher_backs_a_pulled_input_up() {
    let (origin, ingest) = (Origin::start().await, Ingest::start().await);
    let first = Encode::live("first");
    let second = Encode::live("second").on(first.clock());
    let feed = origin.serve("main", Feed::of(&first));
    let parts = [pull("primary", feed.url(), ""), push("backup", "live/backup"), output("1", &ingest.url("key"), "")];
    let relayd = start(&format!("{INGEST}{}", relay("r", &parts))).await;
    let _publisher = Publisher::start(&url(&relayd, "live/backup"), &second).await.unwrap();
    relayd
        .until("r", "both inputs", |status| {
            status["active_input"] == "primary" && status["inputs"][1]["state"] == "standby"
        })
        .await;
    ingest.published(60).await;

    feed.set_status(404);
    feed.kill();
    relayd.until("r", "the publisher is active", |status| status["active_input"] == "backup").await;
    let record = ingest
        .newest("frames of the publisher", |record| {
            record.ids(Track::Video).iter().filter(|id| id.encode == "second").count() > 20
        })
        .await;
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    judge::monotonic(&record);
    judge::genuine(&record, &[&first, &second]);
    judge::gaps_end_with_keyframes(&record);
    assert_eq!(output_of(&relayd.status("r").await, "1")["state"], "live");
}
