//! FLV streams.

use std::{fs, io};

use bytes::BytesMut;
use flv::{Kind, mux};

use crate::{root, save};

pub(crate) fn demuxer() -> io::Result<()> {
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
