//! Servers that mean harm, or speak something else.

use proptest::prelude::*;

use super::*;
use crate::HandshakeError;

#[test]
fn hostile_servers_are_refused() {
    // Objects nested 15,000 deep.
    let bomb: Vec<u8> = b"\x03\0\x01a".repeat(15_000);
    let mut server = Server::new();
    let mut chunk = BytesMut::from(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF][..]);
    let payload = [&b"\x02\0\x07_result\0\x3f\xf0\0\0\0\0\0\0"[..], &bomb].concat();
    chunk.put_u32(0x0300_0000);
    chunk.put_uint(payload.len() as u64, 3);
    chunk.put_slice(&[20, 0, 0, 0, 0]);
    chunk.put_slice(&payload);
    let err = server.say_raw(&chunk).unwrap_err();
    assert!(matches!(err, PublishError::Amf(_)), "{err}");
    assert_eq!(err.kind(), "protocol");

    let err = Server::new().say_raw(&[4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 20, 0, 0, 0, 0]).unwrap_err();
    assert!(matches!(err, PublishError::Chunk(_)), "{err}");

    let err = session_to("rtmp://h/a/k").handle_input(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
    assert_eq!(err, PublishError::Handshake(HandshakeError::Version));
    assert_eq!(err.kind(), "handshake");
}

#[test]
fn a_server_that_pings_without_end_is_given_up() {
    let mut server = Server::live();
    let ping = [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4];
    assert_eq!(server.say_raw(&ping.repeat(100_000)), Err(PublishError::Flooded));
    assert!(server.session.take_output().unwrap().len() <= (64 << 10) + ping.len());
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
