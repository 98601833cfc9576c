//! A synthetic encode whose every tag is known in advance.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flv::{Kind, Tag, mux};

use crate::clock::Clock;

mod bodies;
mod id;

pub use id::{Id, Track};

/// Video at 25 fps and AAC frames of 1024 samples at 48 kHz: 8 + 15 tags every 320 ms, then the pattern repeats.
const PATTERN_MS: u64 = 320;

/// One pattern's tags: position in ms, track, index on its track. Video goes before audio of the same position.
static PATTERN: LazyLock<Vec<(u64, Track, u64)>> = LazyLock::new(|| {
    let video = (0..8).map(|n| (n * 40, Track::Video, n));
    let audio = (0..15).map(|n| (n * 64 / 3, Track::Audio, n));
    let mut tags: Vec<_> = video.chain(audio).collect();
    tags.sort_by_key(|&(position, track, _)| (position, track));
    tags
});

/// The video codecs that an encode can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264 in legacy framing.
    Avc,
    /// HEVC as CodecID 12, the unofficial legacy framing.
    HevcLegacy,
    /// HEVC as FourCC `hvc1` (E-RTMP v2).
    Hevc,
    /// AV1 as FourCC `av01` (E-RTMP v2).
    Av1,
}

/// A live encode: 25 fps with a keyframe each second, and AAC-like audio. Cloning gives the same encode on the same clock.
#[derive(Clone, Debug)]
pub struct Encode {
    name: String,
    clock: Clock,
    base_dts: u32,
    codec: Option<Codec>,
    audio: bool,
    header_variant: u8,
    gop_frames: u64,
    key_bytes: usize,
    inter_bytes: usize,
    disposable: bool,
}

/// A tag with its place in the encode.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// ms since the encode began; the DTS without its base.
    pub(crate) position: u64,
    /// The tag with the encode's DTS.
    pub(crate) tag: Tag,
    /// True where a decoder can start.
    pub(crate) key: bool,
}

impl Encode {
    /// An encode that began three seconds ago.
    pub fn live(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            clock: Clock::with_lead(Duration::from_secs(3)),
            base_dts: 0,
            codec: Some(Codec::Avc),
            audio: true,
            header_variant: 0,
            gop_frames: 25,
            key_bytes: 4000,
            inter_bytes: 600,
            disposable: false,
        }
    }

    /// On another encode's clock.
    #[must_use]
    pub fn on(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The DTS of position 0, in ms.
    #[must_use]
    pub fn base_dts(mut self, dts: u32) -> Self {
        self.base_dts = dts;
        self
    }

    /// With another video codec.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Without video.
    #[must_use]
    pub fn audio_only(mut self) -> Self {
        self.codec = None;
        self
    }

    /// Without audio.
    #[must_use]
    pub fn video_only(mut self) -> Self {
        self.audio = false;
        self
    }

    /// With other parameter sets in the video header; 0 is the usual one.
    #[must_use]
    pub fn header_variant(mut self, variant: u8) -> Self {
        self.header_variant = variant;
        self
    }

    /// With a keyframe every `frames` of 40 ms.
    #[must_use]
    pub fn gop(mut self, frames: u64) -> Self {
        self.gop_frames = frames.max(1);
        self
    }

    /// With video frames of these sizes in bytes.
    #[must_use]
    pub fn frame_bytes(mut self, key: usize, inter: usize) -> Self {
        self.key_bytes = key;
        self.inter_bytes = inter;
        self
    }

    /// With every other frame between keyframes one that no frame refers to.
    #[must_use]
    pub fn disposable(mut self) -> Self {
        self.disposable = true;
        self
    }

    /// The name that its tag ids carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The clock that it runs on.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// onMetaData and the tracks' sequence headers, in this order, at the base DTS.
    pub fn headers(&self) -> Vec<Tag> {
        let tag = |kind, body| Tag { kind, timestamp: self.base_dts, body };
        let mut headers = vec![tag(Kind::Script, bodies::metadata(self.codec.is_some(), self.audio))];
        headers.extend(self.codec.map(|codec| tag(Kind::Video, bodies::video_header(codec, self.header_variant))));
        headers.extend(self.audio.then(|| tag(Kind::Audio, bodies::audio_header())));
        headers
    }

    /// The tag of an id, if it is of this encode.
    pub fn tag_of(&self, id: &Id) -> Option<Tag> {
        let has_track = match id.track {
            Track::Video => self.codec.is_some(),
            Track::Audio => self.audio,
        };
        (id.encode == self.name && has_track).then(|| self.place(id.position(), id.track, id.index).tag)
    }

    /// Tag `n`, counted over both tracks in the order of their positions. None where the encode lacks the track.
    pub fn tag(&self, n: u64) -> Option<Tag> {
        self.placed(n).map(|placed| placed.tag)
    }

    /// A whole file of the first `ms`.
    pub fn file(&self, ms: u64) -> Bytes {
        let mut out = BytesMut::from(&mux::file_header(self.audio, self.codec.is_some())[..]);
        for tag in self.headers() {
            mux::write_tag(&mut out, tag.kind, tag.timestamp, &tag.body);
        }
        for placed in self.placed_from(0).take_while(|placed| placed.position < ms) {
            mux::write_tag(&mut out, placed.tag.kind, placed.tag.timestamp, &placed.tag.body);
        }
        out.freeze()
    }

    /// The file header of its tracks.
    pub(crate) fn file_header(&self) -> [u8; 13] {
        mux::file_header(self.audio, self.codec.is_some())
    }

    /// The newest keyframe at or before a position in ms; the position itself without video.
    pub(crate) fn gop_start(&self, position: u64) -> u64 {
        let gop_ms = self.gop_frames * 40;
        if self.codec.is_some() { position / gop_ms * gop_ms } else { position }
    }

    /// Every tag from a position in ms on, without end.
    pub(crate) fn placed_from(&self, position: u64) -> impl Iterator<Item = Placed> {
        let first = position / PATTERN_MS * PATTERN.len() as u64;
        (first..).filter_map(|n| self.placed(n)).skip_while(move |placed| placed.position < position)
    }

    fn placed(&self, n: u64) -> Option<Placed> {
        let round = n / PATTERN.len() as u64;
        let (offset, track, index) = PATTERN[(n % PATTERN.len() as u64) as usize];
        let id = match track {
            Track::Video => Id { encode: self.name.clone(), track, index: round * 8 + index },
            Track::Audio => Id { encode: self.name.clone(), track, index: round * 15 + index },
        };
        debug_assert_eq!(id.position(), round * PATTERN_MS + offset);
        let present = match track {
            Track::Video => self.codec.is_some(),
            Track::Audio => self.audio,
        };
        present.then(|| self.place(id.position(), track, id.index))
    }

    fn place(&self, position: u64, track: Track, index: u64) -> Placed {
        let key = track == Track::Video && index.is_multiple_of(self.gop_frames);
        let id = Id { encode: self.name.clone(), track, index };
        let (kind, body) = match (track, self.codec) {
            (Track::Video, Some(codec)) => {
                let size = if key { self.key_bytes } else { self.inter_bytes };
                let disposable = self.disposable && !key && index % 2 == 1;
                (Kind::Video, bodies::video(codec, key, disposable, &id, size))
            }
            _ => (Kind::Audio, bodies::audio(&id)),
        };
        let timestamp = self.base_dts.wrapping_add(position as u32);
        Placed { position, key: key || self.codec.is_none(), tag: Tag { kind, timestamp, body } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flv::Class;

    #[test]
    fn tags_are_in_order_and_carry_their_ids() {
        let encode = Encode::live("e").base_dts(500);
        let tags: Vec<_> = encode.placed_from(1000).take(200).collect();
        assert_eq!(tags[0].position, 1000);
        assert_eq!(tags[0].tag.class(), Class::Key);
        assert!(tags.is_sorted_by_key(|placed| placed.position));
        for placed in tags {
            let id = Id::find(&placed.tag.body).expect("an id in every tag");
            assert_eq!(id.position(), placed.position);
            assert_eq!(placed.tag.timestamp, 500 + placed.position as u32);
            assert_eq!(encode.tag_of(&id), Some(placed.tag));
        }
    }

    #[test]
    fn every_codec_is_known_for_what_it_is() {
        for codec in [Codec::Avc, Codec::HevcLegacy, Codec::Hevc, Codec::Av1] {
            let encode = Encode::live("e").codec(codec);
            let classes: Vec<_> = encode.headers().iter().map(Tag::class).collect();
            assert_eq!(classes, [Class::Metadata, Class::VideoHeader, Class::AudioHeader], "{codec:?}");
            let video = |index| encode.tag_of(&Id { encode: "e".into(), track: Track::Video, index });
            assert_eq!(video(25).map(|tag| tag.class()), Some(Class::Key), "{codec:?}");
            assert_eq!(video(26).map(|tag| tag.class()), Some(Class::Inter), "{codec:?}");
        }
        let disposable = Encode::live("e").disposable();
        let frame = disposable.tag_of(&Id { encode: "e".into(), track: Track::Video, index: 27 });
        assert_eq!(frame.map(|tag| tag.class()), Some(Class::Disposable));
    }
}
