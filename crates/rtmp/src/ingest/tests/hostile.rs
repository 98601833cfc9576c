//! Publishers that mean harm, or speak something else. What breaks rml_rtmp 0.8 has a test by the same name on the other
//! side, in `publish::tests::hostile`.

use super::*;

/// One message in chunks of any size, behind the SetChunkSize that announces them.
fn in_one_chunk(type_id: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF][..]);
    out.put_u32(0x0300_0000);
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(&[type_id, 1, 0, 0, 0]);
    out.put_slice(payload);
    out.to_vec()
}

/// The name and the transaction of a connect, and what follows them.
fn connect(rest: &[u8]) -> Vec<u8> {
    [&b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0"[..], rest].concat()
}

fn is_too_large(err: &IngestError) -> bool {
    matches!(err, IngestError::Chunk(chunk::Error { kind: ErrorKind::MessageTooLarge { .. }, .. }))
}

/// Whatever came before, what the publisher sends becomes tags.
fn goes_on(mut peer: Peer) {
    peer.send(9, 40, b"\x17\x01video").unwrap();
    let tag = peer.tags().pop().unwrap();
    assert_eq!((tag.kind, tag.timestamp, &tag.body[..]), (Kind::Video, 40, &b"\x17\x01video"[..]));
}

#[test]
fn a_command_of_fewer_than_three_values() {
    for name in ["onFCPublish", "releaseStream", "FCPublish", "_checkbw", "_result", "getStreamLength", "@setDataFrame"]
    {
        for mut peer in [Peer::new(), Peer::connected(), Peer::waiting(), Peer::live()] {
            peer.say(0, &[Value::str(name)]).unwrap();
            peer.say(0, &[Value::str(name), Value::Number(9.0)]).unwrap();
            peer.send(20, 0, b"").unwrap();
            peer.send(20, 0, b"\x05").unwrap();
        }
    }
    let mut peer = Peer::new();
    peer.say(0, &[Value::str("connect")]).unwrap();
    peer.say(0, &[Value::str("createStream")]).unwrap();
    assert_eq!(peer.say(1, &[Value::str("publish")]), Err(IngestError::NoStreamName));
    let mut peer = Peer::live();
    peer.say(0, &[Value::str("onFCPublish")]).unwrap();
    goes_on(peer);
}

#[test]
fn a_data_frame_without_arguments() {
    let mut peer = Peer::live();
    peer.send(18, 1, b"\x02\0\x0d@setDataFrame").unwrap();
    peer.send(18, 2, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData").unwrap();
    peer.send(15, 3, b"\0\x02\0\x0d@setDataFrame").unwrap();
    assert_eq!(peer.tags(), [script(1, b""), script(2, b"\x02\0\x0aonMetaData"), script(3, b"")]);
    goes_on(peer);
}

#[test]
fn a_message_between_the_chunks_of_another() {
    let body = |n: usize| (0..n).map(|at| (at * 7 + at / 251) as u8).collect::<Vec<_>>();
    let (video, audio) = (body(9000), body(5000));
    let mut chunks = BytesMut::from(&[6, 0, 0, 40, 0, 0x23, 0x28, 9, 1, 0, 0, 0][..]);
    chunks.put_slice(&video[..4096]);
    chunks.put_slice(&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]);
    chunks.put_slice(&[5, 0, 0, 43, 0, 0x13, 0x88, 8, 1, 0, 0, 0]);
    chunks.put_slice(&audio[..4096]);
    chunks.put_u8(0xC6);
    chunks.put_slice(&video[4096..8192]);
    chunks.put_u8(0xC5);
    chunks.put_slice(&audio[4096..]);
    chunks.put_slice(b"\x03\0\0\0\0\0\x0e\x14\0\0\0\0\x02\0\x0bonFCPublish");
    chunks.put_u8(0xC6);
    chunks.put_slice(&video[8192..]);
    for piece in [1, 1000, usize::MAX] {
        let mut peer = Peer::live();
        // Announces chunks of 4096 bytes.
        peer.say_raw(&[]).unwrap();
        chunks.chunks(piece.min(chunks.len())).for_each(|piece| peer.say_raw(piece).unwrap());
        let tags: Vec<_> = peer.tags().into_iter().map(|tag| (tag.kind, tag.timestamp, tag.body)).collect();
        let want = [(Kind::Audio, 43, audio.clone().into()), (Kind::Video, 40, video.clone().into())];
        assert_eq!(tags, want, "in pieces of {piece}");
        assert_eq!(peer.heard(), [(4, 0, Bytes::from_static(&[0, 7, 1, 2, 3, 4]))], "the ping is answered");
    }
}

#[test]
fn objects_nested_thousands_deep() {
    for levels in [17, 4000, 15_000] {
        for mut peer in [Peer::new(), Peer::live()] {
            let err = peer.say_raw(&in_one_chunk(20, &connect(&b"\x03\0\x01a".repeat(levels)))).unwrap_err();
            assert!(matches!(err, IngestError::Amf(flv::Error { kind: flv::ErrorKind::AmfTooDeep(16), .. })), "{err}");
        }
    }
    // In script data they are no command, and are not looked into.
    let mut peer = Peer::live();
    let metadata = [&b"\x02\0\x0aonMetaData"[..], &b"\x03\0\x01a".repeat(4000)].concat();
    peer.say_raw(&in_one_chunk(18, &metadata)).unwrap();
    assert_eq!(peer.tags(), [script(0, &metadata)]);
}

#[test]
fn a_command_of_sixteen_megabytes_of_nulls() {
    let err = Peer::new().say_raw(&in_one_chunk(20, &connect(&vec![5; 16_000_000]))).unwrap_err();
    assert!(is_too_large(&err), "{err}");
    for (mut peer, len) in [(Peer::new(), 60_000), (Peer::live(), 8_000_000)] {
        let err = peer.say_raw(&in_one_chunk(20, &connect(&vec![5; len]))).unwrap_err();
        assert!(matches!(err, IngestError::Amf(flv::Error { kind: flv::ErrorKind::AmfTooMany(1024), .. })), "{err}");
    }
}

#[test]
fn a_message_of_sixteen_megabytes_in_one_chunk() {
    // Refused by its header, whatever its type: none of it is held.
    for type_id in [4, 8, 9, 18, 20, 22, 99] {
        let header = &in_one_chunk(type_id, &[0; 0xFF_FFFF])[..28];
        for mut peer in [Peer::new(), Peer::waiting(), Peer::live()] {
            let err = peer.say_raw(header).unwrap_err();
            assert!(is_too_large(&err), "{err}");
        }
    }
}

#[test]
fn floods_of_calls() {
    let create = call("createStream", 4.0, &[Value::Null]);
    let mut peer = Peer::connected();
    assert_eq!((0..5000).try_for_each(|_| peer.say(0, &create)), Err(IngestError::TooManyStreams(8)));
    let app = object([("app", Value::str("live"))]);
    let mut peer = Peer::new();
    let connects = (0..5000).try_for_each(|_| peer.say(0, &call("connect", 1.0, std::slice::from_ref(&app))));
    assert_eq!(connects, Err(IngestError::OutOfTurn { command: "connect" }));
    let mut peer = Peer::connected();
    let publishes = (0..5000).try_for_each(|_| peer.say(1, &call("publish", 5.0, &[Value::Null, Value::str("in")])));
    assert_eq!(publishes, Err(IngestError::OutOfTurn { command: "publish" }));

    // Answered as long as the answers are taken, and not for longer.
    for (name, arguments) in [("_checkbw", &[][..]), ("releaseStream", &[Value::Null]), ("FCPublish", &[Value::Null])] {
        let mut peer = Peer::connected();
        for _ in 0..5000 {
            peer.say(0, &call(name, 1.0, arguments)).unwrap();
            assert_eq!(peer.heard_commands().len(), 1, "{name}");
        }
        let flood = (0..10_000).try_for_each(|_| peer.say(0, &call(name, 1.0, arguments)));
        assert_eq!(flood, Err(IngestError::Flooded), "{name}");
        assert!(peer.session.take_output().unwrap().len() <= (64 << 10) + 4096, "{name}");
    }
}

#[test]
fn acknowledgements_do_not_pile_up() {
    let mut peer = Peer::live();
    peer.said.window(1);
    peer.said.raw(&in_one_chunk(9, &[0; 200_000]));
    let said = peer.said.take().unwrap();
    said.chunks(1).for_each(|byte| peer.session.handle_input(byte).unwrap());
    assert!(peer.session.take_output().unwrap().len() <= (32 << 10) + 16);
    peer.session.handle_input(&[0xC3]).unwrap();
    assert!(peer.session.take_output().is_some(), "the next one says it all");
}

#[test]
fn other_protocols_are_no_publishers() {
    for greeting in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-OpenSSH"]
    {
        let err = Ingest::new(IngestLimits::default()).handle_input(greeting).unwrap_err();
        assert_eq!(err, IngestError::Handshake(HandshakeError::Version));
    }
}

#[test]
fn an_error_is_final() {
    let mut peer = Peer::waiting();
    let err = peer.send(9, 0, b"\x17\x01").unwrap_err();
    peer.session.take_output();
    peer.session.accept();
    for bytes in [&[0; 4000][..], &[0xC4; 100], &in_one_chunk(9, b"\x17\x01")] {
        assert_eq!(peer.session.handle_input(bytes), Err(err.clone()));
    }
    assert_eq!((peer.session.next_event(), peer.session.take_output()), (None, None));
    assert!(!peer.session.is_unpublished());
}
