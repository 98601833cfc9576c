//! What keys become.

use super::*;

#[test]
fn inputs_are_typed() {
    let config = load("fixtures/config/good/inputs.toml");
    let relay = &config.relays[0];
    let [pull, push, vod] = &relay.inputs[..] else { panic!("{relay:?}") };
    let InputSource::Pull(pull) = &pull.source else { panic!("{pull:?}") };
    assert_eq!(pull.url.expose(), "http://user:password@127.0.0.1:8000/a.flv?sign=x%2By&flag&b64=YQ==&p=a/b");
    assert_eq!(pull.headers[0], ("Referer".to_owned(), Secret::from("https://example.com".to_owned())));
    assert_eq!(pull.max_tag_size, 0xFF_FC00);
    assert_eq!((pull.retry.min, pull.retry.max), (Duration::from_millis(500), Duration::from_millis(500)));
    let InputSource::Push(push) = &push.source else { panic!("{push:?}") };
    assert_eq!((push.key.expose(), &push.tx_key), ("live/room/stream", &None));
    assert_eq!((push.on_duplicate, push.idle_timeout), (OnDuplicate::Reject, Duration::from_secs(10)));
    let InputSource::Vod(vod) = &vod.source else { panic!("{vod:?}") };
    assert_eq!(vod.loops, Loops::Times(0));
    assert_eq!(vod.items[0], VodItem::File(repository("fixtures/config/good/../../demo.flv")));
    assert_eq!(vod.items[1], VodItem::File("/srv/a.flv".into()));
    assert!(matches!(&vod.items[2], VodItem::Http(url) if url.expose() == "https://example.com/a.flv"));
    assert_eq!(relay.outputs[0].policy.flush, Flush::Every(Duration::from_secs(10)));
    assert_eq!(relay.outputs[0].retry.give_up_after, Some(Duration::from_secs(600)));
    assert_eq!(relay.failover.hold, Duration::ZERO);
}

#[test]
fn the_ingest_may_be_strict() {
    let config = load("fixtures/config/good/ingest.toml");
    let tls = config.ingest.as_ref().unwrap().tls.as_ref().unwrap();
    assert_eq!(tls.cert.path, repository("fixtures/config/good/../../tls/one.pem"));
    let limits = &config.limits;
    assert_eq!(
        (limits.handshake_timeout, limits.publish_timeout),
        (Duration::from_secs(3600), Duration::from_secs(3600))
    );
    assert_eq!((limits.rtmp.max_message, limits.rtmp.max_unaccepted_message), (4 << 10, 4 << 10));
    assert_eq!((limits.metadata().depth, limits.metadata().values), (1, 65_536));
    let pushes: Vec<_> = config.relays[0]
        .inputs
        .iter()
        .map(|input| match &input.source {
            InputSource::Push(push) => (push.tx_key.as_ref().unwrap().expose(), push.on_duplicate, push.replace_after),
            other => panic!("{other:?}"),
        })
        .collect();
    let after = Duration::from_secs;
    assert_eq!(
        pushes,
        [("0123456789abcdef", OnDuplicate::Replace, after(0)), ("tx-file-key", OnDuplicate::Reject, after(3)),]
    );
}

#[test]
fn targets_are_raw_bytes_from_every_place() {
    let config = load("fixtures/config/good/targets.toml");
    assert_eq!(config.admin.as_ref().unwrap().token.as_ref().unwrap().expose(), "a-token");
    let outputs = &config.relays[0].outputs;
    let keys: Vec<_> = outputs.iter().map(|output| output.target.key.as_bytes()).collect();
    assert_eq!(keys[0], b"kwai_x?sign=a-b&ks_fix_ts&ks_ctx=b64%3D");
    assert_eq!(keys[1], b"?streamname=live_1&key=0a0b&schedule=rtmp&pflag=1");
    assert_eq!(keys[3], b"file-key?x=%2F&y==");
    assert_eq!(&outputs[2].target.app[..], b"live2?backup=1");
    assert_eq!(outputs[2].bind, Some(Ipv4Addr::new(192, 0, 2, 10).into()));
    assert!(outputs[2].tls.insecure && !outputs[4].enabled);
}
