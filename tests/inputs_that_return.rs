//! Inputs that are gone for a while.

use testkit::{Encode, Feed, Ingest, Origin, Track, judge};

use crate::stage::{failover, output, output_of, pull, relay, start};

#[tokio::test]
async fn a_short_absence_costs_no_session() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])).await;

    ingest.published(60).await;
    feed.set_status(404);
    feed.kill();
    relayd.until("r", "holding", |status| status["state"] == "holding" && status["active_input"].is_null()).await;
    let before = ingest.records()[0].frames().count();
    feed.resume();
    let record = ingest.published(before + 60).await;
    relayd.until("r", "running", |status| status["state"] == "running" && status["active_input"] == "primary").await;

    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    judge::starts_with_keyframe_at_zero(&record);
    judge::monotonic(&record);
    judge::genuine(&record, &[&encode]);
    judge::headers_once(&record);
    judge::gaps_end_with_keyframes(&record);
    judge::in_step(&record, 40);
}

#[tokio::test]
async fn a_long_absence_ends_the_sessions_cleanly() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let parts = [pull("primary", feed.url(), ""), failover("hold = \"500ms\""), output("1", &ingest.url("key"), "")];
    let relayd = start(&relay("r", &parts)).await;

    ingest.published(60).await;
    feed.set_status(503);
    feed.kill();
    let record = ingest.ended(0).await;
    assert_eq!(record.ended, Some(testkit::Ended::Closed));
    assert!(record.command_names().ends_with(&["FCUnpublish", "deleteStream"]), "{record:?}");
    relayd
        .until("r", "waiting for the input", |status| {
            status["state"] == "starting" && output_of(status, "1")["state"] == "idle"
        })
        .await;

    feed.resume();
    ingest.connected(2).await;
    let record = ingest.published(60).await;
    judge::clean(&record, &encode);
}

#[tokio::test]
async fn an_input_that_comes_late_is_waited_for() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    feed.set_status(404);
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])).await;

    feed.requested(3).await;
    let status = relayd.status("r").await;
    assert_eq!((&status["state"], &status["outputs"][0]["state"]), (&"starting".into(), &"idle".into()), "{status}");
    assert!(ingest.records().is_empty());
    feed.resume();
    judge::clean(&ingest.published(60).await, &encode);
}

#[tokio::test]
async fn a_pause_below_the_timeout_is_no_fault() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let _relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])).await;

    ingest.published(60).await;
    feed.stall();
    // Until the pause is as long as 700 ms of the programme.
    let end = encode.clock().position() + 700;
    tokio::time::sleep_until(encode.clock().at(end)).await;
    feed.resume();
    let record = ingest
        .newest("frames after the pause", |record| {
            record.ids(Track::Video).last().is_some_and(|id| id.position() > end + 500)
        })
        .await;
    judge::clean(&record, &encode);
    assert_eq!(feed.requests().len(), 1);
}
