//! AMF0 and chunk streams.

use std::{fs, io};

use flv::amf0::{Props, Value};
use fuzz::peer::Peer;

use crate::{body, connect, encode, hex, nested, root, save};

pub(crate) fn amf0_messages() -> io::Result<()> {
    let write = |name: &str, message: &[u8]| save("amf0", name, &[&[16, 255, 0xFF, 0xFF], message].concat());
    let demo = fs::read(root().join("fixtures/demo.flv"))?;
    let len = u32::from_be_bytes([0, demo[14], demo[15], demo[16]]) as usize;
    write("metadata", &demo[24..24 + len])?;
    write("connect", &encode(&connect()))?;
    write("one-value", b"\x02\0\x0bonFCPublish")?;
    write("nested-objects", &nested(4000))?;
    write("nested-arrays", &b"\x0a\0\0\0\x01".repeat(900))?;
    write("nulls", &[5; 4200])?;
    write("count-without-values", b"\x0a\xff\xff\xff\xff\x05")?;
    write("long-string-without-bytes", b"\x0c\xff\xff\xff\xff")?;
    write("unclosed-array", b"\x08\0\0\0\x01\0\x01a\x05\0\0")?;
    let pair = |value| [("a", value)].into_iter().collect::<Props>();
    write(
        "every-form",
        &encode(&[
            Value::str("onMetaData"),
            Value::Number(f64::NAN),
            Value::Boolean(true),
            Value::Object(pair(Value::EcmaArray(pair(Value::Null)))),
            Value::StrictArray(vec![Value::Undefined, Value::Unsupported, Value::Reference(1)]),
            Value::Date { ms: 1e12, tz: -60 },
            Value::LongString("long".into()),
            Value::Xml("<a/>".into()),
            Value::TypedObject { name: "T".into(), props: pair(Value::Boolean(false)) },
        ]),
    )
}

pub(crate) fn chunks() -> io::Result<()> {
    let write = |name: &str, stream: &[u8]| save("chunks", name, &[&[1, 3, 100, 0], stream].concat());
    write(
        "control-messages",
        &hex(
            "02 000000 000004 01 00000000 00001000 02 000000 000004 03 00000000 002625a0 02 000000 000006 04 00000000 0007 11223344",
        ),
    )?;
    write("create-stream", &hex("03 000000 000019 14 00000000 02000c63726561746553747265616d00401000000000000005"))?;
    write(
        "ids-of-two-and-three-bytes",
        &hex(
            "0000 000000 000001 14 00000000 05 00ff 000000 000001 14 00000000 05 010001 000000 000001 14 00000000 05 01ffff 000000 000001 14 00000000 05",
        ),
    )?;
    write(
        "headers-get-shorter",
        &hex("04 00000a 000001 08 01000000 aa c4 bb 84 000007 cc c4 dd 44 000001 000002 09 eeee"),
    )?;
    write("type-1-first", &hex("42 000000 000006 04 0007 11223344"))?;
    let mut peer = Peer::default();
    let extended =
        [peer.message(6, 9, 0x0100_0000, 1, &body(300)), peer.message(6, 9, 0xFFFF_FFF0, 1, &body(140))].concat();
    write("extended-timestamps", &extended)?;
    let mut left_out = hex("06 ffffff 0000c8 09 01000000 01000000");
    left_out.extend([&body(128)[..], &[0xC6], &body(72)].concat());
    write("extended-timestamp-left-out", &left_out)?;
    let long = peer.message(6, 9, 5, 1, &body(300));
    let ping = peer.message(2, 4, 0, 0, &[0, 6, 1, 2, 3, 4]);
    let (first, second, third) = (&long[..140], &long[140..269], &long[269..]);
    write("interleaved", &[first, &ping, second, &peer.message(7, 8, 6, 1, &body(9)), third].concat())?;
    write("aborted", &[first, &peer.message(2, 2, 0, 0, &[0, 0, 0, 6])[..], &long].concat())?;
    let smaller = peer.message(2, 1, 0, 0, &[0, 0, 0, 50]);
    write(
        "chunk-size-inside-a-message",
        &[first, &smaller, &[0xC6], &body(50), &[0xC6], &body(50), &[0xC6], &body(50), &[0xC6], &body(22)].concat(),
    )?;
    write("chunk-size-0", &hex("02 000000 000004 01 00000000 00000000"))?;
    write("claim-of-16-mib", &hex("02 000000 000004 01 00000000 7fffffff 06 000000 ffffff 09 01000000 aabbccdd"))?;
    // Within small limits: three messages begun at once, and too many chunk streams.
    let begun = [[3, 0, 0, 0, 0, 2, 0x50, 9, 0, 0, 0, 0], [4, 0, 0, 0, 0, 2, 0x50, 9, 0, 0, 0, 0]];
    let mut much = Vec::new();
    for round in 0..4 {
        for header in &begun {
            much.extend_from_slice(if round == 0 { header } else { &header[..0] });
            if round > 0 {
                much.push(0xC0 | header[0]);
            }
            much.extend(body(128));
        }
    }
    save("chunks", "much-unfinished", &[&[0, 60, 5, 255], &much[..]].concat())?;
    let streams: Vec<u8> = (3..9).flat_map(|csid| Peer::default().message(csid, 9, 0, 0, &[1])).collect();
    save("chunks", "many-chunk-streams", &[&[0, 2, 5, 255], &streams[..]].concat())
}

pub(crate) fn differences() -> io::Result<()> {
    let steps: Vec<u8> = (0..30_u8).flat_map(|n| [n.wrapping_mul(37), n, n % 2, n * 8, n, n * 3, n]).collect();
    for start in 0..4 {
        save("oracle", &format!("its-chunks-{start}"), &[&[0, start], &steps[..]].concat())?;
    }
    save("oracle", "our-chunks", &[&[1, 4, 0, 2, 1], &steps[..]].concat())?;
    save("oracle", "values", &[&[2], &encode(&connect())[..]].concat())
}
