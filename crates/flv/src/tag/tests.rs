use super::*;

fn class(kind: Kind, body: &[u8]) -> Class {
    Tag { kind, timestamp: 0, body: Bytes::copy_from_slice(body) }.class()
}

#[test]
fn video_tags_are_sorted() {
    let cases: [(&[u8], Class); 18] = [
        (b"", Class::Empty),
        (b"\x17\0\0\0\0\x01\x42", Class::VideoHeader),
        (b"\x27\0\0\0\0\x01\x42", Class::VideoHeader),
        (b"\x90hvc1\x01", Class::VideoHeader),
        (b"\x17\x01\0\0\0\0\0\0\x01\x65", Class::Key),
        (b"\x47\x01\0\0\0\0\0\0\x01\x65", Class::Key),
        (b"\x1C\x01\0\0\0\0\0\0\x01\x26", Class::Key),
        (b"\x91av01\x12\0", Class::Key),
        (b"\x27\x01\0\0\0\0\0\0\x01\x41", Class::Inter),
        (b"\xA3hvc1\0\0\0\x01\x02", Class::Inter),
        (b"\x27\x01\0\0\0\0\0\0\x01\x01", Class::Disposable),
        (b"\x37\x01\0\0\0\0\0\0\x01\x41", Class::Disposable),
        (b"\xB1av01\x12\0", Class::Disposable),
        (b"\x17\x02\0\0\0", Class::VideoEnd),
        (b"\x92hvc1", Class::VideoEnd),
        (b"\x84hvc1\x02", Class::VideoOther),
        (b"\x57\0", Class::VideoOther),
        (b"\x96\x01hvc1\x01\0\0\0\0\0\0\x01\x26", Class::VideoOther),
    ];
    for (body, expected) in cases {
        assert_eq!(class(Kind::Video, body), expected, "{body:02x?}");
    }
}

#[test]
fn audio_and_script_tags_are_sorted() {
    assert_eq!(class(Kind::Audio, b""), Class::Empty);
    assert_eq!(class(Kind::Audio, b"\xAF\0\x12\x10"), Class::AudioHeader);
    assert_eq!(class(Kind::Audio, b"\x90Opus"), Class::AudioHeader);
    assert_eq!(class(Kind::Audio, b"\xAF\x01\x21"), Class::Audio);
    assert_eq!(class(Kind::Audio, b"\x2F"), Class::Audio);
    assert_eq!(class(Kind::Script, b"\x02\0\x0AonMetaData\x05"), Class::Metadata);
    assert_eq!(class(Kind::Script, b"\x02\0\x0AonTextData\x05"), Class::Script);
    assert_eq!(class(Kind::Script, b"\x02\0\xFFonMetaData"), Class::Script);
    assert_eq!(class(Kind::Script, b"\x02"), Class::Script);
}

#[test]
fn shortcuts_follow_the_class() {
    let tag = |kind, body: &'static [u8]| Tag { kind, timestamp: 0, body: Bytes::from_static(body) };
    assert!(tag(Kind::Video, b"\x17\x01\0\0\0\0\0\0\x01\x65").is_keyframe());
    assert!(!tag(Kind::Video, b"\x17\0\0\0\0\x01").is_keyframe());
    assert!(tag(Kind::Video, b"\x17\0\0\0\0\x01").is_sequence_header());
    assert!(tag(Kind::Audio, b"\xAF\0\x12\x10").is_sequence_header());
    assert!(!tag(Kind::Audio, b"\xAF\x01\x12\x10").is_sequence_header());
}

#[test]
fn debug_output_leaves_the_body_out() {
    let tag = Tag { kind: Kind::Audio, timestamp: 7, body: Bytes::from_static(b"secret") };
    assert_eq!(format!("{tag:?}"), "Tag(Audio, 7 ms, 6 bytes)");
}
