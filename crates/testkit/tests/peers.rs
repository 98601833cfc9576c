//! The peers of this crate against each other, without the daemon between them.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use flv::{DemuxLimits, Demuxer, Tag};
use testkit::{Encode, Ended, Feed, Ingest, Origin, Publisher, PublisherError, Script, Step, Track, eventually, http};

async fn body(url: &str) -> (u16, Vec<u8>) {
    let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let answer = http::request(address.parse().unwrap(), "GET", &format!("/{path}"), &[], b"").await.unwrap();
    (answer.status, answer.body.to_vec())
}

fn tags(body: Vec<u8>) -> Vec<Tag> {
    let mut demuxer = Demuxer::new(DemuxLimits::default());
    demuxer.push(Bytes::from(body));
    demuxer.finish().unwrap();
    std::iter::from_fn(|| demuxer.next_tag().unwrap()).collect()
}

#[tokio::test]
async fn a_publisher_is_recorded_to_its_goodbye() {
    let (encode, ingest) = (Encode::live("e"), Ingest::start().await);
    let publisher = Publisher::start(&ingest.url("key?x=1"), &encode).await.unwrap();
    let record = ingest.published(60).await;
    assert_eq!((record.app.as_str(), record.key.as_str()), ("live", "key?x=1"));
    testkit::judge::contiguous(&record);
    testkit::judge::genuine(&record, &[&encode]);
    assert!(record.ids(Track::Video)[0].index.is_multiple_of(25));

    publisher.close().await.unwrap();
    let record = ingest.ended(0).await;
    assert_eq!(record.ended, Some(Ended::Closed));
    assert!(record.command_names().ends_with(&["FCUnpublish", "deleteStream"]), "{record:?}");
}

#[tokio::test]
async fn scripts_are_followed() {
    let encode = Encode::live("e");
    let refusing = Ingest::scripted(Script::new().reject_publish("NetStream.Publish.BadName")).await;
    let refused = Publisher::start(&refusing.url("key"), &encode).await;
    assert!(matches!(refused, Err(PublisherError::Session(_))), "{refused:?}");

    let closing = Ingest::scripted(Script::new().close_after_start()).await;
    let mut publisher = Publisher::start(&closing.url("key"), &encode).await.unwrap();
    assert!(publisher.ended().await.is_err());

    let resetting = Ingest::scripted(Script::new().reset_after(200)).await;
    let mut publisher = Publisher::start(&resetting.url("key"), &encode).await.unwrap();
    assert!(publisher.ended().await.is_err());
    assert_eq!(resetting.ended(0).await.ended, Some(Ended::Dropped));

    let silent = Ingest::scripted(Script::new().never_answer(Step::Publish)).await;
    let publishing = tokio::spawn({
        let (url, encode) = (silent.url("key"), encode.clone());
        async move { Publisher::start(&url, &encode).await.map(drop) }
    });
    silent.newest("publish", |record| record.command_names().contains(&"publish")).await;
    assert!(!publishing.is_finished());
    publishing.abort();
}

#[tokio::test]
async fn a_live_feed_starts_with_headers_and_a_keyframe_and_ends_as_told() {
    let (origin, encode) = (Origin::start().await, Encode::live("e"));
    for (name, feed) in [
        ("plain", Feed::of(&encode).eof_after(200)),
        ("chunked", Feed::of(&encode).eof_after(200).chunked()),
        ("dribble", Feed::of(&encode).eof_after(200).dribble()),
    ] {
        let (status, body) = body(origin.serve(name, feed).url()).await;
        assert_eq!(status, 200);
        let tags = tags(body);
        assert_eq!(
            tags[..3].iter().map(|tag| &tag.body).collect::<Vec<_>>(),
            encode.headers().iter().map(|tag| &tag.body).collect::<Vec<_>>()
        );
        assert!(tags[3].is_keyframe(), "{name}: {:?}", tags[3]);
        assert!(tags.len() > 8, "{name}: {} tags", tags.len());
    }
}

#[tokio::test]
async fn a_feed_can_be_controlled_while_it_runs() {
    let (origin, encode) = (Origin::start().await, Encode::live("e"));
    let feed = origin.serve("e", Feed::of(&encode));
    let running = tokio::spawn({
        let url = feed.url().to_owned();
        async move { body(&url).await }
    });
    feed.requested(1).await;
    feed.kill();
    let (status, _) = running.await.unwrap();
    assert_eq!(status, 200);
    feed.set_status(503);
    assert_eq!(body(feed.url()).await.0, 503);
    assert_eq!(feed.requests().len(), 2);
    assert_eq!(body(&feed.url().replace("/e.flv", "/other.flv")).await.0, 404);
}

#[tokio::test]
async fn an_ingest_that_pauses_takes_nothing_in() {
    let (encode, ingest) = (Encode::live("e").frame_bytes(200_000, 200_000), Ingest::start().await);
    let _publisher = Publisher::start(&ingest.url("key"), &encode).await.unwrap();
    ingest.published(10).await;
    ingest.pause();
    let paused = ingest.records()[0].frames().count();
    let later = encode.clock().position() + 500;
    tokio::time::sleep_until(encode.clock().at(later)).await;
    let meanwhile = ingest.records()[0].frames().count();
    // What was already read may still be counted.
    assert!(meanwhile <= paused + 3, "{paused} frames, then {meanwhile}");
    ingest.unpause();
    ingest.published(paused + 20).await;
}

#[tokio::test]
#[should_panic(expected = "it never comes")]
async fn waiting_ends_with_what_was_seen() {
    eventually("a miracle", std::time::Duration::ZERO, async || Err::<(), _>("it never comes".to_owned())).await;
}
