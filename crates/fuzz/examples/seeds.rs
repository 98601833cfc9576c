//! Writes the inputs that a fuzzer starts from into `corpus/`: pieces of the fixtures, sessions as they go, the examples
//! of configuration files, and what is known to break other implementations.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use flv::{
    Kind,
    amf0::{self, Props, Value},
    mux,
};
use fuzz::peer::{HANDSHAKE, Peer};

fn main() -> io::Result<()> {
    demuxer()?;
    amf0_messages()?;
    chunks()?;
    publisher()?;
    server()?;
    configurations()?;
    urls()?;
    differences()
}

fn demuxer() -> io::Result<()> {
    const BEGINNING: &[u8] = &[1, 1, 0, 40, 255];
    let write = |name: &str, stream: &[u8]| save("demuxer", name, &[BEGINNING, stream].concat());
    for (name, len) in [("demo", 6000), ("bframes", 4000), ("audio-only", 1500)] {
        let content = fs::read(root().join(format!("fixtures/{name}.flv")))?;
        save("demuxer", name, &[&[2, 0, 200, 7, 90], &content[..len]].concat())?;
    }
    let tag = |kind, timestamp, body: &[u8]| {
        let mut out = BytesMut::new();
        mux::write_tag(&mut out, kind, timestamp, body);
        out.to_vec()
    };
    let audio = |n: u32| tag(Kind::Audio, n * 23, &[0xAF, 1, n as u8, 0x55, 0x66]);
    let run: Vec<u8> = (0..6).flat_map(audio).collect();
    write(
        "edges-of-the-clock",
        &[0, 0xFF_FFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 5].map(|t| tag(Kind::Video, t, b"\x17\x01\0\0\0x")).concat(),
    )?;
    write("second-header", &[&run, &mux::file_header(true, false)[..], &run].concat())?;
    write("garbage", &[&run[..], &[0x55; 30], &run, &[9, 0, 0, 90, 0, 0, 0, 0, 0, 0, 0], &run].concat())?;
    write("empty-tags", &[&run, &tag(Kind::Audio, 1, b"")[..], &tag(Kind::Video, 1, b""), &run].concat())?;
    write("claim-of-16-mib", &[&run[..], &[9, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0], &[0; 40]].concat())?;
    write("encrypted", &[&run[..], &[0x29, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat())?;
    write("script-in-amf3", &[&[15, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 13][..], &run].concat())?;
    for (name, size) in [("ten-more", 10), ("body-only", 0), ("none", u32::MAX)] {
        let mut out = Vec::new();
        for n in 0..6_u32 {
            let body = [0xAF, 1, n as u8];
            out.extend(mux::tag_header(Kind::Audio, n * 23, 3));
            out.extend(body);
            out.extend(if size == u32::MAX { 0 } else { 3 + size }.to_be_bytes());
        }
        write(&format!("trailers-{name}"), &out)?;
    }
    // First bytes of every sort of coded video and audio.
    let bodies: [&[u8]; 12] = [
        b"\x17\0\0\0\0\x01\x64\0\x1f\xff",
        b"\x27\x01\xff\xff\xd8\0\0\0\x02\x01\x80",
        b"\x1c\x01\0\0\0x",
        b"\x90hvc1\x01",
        b"\xa3hvc1\0\0\0\x02\x02\x01",
        b"\x91av01\x12\0",
        b"\x84\x02\0\x09colorInfo\x03\0\0\x09",
        b"\x97\x02\x01\xf4\x01hvc1\0\0\x21",
        b"\xa6\x03hvc1\x01x",
        b"\x96\x11avc1\0\0\0\x08\0\0\0\0\0\0\0\x01\x65\x01\0\0\x08\0\0\0\0\0\0\0\x01\x65",
        b"\xd3\x01",
        b"\x17\x02\0\0\0",
    ];
    write("codecs-of-video", &bodies.map(|body| tag(Kind::Video, 7, body)).concat())?;
    let bodies: [&[u8]; 6] =
        [b"\xaf\0\x12\x10", b"\xaf\x01x", b"\x2fmp3", b"\x90Opus", b"\x91fLaCx", b"\x95\x01mp4a\0x"];
    write("codecs-of-audio", &bodies.map(|body| tag(Kind::Audio, 7, body)).concat())?;
    save("demuxer", "web-page", b"\x01\0\0\0\0<!DOCTYPE html><html>")?;
    save("demuxer", "playlist", b"\x01\0\0\0\0#EXTM3U\n")
}

fn amf0_messages() -> io::Result<()> {
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

fn chunks() -> io::Result<()> {
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

/// Acts of a peer behind the byte that says how far it has come.
struct Acts(Vec<u8>, Peer);

impl Acts {
    fn at(stage: u8) -> Self {
        Self(vec![stage, 0, 200, 30], Peer::default())
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        for bytes in bytes.chunks(usize::from(u16::MAX)) {
            self.0.push(1);
            self.0.extend((bytes.len() as u16).to_be_bytes());
            self.0.extend(bytes);
        }
        self
    }

    fn message(mut self, csid: u8, type_id: u8, payload: &[u8]) -> Self {
        let bytes = self.1.message(csid, type_id, 40, 1, payload);
        self.raw(&bytes)
    }

    fn command(mut self, stream_id: u32, values: &[Value]) -> Self {
        let bytes = self.1.command(stream_id, values);
        self.raw(&bytes)
    }

    fn again(mut self, times: u8) -> Self {
        self.0.extend([6, times]);
        self
    }

    fn turn(mut self, which: u8) -> Self {
        self.0.extend([7, 8, which]);
        self
    }

    fn save(self, target: &str, name: &str) -> io::Result<()> {
        save(target, name, &self.0)
    }
}

/// What breaks sessions of rml_rtmp 0.8, from either side, after `stage`.
fn hostile(target: &str, stage: u8) -> io::Result<()> {
    let at = || Acts::at(stage);
    at().message(3, 20, b"\x02\0\x0bonFCPublish").save(target, "hostile-command-of-one-value")?;
    at().message(3, 20, b"\x02\0\x07_result\0\x3f\xf0\0\0\0\0\0\0").save(target, "hostile-command-of-two-values")?;
    at().message(4, 18, b"\x02\0\x0d@setDataFrame").save(target, "hostile-data-frame-alone")?;
    at().message(4, 18, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData")
        .save(target, "hostile-data-frame-of-one-value")?;
    let mut peer = Peer::default();
    let long = peer.command(0, &[Value::str("_result"), Value::Number(1.0), Value::str(&"x".repeat(300))]);
    let ping = peer.message(2, 4, 0, 0, &[0, 6, 1, 2, 3, 4]);
    at().raw(&[&long[..140], &ping, &long[140..]].concat()).save(target, "hostile-interleaved")?;
    at().message(3, 20, &[&b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0"[..], &nested(900)].concat())
        .save(target, "hostile-nested-objects")?;
    at().message(3, 20, &[&b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0"[..], &[5; 3000]].concat())
        .save(target, "hostile-nulls")?;
    at().message(2, 1, &[0x7F, 0xFF, 0xFF, 0xFF])
        .raw(&hex("06 000000 ffffff 09 01000000 aabbccdd"))
        .save(target, "hostile-claim-of-16-mib")?;
    at().message(2, 4, &[0, 6, 1, 2, 3, 4]).again(255).again(20).save(target, "hostile-pings")?;
    at().message(2, 5, &[0, 0, 0, 1])
        .message(6, 9, &body(2000))
        .again(20)
        .save(target, "hostile-window-of-one-byte")?;
    for name in ["connect", "createStream", "publish", "_result", "onStatus"] {
        let call = [Value::str(name), Value::Number(1.0), Value::Null, Value::str("in")];
        at().command(0, &call).again(20).save(target, &format!("hostile-flood-{name}"))?;
    }
    Ok(())
}

fn publisher() -> io::Result<()> {
    let call =
        |name: &str, arguments: &[Value]| [&[Value::str(name), Value::Number(2.0), Value::Null], arguments].concat();
    Acts::at(0)
        .raw(&HANDSHAKE)
        .message(2, 1, &[0, 0, 0x10, 0])
        .command(0, &connect())
        .command(0, &call("releaseStream", &[Value::str("in")]))
        .command(0, &call("FCPublish", &[Value::str("in")]))
        .command(0, &call("createStream", &[]))
        .command(1, &call("publish", &[Value::str("in?a=b"), Value::str("live")]))
        .turn(0)
        .message(4, 18, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09")
        .message(4, 9, b"\x17\0\0\0\0avcC")
        .message(4, 8, b"\xaf\x01aac")
        .command(0, &call("FCUnpublish", &[Value::str("in")]))
        .command(0, &call("deleteStream", &[Value::Number(1.0)]))
        .save("ingest", "a-publication")?;
    let mut aggregate = BytesMut::new();
    mux::write_tag(&mut aggregate, Kind::Video, 5000, b"\x17\x01v");
    mux::write_tag(&mut aggregate, Kind::Audio, 5010, b"\xaf\x01a");
    Acts::at(4).message(4, 22, &aggregate).message(4, 22, &aggregate[..20]).save("ingest", "aggregates")?;
    Acts::at(3).turn(1).message(4, 9, b"\x17\x01").save("ingest", "rejected")?;
    Acts::at(3).message(4, 9, b"\x17\x01").save("ingest", "media-before-the-verdict")?;
    Acts::at(0).raw(b"GET / HTTP/1.1\r\n\r\n").save("ingest", "a-browser")?;
    hostile("ingest", 1)
}

fn server() -> io::Result<()> {
    let status = |level: &str, code: &str, description: &str| {
        let info = [("level", level), ("code", code), ("description", description)];
        let info = Value::Object(info.into_iter().map(|(name, text)| (name, Value::str(text))).collect());
        vec![Value::str("onStatus"), Value::Number(0.0), Value::Null, info]
    };
    let result = |transaction, value| vec![Value::str("_result"), Value::Number(transaction), Value::Null, value];
    let started = status("status", "NetStream.Publish.Start", "S3CR3TKEY is published");
    Acts::at(0)
        .raw(&HANDSHAKE)
        .message(2, 5, &[0, 0x26, 0x25, 0xA0])
        .message(2, 6, &[0, 0x26, 0x25, 0xA0, 2])
        .message(2, 1, &[0, 0, 0xEA, 0x60])
        .command(0, &result(1.0, Value::Null))
        .command(0, &[Value::str("onBWDone")])
        .command(0, &result(2.0, Value::Undefined))
        .command(0, &[Value::str("onFCPublish")])
        .command(0, &result(4.0, Value::Number(1.0)))
        .command(1, &started)
        .turn(0)
        .command(1, &status("status", "NetStream.Unpublish.Success", ""))
        .save("publish", "a-publication")?;
    Acts::at(3)
        .command(1, &status("error", "NetStream.Publish.BadName", "S3CR3TKEY?sign=S1GNATURE is taken"))
        .save("publish", "refused")?;
    Acts::at(4)
        .command(1, &status("warning", "NetStream.S3CR3 TKEY", "T0K3N\0APP S1GNATUR"))
        .again(40)
        .save("publish", "warnings")?;
    Acts::at(1).command(0, &[Value::str("_error"), Value::Number(1.0)]).save("publish", "refused-without-a-word")?;
    Acts::at(2).command(0, &result(4.0, Value::Number(f64::NAN))).save("publish", "a-stream-that-is-no-number")?;
    Acts::at(0).raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").save("publish", "a-web-server")?;
    hostile("publish", 1)
}

fn configurations() -> io::Result<()> {
    for (folder, prefix) in [("config", ""), ("fixtures/config/good", "good-"), ("fixtures/config/bad", "bad-")] {
        for entry in fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                save("config", &format!("{prefix}{name}"), &fs::read(&path)?)?;
            }
        }
    }
    let secrets = br#"[ingest]
[[relay]]
name = "r"
[[relay.input]]
name = "i"
url = "http://SECRET:SECRET@h/a.flv?SECRET"
headers = { A = "SECRET" }
[[relay.input]]
name = "p"
type = "push"
key = "live/SECRET"
[[relay.output]]
id = "1"
url = "rtmp://h/live?SECRET/SECRET?SECRET"
[[relay.output]]
id = "2"
server = "rtmp://h/live?SECRET"
key = "${KEY1}"
"#;
    save("config", "secrets", secrets)
}

fn urls() -> io::Result<()> {
    let targets = [
        "rtmp://h/live/s?txSecret=AbC&txTime=67000000",
        "rtmps://h:1935/app?vhost=v/s",
        "rtmp://[::1]:2000/a/b/s?path=/p/q&r",
        "rtmp://h/live-bvc/?streamname=l&key=0a",
        "rtmps://fa7.global-contribute.live-video.net/sk_1",
        "rtmp://u:p@h/a/k",
        "rtmp://h:0/a/k",
        "rtmp://h/a//k#x",
    ];
    for (n, url) in targets.iter().enumerate() {
        save("url", &format!("target-{n}"), &[&[0], url.as_bytes()].concat())?;
    }
    for (n, parts) in
        ["rtmp://h/gifshow/\nkwai_x?sign=a-b&ks_fix_ts&ks_ctx=b64%3D", "rtmps://h\nk", "rtmp://h/a/\n\u{ff}/"]
            .iter()
            .enumerate()
    {
        save("url", &format!("parts-{n}"), &[&[1], parts.as_bytes()].concat())?;
    }
    let media = [
        "https://h:8443/a/b.flv?sign=x%2By&flag",
        "http://us@er:pass@h?q",
        "http://h/a#fragment?x",
        "http://user:pass@h\\a",
        "HTTP://[::1]/a@b",
    ];
    for (n, url) in media.iter().enumerate() {
        save("url", &format!("media-{n}"), &[&[2], url.as_bytes()].concat())?;
    }
    Ok(())
}

fn differences() -> io::Result<()> {
    let steps: Vec<u8> = (0..30_u8).flat_map(|n| [n.wrapping_mul(37), n, n % 2, n * 8, n, n * 3, n]).collect();
    for start in 0..4 {
        save("oracle", &format!("its-chunks-{start}"), &[&[0, start], &steps[..]].concat())?;
    }
    save("oracle", "our-chunks", &[&[1, 4, 0, 2, 1], &steps[..]].concat())?;
    save("oracle", "values", &[&[2], &encode(&connect())[..]].concat())
}

fn connect() -> Vec<Value> {
    let properties = [
        ("app", Value::str("live")),
        ("type", Value::str("nonprivate")),
        ("flashVer", Value::str("FMLE/3.0")),
        ("tcUrl", Value::str("rtmp://h/live")),
        ("capabilities", Value::Number(239.0)),
        ("fourCcList", Value::StrictArray(vec![Value::str("hvc1"), Value::Null])),
    ];
    vec![Value::str("connect"), Value::Number(1.0), Value::Object(properties.into_iter().collect())]
}

fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| amf0::encode(value, &mut out));
    out.to_vec()
}

fn nested(levels: usize) -> Vec<u8> {
    b"\x03\0\x01a".repeat(levels)
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn save(target: &str, name: &str, input: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), input)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
