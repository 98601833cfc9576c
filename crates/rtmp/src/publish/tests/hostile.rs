//! Servers that mean harm, or speak something else. What breaks rml_rtmp 0.8 has a test by the same name on the other
//! side, in `ingest::tests::hostile`.

use proptest::prelude::*;

use super::*;
use crate::{
    HandshakeError,
    chunk::{self, ErrorKind},
};

/// One message in chunks of any size, behind the SetChunkSize that announces them.
fn in_one_chunk(type_id: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF][..]);
    out.put_u32(0x0300_0000);
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(&[type_id, 0, 0, 0, 0]);
    out.put_slice(payload);
    out.to_vec()
}

/// The name and the transaction of an answer to connect, and what follows them.
fn answer(rest: &[u8]) -> Vec<u8> {
    [&b"\x02\0\x07_result\0\x3f\xf0\0\0\0\0\0\0"[..], rest].concat()
}

/// Whatever came before, the stream is still published.
fn goes_on(mut server: Server) {
    server.say_all(&[accepted(), stream(4.0, 1.0), started()]).unwrap();
    assert_eq!(server.session.next_event(), Some(PublishEvent::Started { stream_id: 1 }));
}

#[test]
fn a_command_of_fewer_than_three_values() {
    let mut server = Server::new();
    for name in ["onFCPublish", "_checkbw", "_result", "onStatus", "onBWDone", "close"] {
        server.say(&[Value::str(name)]).unwrap();
        server.say(&[Value::str(name), Value::Number(9.0)]).unwrap();
    }
    server.say_raw(&in_one_chunk(20, b"")).unwrap();
    server.say_raw(&in_one_chunk(20, b"\x05")).unwrap();
    while server.session.next_event().is_some() {}
    server.said = Outbound::new();
    goes_on(server);
}

#[test]
fn a_data_frame_without_arguments() {
    let mut server = Server::new();
    server.say_raw(&in_one_chunk(18, b"\x02\0\x0d@setDataFrame")).unwrap();
    server.say_raw(&in_one_chunk(18, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData")).unwrap();
    server.say(&[Value::str("@setDataFrame")]).unwrap();
    goes_on(server);
}

#[test]
fn a_message_between_the_chunks_of_another() {
    let mut payload = BytesMut::new();
    let long = reply("_result", 1.0, &[Value::str(&"x".repeat(9000))]);
    long.iter().for_each(|value| amf0::encode(value, &mut payload));
    let mut chunks = BytesMut::from(&[3, 0, 0, 0][..]);
    chunks.put_uint(payload.len() as u64, 3);
    chunks.put_slice(&[20, 0, 0, 0, 0]);
    for (n, piece) in payload.chunks(4096).enumerate() {
        if n > 0 {
            // A ping and a command on a chunk stream of its own.
            chunks.put_slice(&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]);
            chunks.put_slice(b"\x05\0\0\0\0\0\x0e\x14\0\0\0\0\x02\0\x0bonFCPublish");
            chunks.put_u8(0xC3);
        }
        chunks.put_slice(piece);
    }
    for piece in [1, 1000, usize::MAX] {
        let mut server = Server { piece, ..Server::new() };
        server.say_raw(&chunks).unwrap();
        assert_eq!(server.session.step(), Step::CreateStream);
        let output = server.session.take_output().unwrap();
        let pong = [0, 7, 1, 2, 3, 4];
        assert_eq!(output.windows(6).filter(|window| *window == pong).count(), 2, "both pings are answered");
    }
}

#[test]
fn objects_nested_thousands_deep() {
    for levels in [9, 4000, 15_000] {
        let err = Server::new().say_raw(&in_one_chunk(20, &answer(&b"\x03\0\x01a".repeat(levels)))).unwrap_err();
        assert!(matches!(err, PublishError::Amf(flv::Error { kind: flv::ErrorKind::AmfTooDeep(8), .. })), "{err}");
        assert_eq!(err.kind(), "protocol");
    }
}

#[test]
fn a_command_of_sixteen_megabytes_of_nulls() {
    let err = Server::new().say_raw(&in_one_chunk(20, &answer(&vec![5; 16_000_000]))).unwrap_err();
    assert!(matches!(err, PublishError::Chunk(chunk::Error { kind: ErrorKind::MessageTooLarge { .. }, .. })), "{err}");
    let err = Server::new().say_raw(&in_one_chunk(20, &answer(&[5; 60_000]))).unwrap_err();
    assert!(matches!(err, PublishError::Amf(flv::Error { kind: flv::ErrorKind::AmfTooMany(256), .. })), "{err}");
}

#[test]
fn a_message_of_sixteen_megabytes_in_one_chunk() {
    // Refused by its header, whatever its type: none of it is held.
    for type_id in [4, 8, 9, 18, 20, 22, 99] {
        let header = &in_one_chunk(type_id, &[0; 0xFF_FFFF])[..28];
        for mut server in [Server::new(), Server::live()] {
            let err = server.say_raw(header).unwrap_err();
            let kind = ErrorKind::MessageTooLarge { len: 0xFF_FFFF, max: 64 << 10 };
            assert!(matches!(err, PublishError::Chunk(chunk::Error { kind: seen, .. }) if seen == kind), "{err}");
        }
    }
}

#[test]
fn floods_of_calls() {
    // Asked for nothing, the client says nothing and keeps nothing.
    let mut server = Server::live();
    for name in ["connect", "createStream", "publish", "_result", "onBWDone"] {
        for n in 0..5000 {
            server.say(&reply(name, f64::from(n), &[Value::Null, Value::str("stream")])).unwrap();
        }
    }
    assert_eq!((server.session.next_event(), server.session.take_output()), (None, None));

    let ping = [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4];
    assert_eq!(server.say_raw(&ping.repeat(100_000)), Err(PublishError::Flooded));
    assert!(server.session.take_output().unwrap().len() <= (64 << 10) + ping.len());
}

#[test]
fn acknowledgements_do_not_pile_up() {
    let mut server = Server { piece: 1, ..Server::live() };
    server.said.window(1);
    server.say_raw(&in_one_chunk(9, &[0; 60_000])).unwrap();
    assert!(server.session.take_output().unwrap().len() <= (32 << 10) + 16);
    server.say_raw(&[0xC3, 0]).unwrap();
    assert!(server.session.take_output().is_some(), "the next one says it all");
}

#[test]
fn other_protocols_are_no_servers() {
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x16", b"SSH-2.0-OpenSSH"] {
        let err = session_to("rtmp://h/a/k").handle_input(greeting).unwrap_err();
        assert_eq!(err, PublishError::Handshake(HandshakeError::Version));
        assert_eq!(err.kind(), "handshake");
    }
}

#[test]
fn an_error_is_final() {
    let mut server = Server::live();
    let err = server.say_raw(&[4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 20, 0, 0, 0, 0]).unwrap_err();
    server.session.take_output();
    for bytes in [&[0; 4000][..], &[0xC4; 100], &in_one_chunk(4, &[0, 6, 1, 2, 3, 4])] {
        assert_eq!(server.session.handle_input(bytes), Err(err.clone()));
    }
    assert_eq!((server.session.next_event(), server.session.take_output()), (None, None));
}

proptest! {
    #[test]
    fn no_bytes_break_a_session(bytes in proptest::collection::vec(any::<u8>(), 0..2000), is_live: bool) {
        let mut server = if is_live { Server::live() } else { Server::new() };
        // Refused or taken, it comes back.
        let _ = server.say_raw(&bytes);
        prop_assert!(server.session.take_output().unwrap_or_default().len() < 100_000);
    }
}
