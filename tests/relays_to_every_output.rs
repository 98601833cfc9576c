//! One source, many platforms: every one of them gets the programme whole, and byte for byte.

use std::time::Duration;

use flv::Class;
use testkit::{Codec, Encode, Feed, Ingest, Origin, Record, Script, Track, judge};

use crate::stage::{input_of, output, output_of, pull, relay, start};

#[tokio::test]
async fn every_output_gets_the_whole_programme() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").base_dts(90_000));
    let feed = origin.serve("main", Feed::of(&encode));
    let ingests = [Ingest::start().await, Ingest::start().await, Ingest::start().await];
    let outputs: Vec<_> =
        ingests.iter().enumerate().map(|(n, to)| output(&n.to_string(), &to.url("key"), "")).collect();
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;

    for ingest in &ingests {
        let record = ingest.published(200).await;
        judge::clean(&record, &encode);
        assert_eq!(record.command_names(), ["connect", "releaseStream", "FCPublish", "createStream", "publish"]);
        assert_eq!((record.app.as_str(), record.key.as_str()), ("live", "key"));
        assert_eq!(record.chunk_size, 4096);
        assert!(record.messages.iter().all(|message| message.chunk_stream < 32), "{record:?}");
        let metadata = record.messages.iter().find(|message| message.class() == Class::Script).expect("onMetaData");
        assert!(metadata.body.starts_with(b"\x02\0\x0D@setDataFrame\x02\0\x0AonMetaData"), "{:?}", metadata.body);
    }
    let status = relayd.status("r").await;
    assert_eq!(status["active_input"], "primary");
    assert_eq!(status["splices"], 0);
    assert_eq!(feed.requests().len(), 1);
    assert!(ingests.iter().all(|ingest| ingest.records().len() == 1), "an output reconnected");
}

#[tokio::test]
async fn every_codec_passes_untouched() {
    let origin = Origin::start().await;
    let encodes = [
        Encode::live("hevc-legacy").codec(Codec::HevcLegacy),
        Encode::live("hevc").codec(Codec::Hevc),
        Encode::live("av1").codec(Codec::Av1),
        Encode::live("disposable").disposable(),
        Encode::live("video-only").video_only(),
        Encode::live("audio-only").audio_only(),
    ];
    let (mut config, mut ingests) = (String::new(), Vec::new());
    for encode in &encodes {
        let (feed, ingest) = (origin.serve(encode.name(), Feed::of(encode)), Ingest::start().await);
        config += &relay(encode.name(), &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")]);
        ingests.push(ingest);
    }
    let _relayd = start(&config).await;

    for (encode, ingest) in encodes.iter().zip(&ingests) {
        let record = ingest.published(80).await;
        judge::clean(&record, encode);
        let sent: Vec<_> = record.messages.iter().filter(|message| message.tag().is_sequence_header()).collect();
        let made: Vec<_> = encode.headers().into_iter().filter(flv::Tag::is_sequence_header).collect();
        assert_eq!(sent.len(), made.len(), "{}", encode.name());
        for tag in made {
            assert!(sent.iter().any(|message| message.body == tag.body), "{}: {tag:?} is missing", encode.name());
        }
    }
}

#[tokio::test]
async fn keys_and_queries_arrive_as_they_were_written() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let url = format!("{}?token=a%2Fb&x=%41", feed.url());
    let keys = ["plain", "q?auth=1-2-3&x=%20%2F+y", "hash#and;semi=colon", "z?b=2&a=1"];
    let mut ingests = Vec::new();
    let mut outputs = String::new();
    for (n, key) in keys.iter().enumerate() {
        let ingest = Ingest::start().await;
        outputs += &output(&n.to_string(), &ingest.url(key), "");
        ingests.push(ingest);
    }
    let relayd = start(&relay("r", &[pull("primary", &url, "headers = { Referer = \"https://x/\" }"), outputs])).await;

    for (ingest, key) in ingests.iter().zip(keys) {
        let record = ingest.published(1).await;
        assert_eq!(record.key, key);
        assert_eq!(record.tc_url, format!("rtmp://{}/live", ingest.address()));
    }
    let request = feed.requested(1).await;
    assert_eq!(request.target, "/main.flv?token=a%2Fb&x=%41");
    assert_eq!(request.header("referer"), Some("https://x/"));
    let status = relayd.status("r").await;
    let shown = format!("{status}{}", relayd.stderr());
    for secret in ["auth=1", "%2Fb", "b=2", "semi=colon"] {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
}

#[tokio::test]
async fn the_wrap_of_the_sources_clock_goes_unnoticed() {
    // The encode is 3 s old: the wrap comes about 1.5 s after the start.
    let bases =
        [("unsigned", 0_u32.wrapping_sub(4500)), ("signed", (1_u32 << 31) - 4500), ("extended", 0xFF_FFFF - 4500)];
    let (origin, mut config, mut stages) = (Origin::start().await, String::new(), Vec::new());
    for (name, base) in bases {
        let (encode, ingest) = (Encode::live(name).base_dts(base), Ingest::start().await);
        let feed = origin.serve(name, Feed::of(&encode));
        config += &relay(name, &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")]);
        stages.push((encode, ingest));
    }
    let relayd = start(&config).await;

    for (encode, ingest) in &stages {
        let record = ingest.published(250).await;
        judge::clean(&record, encode);
        let status = relayd.status(encode.name()).await;
        let faults = &input_of(&status, "primary")["dts_faults"];
        assert_eq!((&faults["rollback"], &faults["jump"]), (&0.into(), &0.into()), "{faults}");
    }
}

#[tokio::test]
async fn platforms_of_every_manner_are_understood() {
    let (origin, encode) = (Origin::start().await, Encode::live("main"));
    let feed = origin.serve("main", Feed::of(&encode));
    let manners = [
        ("message stream 7", Script::new().stream_id(7)),
        ("transaction 0", Script::new().zero_transaction()),
        ("errors for releaseStream", Script::new().error_to_release_stream()),
        ("undefined replies", Script::new().undefined_replies()),
        ("control messages inside replies", Script::new().interleave_control()),
        ("pings", Script::new().ping_every(100)),
        ("chunks of 2 GiB", Script::new().chunk_size(0x7FFF_FFFF)),
        ("a small window", Script::new().window(1000)),
    ];
    let (mut outputs, mut ingests) = (String::new(), Vec::new());
    for (name, script) in manners {
        let ingest = Ingest::scripted(script).await;
        outputs += &output(name, &ingest.url("key"), "");
        ingests.push((name, ingest));
    }
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs])).await;

    for (name, ingest) in &ingests {
        let record = ingest.published(120).await;
        judge::clean(&record, &encode);
        assert_eq!(ingest.records().len(), 1, "{name}: reconnected");
        match *name {
            "message stream 7" => assert!(record.messages.iter().all(|message| message.stream_id == 7), "{record:?}"),
            "pings" => assert!(ingest.newest("pongs", |record| record.pongs >= 3).await.ended.is_none()),
            "a small window" => assert!(record.acknowledged.is_some(), "no acknowledgement"),
            _ => {}
        }
    }
    let status = relayd.until("r", "all outputs live", |status| {
        status["outputs"].as_array().is_some_and(|outputs| outputs.iter().all(|output| output["state"] == "live"))
    });
    assert!(output_of(&status.await, "pings")["last_error"].is_null());
}

#[tokio::test]
async fn audio_does_not_start_before_the_first_keyframe() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main").gop(50), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode).join_mid_gop());
    let _relayd = start(&relay("r", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])).await;

    let record = ingest.published(60).await;
    judge::clean(&record, &encode);
    assert!(record.ids(Track::Video)[0].index.is_multiple_of(50), "{record:?}");
}

#[tokio::test]
async fn an_output_that_joins_late_gets_the_newest_gop_at_once() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").gop(75));
    let feed = origin.serve("main", Feed::of(&encode));
    let (early, mut late) = (Ingest::start().await, Ingest::closed());
    let outputs = [output("early", &early.url("key"), ""), output("late", &late.url("key"), "")];
    let relayd = start(&relay("r", &[pull("primary", feed.url(), ""), outputs.concat()])).await;

    // Well inside the second GOP or a later one, so that there is no doubt which one is the newest.
    let inside = |record: &Record| {
        let ids = record.ids(Track::Video);
        ids.last().is_some_and(|last| ids.len() > 75 && (10..30).contains(&(last.index % 75)))
    };
    early.newest("a place inside a GOP", inside).await;
    let status = relayd.status("r").await;
    assert_eq!(output_of(&status, "late")["last_error"]["kind"], "connect", "{status}");
    late.open().await;
    let record = late.published(120).await;
    judge::clean(&record, &encode);
    judge::in_time(&record, &encode, Duration::from_millis(700));
    let position = encode.clock().position_at(record.started.unwrap());
    assert_eq!(record.ids(Track::Video)[0].position(), position / 3000 * 3000, "not the newest GOP");
    assert_eq!(late.records().len(), 1, "the output reconnected");
}
