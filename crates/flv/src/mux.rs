//! The framing that [`Demuxer`](crate::Demuxer) reads, written.

use bytes::{BufMut, BytesMut};

use crate::Kind;

/// The largest body that a tag can hold, in bytes: DataSize has 24 bits.
pub const MAX_BODY: u32 = 0xFF_FFFF;

/// The file header with PreviousTagSize0 (FLV spec v10.1, E.2 and E.3). The flags announce tracks; players may wait for
/// every track that is announced.
pub fn file_header(audio: bool, video: bool) -> [u8; 13] {
    let flags = u8::from(audio) << 2 | u8::from(video);
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// The header before a body of `len` bytes, at most [`MAX_BODY`], with a timestamp in ms (FLV spec v10.1, E.4.1).
pub fn tag_header(kind: Kind, timestamp: u32, len: u32) -> [u8; 11] {
    debug_assert!(len <= MAX_BODY, "a body of {len} bytes does not fit a tag");
    let [_, size @ ..] = len.to_be_bytes();
    let [high, low @ ..] = timestamp.to_be_bytes();
    [kind.type_id(), size[0], size[1], size[2], low[0], low[1], low[2], high, 0, 0, 0]
}

/// The PreviousTagSize after a body of `len` bytes, at most [`MAX_BODY`] (FLV spec v10.1, E.3).
pub fn trailer(len: u32) -> [u8; 4] {
    debug_assert!(len <= MAX_BODY, "a body of {len} bytes does not fit a tag");
    len.wrapping_add(11).to_be_bytes()
}

/// Appends a whole tag with its PreviousTagSize; `body` is at most [`MAX_BODY`] bytes long.
pub fn write_tag(out: &mut BytesMut, kind: Kind, timestamp: u32, body: &[u8]) {
    let len = body.len() as u32;
    out.reserve(15 + body.len());
    out.put_slice(&tag_header(kind, timestamp, len));
    out.put_slice(body);
    out.put_slice(&trailer(len));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_puts_the_high_timestamp_byte_last() {
        let mut out = BytesMut::new();
        write_tag(&mut out, Kind::Video, 0x0102_0304, b"hello");
        assert_eq!(out[..], *b"\x09\0\0\x05\x02\x03\x04\x01\0\0\0hello\0\0\0\x10");
    }

    #[test]
    fn the_file_header_announces_the_tracks() {
        assert_eq!(file_header(true, true), *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert_eq!(file_header(true, false)[4], 4);
        assert_eq!(file_header(false, true)[4], 1);
    }
}
