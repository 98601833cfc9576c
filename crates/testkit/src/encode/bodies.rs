//! Tag bodies: what the codecs put first, then the id, then bytes that only this tag has.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::{BufMut, Bytes, BytesMut};
use flv::amf0::{self, Props, Value};

use super::{Codec, Id};

/// onMetaData as an ECMA array.
pub(super) fn metadata(video: bool, audio: bool) -> Bytes {
    let mut props = Props::new();
    if video {
        props.push("width", Value::Number(640.0));
        props.push("height", Value::Number(360.0));
        props.push("framerate", Value::Number(25.0));
        props.push("videocodecid", Value::Number(7.0));
    }
    if audio {
        props.push("audiosamplerate", Value::Number(48_000.0));
        props.push("stereo", Value::Boolean(true));
        props.push("audiocodecid", Value::Number(10.0));
    }
    props.push("encoder", Value::str("testkit"));
    let mut out = BytesMut::new();
    amf0::encode(&Value::str("onMetaData"), &mut out);
    amf0::encode(&Value::EcmaArray(props), &mut out);
    out.freeze()
}

/// The decoder configuration; `variant` changes a byte of it.
pub(super) fn video_header(codec: Codec, variant: u8) -> Bytes {
    let mut out = BytesMut::new();
    match codec {
        Codec::Avc => {
            out.put_slice(&[0x17, 0, 0, 0, 0]);
            // AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) with one SPS and one PPS.
            out.put_slice(&[1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 6, 0x67, 0x42, 0xC0, 0x1E, 0xD9, variant]);
            out.put_slice(&[1, 0, 4, 0x68, 0xCB, 0x83, 0xCB]);
        }
        Codec::HevcLegacy => {
            out.put_slice(&[0x1C, 0, 0, 0, 0]);
            out.put_slice(&hevc_configuration(variant));
        }
        Codec::Hevc => {
            out.put_slice(b"\x90hvc1");
            out.put_slice(&hevc_configuration(variant));
        }
        Codec::Av1 => out.put_slice(&[0x90, b'a', b'v', b'0', b'1', 0x81, 0x04, 0x0C, variant]),
    }
    out.freeze()
}

/// The AudioSpecificConfig of AAC-LC, 48 kHz, stereo.
pub(super) fn audio_header() -> Bytes {
    Bytes::from_static(&[0xAF, 0, 0x11, 0x90])
}

/// A coded frame of about `size` bytes.
pub(super) fn video(codec: Codec, key: bool, disposable: bool, id: &Id, size: usize) -> Bytes {
    let mut out = BytesMut::new();
    let text = id.text();
    let rest = size.max(text.len()).saturating_sub(text.len());
    match codec {
        Codec::Avc => {
            let nal = match (key, disposable) {
                (true, _) => 0x65,
                (false, false) => 0x41,
                (false, true) => 0x01,
            };
            out.put_slice(&[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
            out.put_u32((1 + text.len() + rest) as u32);
            out.put_u8(nal);
        }
        Codec::HevcLegacy => {
            out.put_slice(&[if key { 0x1C } else { 0x2C }, 1, 0, 0, 0]);
            put_hevc_nal(&mut out, key, text.len() + rest);
        }
        Codec::Hevc => {
            // CodedFrames with a composition time for keyframes, CodedFramesX without one for the others.
            out.put_slice(if key { b"\x91hvc1\0\0\0" } else { b"\xA3hvc1" });
            put_hevc_nal(&mut out, key, text.len() + rest);
        }
        Codec::Av1 => out.put_slice(if key { b"\x91av01" } else { b"\xA1av01" }),
    }
    out.put_slice(text.as_bytes());
    put_filler(&mut out, id, rest);
    out.freeze()
}

/// A raw AAC frame.
pub(super) fn audio(id: &Id) -> Bytes {
    let mut out = BytesMut::from(&[0xAF, 1][..]);
    out.put_slice(id.text().as_bytes());
    put_filler(&mut out, id, 60 + (id.index % 40) as usize);
    out.freeze()
}

fn hevc_configuration(variant: u8) -> [u8; 23] {
    let mut record = [0; 23];
    record[0] = 1;
    record[12] = variant;
    record[21] = 0x0F;
    record
}

fn put_hevc_nal(out: &mut BytesMut, key: bool, payload: usize) {
    out.put_u32((2 + payload) as u32);
    // IDR_W_RADL is NAL type 19, TRAIL_R is 1 (H.265, 7.4.2.2).
    out.put_slice(&[if key { 19 << 1 } else { 1 << 1 }, 1]);
}

fn put_filler(out: &mut BytesMut, id: &Id, len: usize) {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let mut random = fastrand::Rng::with_seed(hasher.finish());
    let start = out.len();
    out.resize(start + len, 0);
    random.fill(&mut out[start..]);
}
