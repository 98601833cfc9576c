//! What the HTTP side tells, and to whom.

use flv::{Class, DemuxLimits, Demuxer, Tag};
use serde_json::Value;
use testkit::{DEADLINE, Encode, Feed, Id, Ingest, Origin, Relayd, http};

use crate::stage::{input_of, output, output_of, pull, relay, setup, start};

async fn get(relayd: &Relayd, target: &str, headers: &[(&str, &str)]) -> http::Response {
    http::request(relayd.admin(), "GET", target, headers, b"").await.unwrap()
}

#[tokio::test]
async fn the_token_opens_what_is_not_for_everybody() {
    let relayd = setup(&relay("r", &[])).token("s3cret-token").start().await;
    for open in ["/", "/healthz", "/readyz"] {
        assert_eq!(get(&relayd, open, &[]).await.status, 200, "{open}");
    }
    for closed in ["/api/v1/relays", "/api/v1/relays/r", "/live/r.flv", "/nowhere"] {
        for headers in [&[][..], &[("Authorization", "Bearer wrong")], &[("Authorization", "s3cret-token")]] {
            let response = get(&relayd, closed, headers).await;
            assert_eq!(response.status, 401, "{closed} with {headers:?}");
        }
    }
    let bearer = [("Authorization", "Bearer s3cret-token")];
    assert_eq!(get(&relayd, "/api/v1/relays/r", &bearer).await.status, 200);
    assert_eq!(get(&relayd, "/api/v1/relays/r?token=s3cret-token", &[]).await.status, 401);
    let live = http::open(relayd.admin(), "GET", "/live/r.flv?token=s3cret-token", &[], b"").await.unwrap();
    assert_eq!(live.status, 200);
    assert!(!relayd.stderr().contains("s3cret-token"), "{}", relayd.stderr());
}

#[tokio::test]
async fn other_hosts_and_other_sites_are_refused() {
    let relayd = start(&relay("r", &[])).await;
    let port = relayd.admin().port();
    for (headers, status) in [
        (vec![("Host", format!("127.0.0.1:{port}"))], 200),
        (vec![("Host", format!("localhost:{port}"))], 200),
        (vec![("Host", "evil.example.com".to_owned())], 403),
        (vec![("Origin", format!("http://127.0.0.1:{port}"))], 200),
        (vec![("Origin", "https://evil.example.com".to_owned())], 403),
        (vec![("Origin", "null".to_owned())], 403),
    ] {
        let pairs: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for path in ["/api/v1/relays", "/healthz"] {
            assert_eq!(get(&relayd, path, &pairs).await.status, status, "{path} with {pairs:?}");
        }
    }
}

#[tokio::test]
async fn the_status_has_the_shape_that_it_promises() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let url = format!("{}?sign=hidden", feed.url());
    let parts = [
        "title = \"Title\"\n".to_owned(),
        pull("primary", &url, ""),
        output("1", &ingest.url("key"), "name = \"推流1\""),
    ];
    let relayd = start(&relay("r", &parts)).await;
    ingest.published(100).await;
    let live = |status: &Value| {
        let input = &status["inputs"][0];
        output_of(status, "1")["state"] == "live" && input["gop_ms"].is_u64() && input["bitrate_bps"] != 0
    };
    let status = relayd.until("r", "the output is live", live).await;

    let relay_keys = "name title origin state selected_input active_input splices timeline_ms inputs outputs";
    assert_keys(&status, relay_keys);
    let input = input_of(&status, "primary");
    let input_keys = "name type url state aligned_with bitrate_bps tags dropped_by_cause bytes gop_ms dts_faults \
                      reconnects last_error";
    assert_keys(input, input_keys);
    assert_keys(&input["dropped_by_cause"], "empty script sequence_end unstarted oversized passed_over");
    assert_keys(&input["dts_faults"], "rollback jump repeat wrap skew interleave resync");
    let output = output_of(&status, "1");
    let output_keys = "id name origin url state tags bytes lag_ms skipped_tags reconnects last_error next_retry_ms";
    assert_keys(output, output_keys);

    assert_eq!(
        (&status["title"], &status["origin"], &status["state"]),
        (&"Title".into(), &"file".into(), &"running".into())
    );
    assert_eq!((&status["selected_input"], &status["active_input"]), (&"primary".into(), &"primary".into()));
    assert_eq!((&input["type"], &input["state"]), (&"pull".into(), &"live".into()));
    assert_eq!(input["url"], format!("{}?***", feed.url()));
    assert_eq!(input["gop_ms"], 1000);
    assert_eq!(output["url"], format!("rtmp://{}/live/***", ingest.address()));
    assert_eq!(output["name"], "推流1");
    for count in [
        &status["timeline_ms"],
        &input["tags"],
        &input["bytes"],
        &input["bitrate_bps"],
        &output["tags"],
        &output["bytes"],
    ] {
        assert!(count.as_u64() > Some(0), "{status:#}");
    }
    let all = relayd.get("/api/v1/relays").await.json();
    assert_eq!(all["relays"].as_array().map(Vec::len), Some(1));
    assert_eq!(all["relays"][0]["name"], "r");
}

#[tokio::test]
async fn whatever_is_refused_is_a_problem() {
    let relayd = start(&relay("r", &[])).await;
    for (method, path, status) in [
        ("GET", "/api/v1/relays/other", 404),
        ("GET", "/live/other.flv", 404),
        ("GET", "/live/r.xyz", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/relays/r/panic", 404),
        ("DELETE", "/api/v1/relays/r", 405),
        ("POST", "/live/r.flv", 405),
        ("GET", "/api/v1/relays/r/switch", 405),
        ("GET", "/api/v1/relays/%ff", 400),
        ("GET", "/api/v1/relays/%ff/ledger", 400),
        ("POST", "/api/v1/relays/%ff/switch", 400),
        ("GET", "/live/%ff.flv", 400),
    ] {
        let response = relayd.send(method, path, b"").await;
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(response.json()["status"], status, "{method} {path}");
        assert_eq!(response.header("allow").is_some(), status == 405, "{method} {path}");
    }
}

#[tokio::test]
async fn the_programme_can_be_watched_as_flv() {
    let (origin, encode) = (Origin::start().await, Encode::live("main").base_dts(1_000_000));
    let feed = origin.serve("main", Feed::of(&encode));
    let relayd = start(&relay("r", &[pull("primary", feed.url(), "")])).await;
    let running = |status: &Value| status["active_input"] == "primary";
    relayd.until("r", "the input feeds", running).await;

    let mut live = http::open(relayd.admin(), "GET", "/live/r.flv", &[], b"").await.unwrap();
    assert_eq!(live.status, 200);
    assert!(live.headers.contains(&("content-type".into(), "video/x-flv".into())), "{:?}", live.headers);
    let mut demuxer = Demuxer::new(DemuxLimits::default());
    let mut tags: Vec<Tag> = Vec::new();
    tokio::time::timeout(DEADLINE, async {
        while tags.len() < 100 {
            demuxer.push(live.next().await.unwrap().expect("the programme has no end"));
            while let Some(tag) = demuxer.next_tag().unwrap() {
                tags.push(tag);
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} tags within the deadline", tags.len()));

    let classes: Vec<_> = tags.iter().take(4).map(Tag::class).collect();
    assert_eq!(classes, [Class::Metadata, Class::VideoHeader, Class::AudioHeader, Class::Key]);
    assert_eq!(tags[..3].iter().map(|tag| tag.timestamp).collect::<Vec<_>>(), [tags[3].timestamp; 3]);
    let frames: Vec<_> = tags.iter().filter_map(|tag| Id::find(&tag.body).map(|id| (tag, id))).collect();
    let offset = i64::from(frames[0].0.timestamp) - frames[0].1.position() as i64;
    for (tag, id) in &frames {
        assert_eq!(encode.tag_of(id).expect("of this encode").body, tag.body);
        assert!((i64::from(tag.timestamp) - id.position() as i64 - offset).abs() <= 1, "{tag:?} {id:?}");
    }
    assert_eq!(frames.len(), tags.len() - 3);
    assert_eq!(demuxer.counters().prev_size_mismatches, 0);
}

fn assert_keys(object: &Value, keys: &str) {
    let mut there: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut promised: Vec<_> = keys.split(' ').collect();
    there.sort_unstable();
    promised.sort_unstable();
    assert_eq!(there, promised);
}
