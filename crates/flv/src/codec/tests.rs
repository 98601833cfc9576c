use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).collect::<Vec<_>>();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn peek_video(text: &str) -> (VideoCodec, FrameType, VideoPacket, bool, usize) {
    let peek = video(&hex(text)).unwrap();
    (peek.codec, peek.frame, peek.packet, peek.enhanced, peek.payload)
}

fn peek_audio(text: &str) -> (AudioCodec, AudioPacket, bool) {
    let peek = audio(&hex(text)).unwrap();
    (peek.codec, peek.packet, peek.enhanced)
}

#[test]
fn legacy_video_bodies_are_read() {
    use FrameType::{Command, Disposable, GeneratedKey, Inter, Key};
    use VideoCodec::{Av1, Avc, H263, HevcLegacy, ScreenVideo, Vp6, Vp8, Vp9};
    let cases = [
        ("17 00 000000 0142c01e", (Avc, Key, VideoPacket::Header, false, 5)),
        ("27 00 000000 0142c01e", (Avc, Inter, VideoPacket::Header, false, 5)),
        ("17 01 000000 00000001 65", (Avc, Key, VideoPacket::Frames, false, 5)),
        ("27 01 ffffd8 00000001 41", (Avc, Inter, VideoPacket::Frames, false, 5)),
        ("37 01 000000 00000001 01", (Avc, Disposable, VideoPacket::Frames, false, 5)),
        ("47 01 000000 00000001 65", (Avc, GeneratedKey, VideoPacket::Frames, false, 5)),
        ("17 02", (Avc, Key, VideoPacket::End, false, 2)),
        ("17 02 000000", (Avc, Key, VideoPacket::End, false, 2)),
        ("57 00", (Avc, Command, VideoPacket::Command, false, 1)),
        ("17 03 000000 00", (Avc, Key, VideoPacket::Other, false, 2)),
        ("17", (Avc, Key, VideoPacket::Other, false, 1)),
        ("17 01", (Avc, Key, VideoPacket::Other, false, 2)),
        ("17 01 0000", (Avc, Key, VideoPacket::Other, false, 2)),
        ("17 01 000000", (Avc, Key, VideoPacket::Other, false, 5)),
        ("17 00 000000", (Avc, Key, VideoPacket::Other, false, 5)),
        ("1c 01 000000 00000001 26", (HevcLegacy, Key, VideoPacket::Frames, false, 5)),
        ("1c 00 000000 01", (HevcLegacy, Key, VideoPacket::Header, false, 5)),
        ("1d 00 000000 81", (Av1, Key, VideoPacket::Header, false, 5)),
        ("2e 01 000000 81", (Vp8, Inter, VideoPacket::Frames, false, 5)),
        ("2f 01 000000 81", (Vp9, Inter, VideoPacket::Frames, false, 5)),
        ("12 00", (H263, Key, VideoPacket::Frames, false, 1)),
        ("23 00", (ScreenVideo, Inter, VideoPacket::Frames, false, 1)),
        ("14 00", (Vp6, Key, VideoPacket::Frames, false, 1)),
        ("07 01 000000 01", (Avc, FrameType::Other, VideoPacket::Frames, false, 5)),
    ];
    for (body, expected) in cases {
        assert_eq!(peek_video(body), expected, "{body}");
    }
    assert_eq!(video(&[]), None);
}

#[test]
fn enhanced_video_bodies_are_read() {
    use FrameType::{Command, Disposable, GeneratedKey, Inter, Key};
    use VideoCodec::{Av1, Avc, Hevc, Vp8, Vp9, Vvc};
    let cases = [
        ("90 68766331 01", (Hevc, Key, VideoPacket::Header, true, 5)),
        ("91 68766331 000021 00", (Hevc, Key, VideoPacket::Frames, true, 8)),
        ("a3 68766331 00", (Hevc, Inter, VideoPacket::Frames, true, 5)),
        ("91 61763031 12", (Av1, Key, VideoPacket::Frames, true, 5)),
        ("95 61763031 12", (Av1, Key, VideoPacket::Header, true, 5)),
        ("a1 76703039 12", (Vp9, Inter, VideoPacket::Frames, true, 5)),
        ("b1 76703038 12", (Vp8, Disposable, VideoPacket::Frames, true, 5)),
        ("91 61766331 000000 00", (Avc, Key, VideoPacket::Frames, true, 8)),
        ("91 76766331 000000 00", (Vvc, Key, VideoPacket::Frames, true, 8)),
        ("c1 68766331 000000 00", (Hevc, GeneratedKey, VideoPacket::Frames, true, 8)),
        ("91 61616161 00", (VideoCodec::Other, Key, VideoPacket::Frames, true, 5)),
        ("92 68766331", (Hevc, Key, VideoPacket::End, true, 5)),
        ("84 68766331 02", (Hevc, FrameType::Other, VideoPacket::Metadata, true, 5)),
        ("d4 68766331 02", (Hevc, Command, VideoPacket::Metadata, true, 5)),
        ("d1 00", (VideoCodec::Other, Command, VideoPacket::Command, true, 1)),
        ("d0 01", (VideoCodec::Other, Command, VideoPacket::Command, true, 1)),
        ("98 68766331 00", (Hevc, Key, VideoPacket::Other, true, 5)),
        // ModEx: 500 ns, then a key frame.
        ("97 02 0001f4 01 68766331 000021 00", (Hevc, Key, VideoPacket::Frames, true, 13)),
        // ModEx twice.
        ("97 00 aa 07 00 bb 03 68766331 00", (Hevc, Key, VideoPacket::Frames, true, 11)),
        // Multitrack: one track, then many tracks of one codec, then many codecs.
        ("a6 03 68766331 01 00", (Hevc, Inter, VideoPacket::Multitrack, true, 6)),
        (
            "96 11 61766331 00 000008 000000 0000000165 01 000008 000000 0000000165",
            (Avc, Key, VideoPacket::Multitrack, true, 6),
        ),
        ("96 20 61766331 00 000001 00", (VideoCodec::Other, Key, VideoPacket::Multitrack, true, 2)),
        // Cut off.
        ("91", (VideoCodec::Other, Key, VideoPacket::Other, true, 1)),
        ("91 687663", (VideoCodec::Other, Key, VideoPacket::Other, true, 1)),
        ("90 68766331", (Hevc, Key, VideoPacket::Other, true, 5)),
        ("a3 68766331", (Hevc, Inter, VideoPacket::Other, true, 5)),
        ("97 02 0001", (VideoCodec::Other, Key, VideoPacket::Other, true, 2)),
    ];
    for (body, expected) in cases {
        assert_eq!(peek_video(body), expected, "{body}");
    }
}

#[test]
fn a_mod_ex_of_256_bytes_and_more_has_a_long_size() {
    let body =
        |len: u16| [&[0x97, 0xFF][..], &(len - 1).to_be_bytes(), &vec![7; usize::from(len)], b"\x03hvc1x"].concat();
    for len in [256, 300, 5000] {
        let peek = video(&body(len)).unwrap();
        assert_eq!((peek.codec, peek.packet), (VideoCodec::Hevc, VideoPacket::Frames), "{len}");
    }
    let short = [&[0x97, 0xFE][..], &[7; 255], b"\x03hvc1x"].concat();
    assert_eq!(video(&short).unwrap().codec, VideoCodec::Hevc);
}

#[test]
fn audio_bodies_are_read() {
    use AudioCodec::*;
    let cases = [
        ("af 00 1210", (Aac, AudioPacket::Header, false)),
        ("af 01 21", (Aac, AudioPacket::Frames, false)),
        ("af 00", (Aac, AudioPacket::Other, false)),
        ("af", (Aac, AudioPacket::Other, false)),
        ("2f ff", (Mp3, AudioPacket::Frames, false)),
        ("e2 ff", (Mp3, AudioPacket::Frames, false)),
        ("3e 00", (Pcm, AudioPacket::Frames, false)),
        ("1e 00", (Adpcm, AudioPacket::Frames, false)),
        ("5e 00", (Nellymoser, AudioPacket::Frames, false)),
        ("72 00", (ALaw, AudioPacket::Frames, false)),
        ("82 00", (MuLaw, AudioPacket::Frames, false)),
        ("b2 00", (Speex, AudioPacket::Frames, false)),
        ("df 00", (Opus, AudioPacket::Frames, false)),
        ("90 6d703461 1210", (Aac, AudioPacket::Header, true)),
        ("91 6d703461 21", (Aac, AudioPacket::Frames, true)),
        ("92 6d703461", (Aac, AudioPacket::End, true)),
        ("90 4f707573", (Opus, AudioPacket::Header, true)),
        ("91 664c6143 00", (Flac, AudioPacket::Frames, true)),
        ("91 61632d33 00", (Ac3, AudioPacket::Frames, true)),
        ("91 65632d33 00", (Eac3, AudioPacket::Frames, true)),
        ("91 2e6d7033 00", (Mp3, AudioPacket::Frames, true)),
        ("91 61626364 00", (Other, AudioPacket::Frames, true)),
        ("94 4f707573 01 02 00000003", (Opus, AudioPacket::Other, true)),
        ("95 01 4f707573 01 00", (Opus, AudioPacket::Other, true)),
        ("95 21 01 000001 00", (Other, AudioPacket::Other, true)),
        ("97 02 0001f4 01 4f707573 00", (Opus, AudioPacket::Frames, true)),
        // SoundFormat 9 that is not Enhanced RTMP.
        ("9f fc 01 02 03 04", (Other, AudioPacket::Frames, false)),
        ("90 fc 01 02 03 04", (Other, AudioPacket::Frames, false)),
        ("91 fc", (Other, AudioPacket::Frames, false)),
        ("97", (Other, AudioPacket::Frames, false)),
    ];
    for (body, expected) in cases {
        assert_eq!(peek_audio(body), expected, "{body}");
    }
    assert_eq!(audio(&[]), None);
}

#[test]
fn the_first_slice_tells_whether_an_avc_frame_is_referred_to() {
    let is_unreferenced = |text: &str| {
        let body = hex(text);
        video(&body).unwrap().is_unreferenced(&body)
    };
    assert!(is_unreferenced("27 01 000000 00000002 019a"));
    assert!(!is_unreferenced("27 01 000000 00000002 419a"));
    // Delimiter, SEI and parameter sets come first, and say nothing.
    assert!(is_unreferenced("27 01 000000 00000002 09f0 00000001 06 00000001 67 00000001 68 00000002 019a"));
    assert!(!is_unreferenced("27 01 000000 00000002 09f0 00000001 06 00000002 219a"));
    // A second slice changes nothing.
    assert!(!is_unreferenced("27 01 000000 00000002 419a 00000002 019a"));
    // Enhanced, with and without composition time.
    assert!(is_unreferenced("a1 61766331 000000 00000002 019a"));
    assert!(is_unreferenced("a3 61766331 00000002 019a"));
    // Lengths that lead nowhere, no slice at all, another codec.
    assert!(!is_unreferenced("27 01 000000 000000ff 019a"));
    assert!(!is_unreferenced("27 01 000000 00000000"));
    assert!(!is_unreferenced("27 01 000000 00000001 06"));
    assert!(!is_unreferenced("2c 01 000000 00000002 019a"));
    assert!(!is_unreferenced(&["27 01 000000", &"00000001 06".repeat(16), "00000002 019a"].concat()));
    assert!(is_unreferenced(&["27 01 000000", &"00000001 06".repeat(15), "00000002 019a"].concat()));
}

proptest! {
    #[test]
    fn any_body_can_be_read(body in prop::collection::vec(any::<u8>(), 1..60), first in 0x80u8..0x9F) {
        for body in [&body[..], &[&[first], &body[..]].concat()] {
            let peek = video(body).unwrap();
            prop_assert!(peek.payload <= body.len());
            prop_assert!(!peek.is_unreferenced(body) || peek.codec == VideoCodec::Avc);
            prop_assert!(audio(body).is_some());
        }
    }
}
