//! The stream that every party relays: AVC and AAC tags of a steady rate, and the stamp that each tag carries.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use flv::{
    Class, DemuxLimits, Demuxer, Kind, Tag,
    amf0::{self, Props, Value},
};

/// How much of it there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Payload of the video tags.
    pub(crate) video_kbps: u32,
    /// Frames per second.
    pub(crate) fps: u32,
}

impl Rate {
    /// Payload of all tags, in kbit/s.
    pub(crate) fn total_kbps(self) -> f64 {
        f64::from(self.video_kbps) + AUDIO_TAG as f64 * AUDIO_PER_SECOND * 8.0 / 1000.0
    }

    /// Tags of both tracks in a second.
    pub(crate) fn tags_per_second(self) -> f64 {
        f64::from(self.fps) + AUDIO_PER_SECOND
    }
}

/// A track that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Video,
    Audio,
}

impl Track {
    pub(crate) const ALL: [Self; 2] = [Self::Video, Self::Audio];

    fn kind(self) -> Kind {
        match self {
            Self::Video => Kind::Video,
            Self::Audio => Kind::Audio,
        }
    }
}

/// What a tag says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was written to the relay's socket, in µs.
    pub(crate) micros: u64,
    /// Its number on its track.
    pub(crate) number: u64,
}

impl Stamp {
    /// Reads the stamp of a message by its first bytes; None if it is no tag of this stream.
    pub(crate) fn read(type_id: u8, head: &[u8]) -> Option<(Track, Self)> {
        let (track, at) = match type_id {
            9 => (Track::Video, VIDEO_STAMP),
            8 => (Track::Audio, AUDIO_STAMP),
            _ => return None,
        };
        let stamp = head.get(at..at + STAMP_LEN)?.strip_prefix(MAGIC)?;
        let (micros, number) = stamp.split_at(NUMBER_LEN);
        Some((track, Self { micros: get(micros), number: get(number) }))
    }

    fn write(self, track: Track, body: &mut [u8]) {
        let at = match track {
            Track::Video => VIDEO_STAMP,
            Track::Audio => AUDIO_STAMP,
        };
        let (magic, rest) = body[at..at + STAMP_LEN].split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        let (micros, number) = rest.split_at_mut(NUMBER_LEN);
        put(self.micros, micros);
        put(self.number, number);
    }
}

/// A tag that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// When, from the beginning of the stream; its timestamp as well.
    pub(crate) at: Duration,
    pub(crate) track: Track,
    /// Its number on its track.
    pub(crate) number: u64,
    pub(crate) is_key: bool,
}

/// The bodies of a stream, and when they are due.
#[derive(Debug)]
pub(crate) struct Stream {
    fps: u32,
    headers: Vec<Tag>,
    key: BytesMut,
    inter: BytesMut,
    audio: BytesMut,
}

impl Stream {
    /// Takes frames from the demo's clip and pads them, so that every relay finds a stream that can be decoded.
    pub(crate) fn new(rate: Rate) -> Result<Self> {
        let clip = Clip::read()?;
        // A keyframe weighs as much as KEY_WEIGHT other frames.
        let per_gop = f64::from(rate.video_kbps) * 1000.0 / 8.0 * GOP.as_secs_f64();
        let frames = f64::from(rate.fps) * GOP.as_secs_f64();
        let inter = (per_gop / (frames - 1.0 + KEY_WEIGHT)) as usize;
        let key = (per_gop - inter as f64 * (frames - 1.0)) as usize;
        let too_few = || format!("{} kbit/s are too few for {} frames per second", rate.video_kbps, rate.fps);
        Ok(Self {
            fps: rate.fps,
            key: frame(true, &clip.key, key).with_context(too_few)?,
            inter: frame(false, &clip.inter, inter).with_context(too_few)?,
            audio: audio(&clip.silence)?,
            headers: vec![
                Tag { kind: Kind::Script, timestamp: 0, body: metadata(rate.fps) },
                Tag { kind: Kind::Video, timestamp: 0, body: clip.avc },
                Tag { kind: Kind::Audio, timestamp: 0, body: Bytes::from_static(&AAC_HEADER) },
            ],
        })
    }

    /// Metadata and decoder configurations, stamped 0.
    pub(crate) fn headers(&self) -> &[Tag] {
        &self.headers
    }

    /// All tags in the order of their timestamps, video first.
    pub(crate) fn schedule(&self) -> impl Iterator<Item = Due> + use<> {
        let fps = self.fps;
        let per_gop = u64::from(fps) * GOP.as_secs();
        let (mut video, mut audio) = (0, 0);
        std::iter::from_fn(move || {
            let video_at = Duration::from_micros(video * 1_000_000 / u64::from(fps));
            let audio_at = Duration::from_micros(audio * 1_000_000 * AAC_FRAME / AAC_RATE);
            Some(if video_at <= audio_at {
                video += 1;
                let number = video - 1;
                Due { at: video_at, track: Track::Video, number, is_key: number.is_multiple_of(per_gop) }
            } else {
                audio += 1;
                Due { at: audio_at, track: Track::Audio, number: audio - 1, is_key: false }
            })
        })
    }

    /// The tag with its stamp.
    pub(crate) fn tag(&mut self, due: &Due, micros: u64) -> (Kind, u32, &[u8]) {
        let body = match due.track {
            Track::Video if due.is_key => &mut self.key,
            Track::Video => &mut self.inter,
            Track::Audio => &mut self.audio,
        };
        Stamp { micros, number: due.number }.write(due.track, body);
        (due.track.kind(), due.at.as_millis() as u32, body)
    }
}

/// A frame of `size` bytes: the stamp in a user data SEI, a slice, and a NAL unit of filler (H.264, D.1.6 and 7.3.2.7).
/// None if they do not fit.
fn frame(is_key: bool, slice: &[u8], size: usize) -> Option<BytesMut> {
    let mut body = BytesMut::from(&[if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0][..]);
    put_nal(&mut body, &[&[6, 5, STAMP_LEN as u8], &[0; STAMP_LEN], &[0x80]]);
    put_nal(&mut body, &[slice]);
    // Behind the length: NAL type, filler, stop bit.
    let filler = size.checked_sub(body.len() + 4 + 2)?;
    put_nal(&mut body, &[&[12], &vec![0xFF; filler], &[0x80]]);
    Some(body)
}

fn put_nal(body: &mut BytesMut, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    body.extend_from_slice(&(len as u32).to_be_bytes());
    parts.iter().for_each(|part| body.extend_from_slice(part));
}

/// A silent frame with the stamp in a data stream element before it, which is as long as the tag needs (ISO/IEC 14496-3,
/// table 4.10).
fn audio(silence: &[u8]) -> Result<BytesMut> {
    // The length's two bytes are added up.
    let data = AUDIO_TAG.checked_sub(AUDIO_STAMP + silence.len()).filter(|data| (255..=510).contains(data));
    let data = data.context("the demo's clip has no short audio frame")?;
    let mut body = BytesMut::from(&[0xAF, 1, 0x81, 255, (data - 255) as u8][..]);
    body.resize(AUDIO_STAMP + data, 0x55);
    body.extend_from_slice(silence);
    Ok(body)
}

/// What is taken from the demo's clip.
struct Clip {
    /// The body of the tag with the AVC configuration.
    avc: Bytes,
    /// NAL units of the first keyframe and of the frame behind it.
    key: Bytes,
    inter: Bytes,
    /// The shortest AAC frame.
    silence: Bytes,
}

impl Clip {
    fn read() -> Result<Self> {
        let mut demuxer = Demuxer::new(DemuxLimits::default());
        demuxer.push(Bytes::from_static(include_bytes!("../../../../fixtures/demo.flv")));
        let (mut avc, mut key, mut inter, mut silence) = (None, None, None, None::<Bytes>);
        while let Some(tag) = demuxer.next_tag().context("the demo's clip")? {
            match tag.class() {
                Class::VideoHeader => avc = avc.or(Some(tag.body)),
                Class::Key => key = key.or_else(|| slice(&tag.body, 5)),
                Class::Inter => inter = inter.or_else(|| slice(&tag.body, 1)),
                Class::Audio if silence.as_ref().is_none_or(|shortest| tag.body.len() - 2 < shortest.len()) => {
                    silence = Some(tag.body.slice(2..));
                }
                _ => {}
            }
        }
        let whole = || Some(Self { avc: avc?, key: key?, inter: inter?, silence: silence? });
        whole().context("the demo's clip is not AVC and AAC")
    }
}

/// The first NAL unit of a type.
fn slice(body: &Bytes, nal_type: u8) -> Option<Bytes> {
    let mut at = 5;
    loop {
        let len = u32::from_be_bytes(*body.get(at..)?.first_chunk()?) as usize;
        let nal = body.get(at + 4..at + 4 + len)?;
        if nal.first()? & 0x1F == nal_type {
            return Some(body.slice_ref(nal));
        }
        at += 4 + len;
    }
}

fn metadata(fps: u32) -> Bytes {
    let mut props = Props::new();
    props.push("width", Value::Number(640.0));
    props.push("height", Value::Number(360.0));
    props.push("framerate", Value::Number(f64::from(fps)));
    props.push("videocodecid", Value::Number(7.0));
    props.push("audiosamplerate", Value::Number(AAC_RATE as f64));
    props.push("stereo", Value::Boolean(true));
    props.push("audiocodecid", Value::Number(10.0));
    let mut out = BytesMut::new();
    amf0::encode(&Value::str("onMetaData"), &mut out);
    amf0::encode(&Value::EcmaArray(props), &mut out);
    out.freeze()
}

/// Seven bits to a byte, the highest set: no byte is zero.
fn put(value: u64, out: &mut [u8]) {
    for (n, byte) in out.iter_mut().enumerate() {
        *byte = 0x80 | (value >> (7 * n)) as u8;
    }
}

fn get(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
}

/// AudioSpecificConfig of AAC-LC, 44.1 kHz, stereo (ISO/IEC 14496-3, 1.6.2.1).
const AAC_HEADER: [u8; 4] = [0xAF, 0, 0x12, 0x10];
const AAC_RATE: u64 = 44_100;
const AAC_FRAME: u64 = 1024;
/// How many audio tags a second has.
pub(crate) const AUDIO_PER_SECOND: f64 = AAC_RATE as f64 / AAC_FRAME as f64;
/// An audio tag's body in bytes: 128 kbit/s.
const AUDIO_TAG: usize = 372;
const GOP: Duration = Duration::from_secs(2);
const KEY_WEIGHT: f64 = 6.0;

/// As long as the UUID that user data begins with.
const MAGIC: &[u8] = b"fan-out rig tag!";
const NUMBER_LEN: usize = 8;
const STAMP_LEN: usize = MAGIC.len() + 2 * NUMBER_LEN;
/// Behind the tag's header, the NAL unit's length, and the SEI's three bytes.
const VIDEO_STAMP: usize = 5 + 4 + 3;
/// Behind the tag's header and the data stream element's.
const AUDIO_STAMP: usize = 2 + 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::chunks::HEAD;

    const RATE: Rate = Rate { video_kbps: 3018, fps: 30 };

    fn tags(seconds: u64) -> Vec<(Due, Tag)> {
        let mut stream = Stream::new(RATE).unwrap();
        let schedule = stream.schedule();
        let due = schedule.take_while(|due| due.at < Duration::from_secs(seconds));
        due.map(|due| {
            let (kind, timestamp, body) = stream.tag(&due, 1_000_000 + due.number);
            (due, Tag { kind, timestamp, body: Bytes::copy_from_slice(body) })
        })
        .collect()
    }

    #[test]
    fn the_rate_is_what_was_asked_for() {
        let tags = tags(100);
        let bytes: usize = tags.iter().map(|(_, tag)| tag.body.len()).sum();
        let kbps = bytes as f64 * 8.0 / 100.0 / 1000.0;
        assert!((kbps - RATE.total_kbps()).abs() < 1.0, "{kbps} against {}", RATE.total_kbps());
        assert!((RATE.total_kbps() - 3146.0).abs() < 1.0);
        assert!((tags.len() as f64 / 100.0 - RATE.tags_per_second()).abs() < 0.1, "{} tags", tags.len());
        assert!(tags.is_sorted_by_key(|(due, _)| due.at));
        assert_eq!(tags.iter().filter(|(_, tag)| tag.class() == Class::Key).count(), 50);
    }

    #[test]
    fn a_stamp_is_found_in_the_head_of_its_message() {
        for (due, tag) in tags(3) {
            let head = &tag.body[..HEAD.min(tag.body.len())];
            let stamp = Stamp { micros: 1_000_000 + due.number, number: due.number };
            assert_eq!(Stamp::read(tag.kind.type_id(), head), Some((due.track, stamp)));
        }
        assert_eq!(Stamp::read(9, &[0x17, 0, 0, 0, 0]), None);
        assert_eq!(Stamp::read(18, &[0; HEAD]), None);
        let mut bytes = [0; NUMBER_LEN];
        put(u64::MAX >> 8, &mut bytes);
        assert_eq!(get(&bytes), u64::MAX >> 8);
    }

    #[test]
    fn frames_are_whole_nal_units_that_no_stamp_breaks() {
        for (_, tag) in tags(3).iter().filter(|(due, _)| due.track == Track::Video) {
            let mut at = 5;
            let mut types = Vec::new();
            while at < tag.body.len() {
                let len = u32::from_be_bytes(*tag.body[at..].first_chunk().unwrap()) as usize;
                let nal = &tag.body[at + 4..at + 4 + len];
                types.push(nal[0] & 0x1F);
                assert!(!nal.windows(3).any(|three| three <= [0, 0, 2].as_slice()), "NAL unit {types:?}");
                at += 4 + len;
            }
            assert_eq!(at, tag.body.len());
            assert_eq!(types, [6, if tag.is_keyframe() { 5 } else { 1 }, 12]);
        }
        assert!(Stream::new(Rate { video_kbps: 100, fps: 30 }).is_err());
    }
}
