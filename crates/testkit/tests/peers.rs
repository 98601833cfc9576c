//! The peers of this crate against each other, without the daemon between them.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flv::{DemuxLimits, Demuxer, Tag};
use testkit::{
    Audience, DEADLINE, Encode, Ended, Feed, Ingest, Origin, Publisher, PublisherError, Received, Script, Step, Track,
    eventually, http,
};
use tokio::net::TcpStream;

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

#[derive(Debug, Default)]
struct Counted {
    started: AtomicUsize,
    frames: AtomicUsize,
    ended: Mutex<Vec<(usize, Ended)>>,
}

impl Audience for Counted {
    fn started(&self, _connection: usize) {
        self.started.fetch_add(1, Relaxed);
    }

    fn received(&self, _connection: usize, message: &Received) {
        self.frames.fetch_add(usize::from(message.id().is_some()), Relaxed);
    }

    fn ended(&self, connection: usize, how: &Ended) {
        self.ended.lock().unwrap().push((connection, how.clone()));
    }
}

#[tokio::test]
async fn an_audience_sees_what_comes_and_the_record_stays_small() {
    let (encode, seen) = (Encode::live("e"), Arc::new(Counted::default()));
    let ingest = Ingest::before(seen.clone()).await;
    let publisher = Publisher::start(&ingest.url("key"), &encode).await.unwrap();
    eventually("frames", DEADLINE, async || {
        let frames = seen.frames.load(Relaxed);
        if frames >= 60 { Ok(()) } else { Err(format!("{frames} frames")) }
    })
    .await;
    publisher.close().await.unwrap();
    assert!(ingest.ended(0).await.messages.is_empty());
    assert_eq!(seen.started.load(Relaxed), 1);
    assert_eq!(*seen.ended.lock().unwrap(), [(0, Ended::Closed)]);
}

#[tokio::test]
async fn a_publisher_that_stalls_sends_nothing_and_goes_on_when_told() {
    let (encode, ingest) = (Encode::live("e"), Ingest::start().await);
    let publisher = Publisher::start(&ingest.url("key"), &encode).await.unwrap();
    ingest.published(60).await;
    publisher.stall();
    let stalled_at = encode.clock().position();
    tokio::time::sleep_until(encode.clock().at(stalled_at + 400)).await;
    let newest = ingest.records()[0].ids(Track::Video).pop().unwrap();
    assert!(newest.position() <= stalled_at + 100, "{newest:?} came although it stalled at {stalled_at}");
    publisher.resume();
    let record = ingest.newest("what was held back", |record| {
        record.ids(Track::Video).last().is_some_and(|id| id.position() > stalled_at + 400)
    });
    testkit::judge::contiguous(&record.await);
}

#[tokio::test]
async fn an_ingest_ends_connections_and_refuses_new_ones_as_told() {
    let (encode, ingest) = (Encode::live("e"), Ingest::start().await);
    let mut publisher = Publisher::start(&ingest.url("key"), &encode).await.unwrap();
    ingest.reset();
    let reset = publisher.ended().await.unwrap_err();
    assert!(reset.to_string().to_lowercase().contains("reset"), "{reset}");
    assert_eq!(ingest.ended(0).await.ended, Some(Ended::Dropped));

    ingest.stop_listening();
    eventually("connections are refused", DEADLINE, async || {
        TcpStream::connect(ingest.address()).await.map_or(Ok(()), |_| Err("accepted".to_owned()))
    })
    .await;
    ingest.listen_again();
    eventually("connections are accepted", DEADLINE, async || {
        Publisher::start(&ingest.url("key"), &encode).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "it never comes")]
async fn waiting_ends_with_what_was_seen() {
    eventually("a miracle", std::time::Duration::ZERO, async || Err::<(), _>("it never comes".to_owned())).await;
}
