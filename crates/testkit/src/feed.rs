//! What one path of an origin serves, and what goes wrong with it.

use bytes::Bytes;
use flv::mux;

use crate::encode::{Encode, Track};

mod playback;

pub(crate) use playback::{Piece, Playback};

/// What a path serves: a live encode from its last keyframe on, a file, or something that is no FLV. The methods name
/// faults; `at` and `after` are ms since the feed's first client, so that a slow start of the daemon moves them along.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(crate) source: Source,
    pub(crate) faults: Vec<Fault>,
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) chunked: bool,
    pub(crate) dribble: bool,
    pub(crate) gop_cache: bool,
    pub(crate) wrong_trailers: bool,
    pub(crate) lag_ms: u64,
    pub(crate) rate: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Live(Encode),
    /// A finished body with its content type.
    Whole(&'static str, Bytes),
}

/// A fault and its time. Shifts, mutes and new headers concern every connection, the others only the first.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Stall { after: u64 },
    Eof { after: u64 },
    Cut { byte: u64 },
    Shift { at: u64, by: i64 },
    ShiftTrack { at: u64, by: i64, track: Track },
    Mute { at: u64, track: Track },
    Insert { at: u64, bytes: Bytes },
    HeadersEvery { ms: u64 },
    NewHeaders { bytes: usize },
    Become { at: u64, encode: Box<Encode> },
}

impl Feed {
    /// A live encode, from the last keyframe on, until the client leaves.
    pub fn of(encode: &Encode) -> Self {
        Self::serving(Source::Live(encode.clone()))
    }

    /// A finished file, as fast as the client reads.
    pub fn file(content: Bytes) -> Self {
        Self::serving(Source::Whole("video/x-flv", content))
    }

    /// A web page under status 200, as captive portals and expired links answer.
    pub fn html() -> Self {
        Self::serving(Source::Whole("text/html", Bytes::from_static(b"<!DOCTYPE html><html><body>no</body></html>")))
    }

    /// Answers with a status and no media.
    pub fn status(code: u16) -> Self {
        Self { status: code, ..Self::html() }
    }

    /// Answers 302 to another URL.
    pub fn redirect_to(url: &str) -> Self {
        Self { status: 302, location: Some(url.to_owned()), ..Self::html() }
    }

    /// The first connection stays open and falls silent.
    #[must_use]
    pub fn stall_after(self, ms: u64) -> Self {
        self.with(Fault::Stall { after: ms })
    }

    /// The first connection ends between two tags.
    #[must_use]
    pub fn eof_after(self, ms: u64) -> Self {
        self.with(Fault::Eof { after: ms })
    }

    /// The first connection ends after this many bytes of the body, wherever that is.
    #[must_use]
    pub fn cut_at(self, byte: u64) -> Self {
        self.with(Fault::Cut { byte })
    }

    /// Every timestamp from then on is `by` ms smaller.
    #[must_use]
    pub fn rollback_at(self, at: u64, by: u32) -> Self {
        self.with(Fault::Shift { at, by: -i64::from(by) })
    }

    /// Every timestamp from then on is `by` ms larger.
    #[must_use]
    pub fn jump_at(self, at: u64, by: u32) -> Self {
        self.with(Fault::Shift { at, by: i64::from(by) })
    }

    /// Every timestamp of one track from then on is moved by `by` ms.
    #[must_use]
    pub fn shift_track_at(self, at: u64, track: Track, by: i64) -> Self {
        self.with(Fault::ShiftTrack { at, by, track })
    }

    /// No video from then on.
    #[must_use]
    pub fn mute_video_at(self, at: u64) -> Self {
        self.with(Fault::Mute { at, track: Track::Video })
    }

    /// No audio from then on.
    #[must_use]
    pub fn mute_audio_at(self, at: u64) -> Self {
        self.with(Fault::Mute { at, track: Track::Audio })
    }

    /// Random bytes between two tags.
    #[must_use]
    pub fn garbage_at(self, at: u64, bytes: usize) -> Self {
        let mut noise = vec![0; bytes];
        fastrand::Rng::with_seed(7).fill(&mut noise);
        self.insert_at(at, noise)
    }

    /// A tag header that claims 16 MiB, with nothing of that size behind it.
    #[must_use]
    pub fn huge_claim_at(self, at: u64) -> Self {
        self.insert_at(at, &b"\x09\xFF\xFF\xF0\0\0\0\0\0\0\0\x17\x01\0\0\0"[..])
    }

    /// Another FLV file header between two tags, as a CDN's edge splice leaves it.
    #[must_use]
    pub fn second_header_at(self, at: u64) -> Self {
        self.insert_at(at, mux::file_header(true, true))
    }

    /// Tags of every kind without a body, between two tags.
    #[must_use]
    pub fn empty_tags_at(self, at: u64) -> Self {
        let mut tags = bytes::BytesMut::new();
        for kind in [flv::Kind::Video, flv::Kind::Audio, flv::Kind::Script] {
            mux::write_tag(&mut tags, kind, 0, b"");
        }
        self.insert_at(at, tags)
    }

    /// onMetaData with objects nested `levels` deep, between two tags.
    #[must_use]
    pub fn nested_metadata_at(self, at: u64, levels: usize) -> Self {
        let mut body = b"\x02\0\x0AonMetaData".to_vec();
        for _ in 0..levels {
            body.extend_from_slice(b"\x03\0\x01a");
        }
        let mut tag = bytes::BytesMut::new();
        mux::write_tag(&mut tag, flv::Kind::Script, 0, &body);
        self.insert_at(at, tag)
    }

    /// The headers again, unchanged, over and over.
    #[must_use]
    pub fn repeat_headers_every(self, ms: u64) -> Self {
        self.with(Fault::HeadersEvery { ms })
    }

    /// Before each video frame, other metadata and another video sequence header, of this many bytes each.
    #[must_use]
    pub fn new_headers_of(self, bytes: usize) -> Self {
        self.with(Fault::NewHeaders { bytes })
    }

    /// From the next keyframe on, another encode with its headers.
    #[must_use]
    pub fn become_at(self, at: u64, encode: &Encode) -> Self {
        self.with(Fault::Become { at, encode: Box::new(encode.clone()) })
    }

    /// With `Transfer-Encoding: chunked`.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// In writes of a few bytes each.
    #[must_use]
    pub fn dribble(mut self) -> Self {
        self.dribble = true;
        self
    }

    /// From the middle of a GOP, as an origin without a GOP cache serves.
    #[must_use]
    pub fn join_mid_gop(mut self) -> Self {
        self.gop_cache = false;
        self
    }

    /// With a PreviousTagSize after every tag that is nonsense.
    #[must_use]
    pub fn wrong_trailers(mut self) -> Self {
        self.wrong_trailers = true;
        self
    }

    /// Behind the encode by `ms`, as a farther edge is.
    #[must_use]
    pub fn lag(mut self, ms: u64) -> Self {
        self.lag_ms = ms;
        self
    }

    /// At `rate` × real time from the connection's start.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    fn serving(source: Source) -> Self {
        Self {
            source,
            faults: Vec::new(),
            status: 200,
            location: None,
            chunked: false,
            dribble: false,
            gop_cache: true,
            wrong_trailers: false,
            lag_ms: 0,
            rate: 1.0,
        }
    }

    fn insert_at(self, at: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.with(Fault::Insert { at, bytes: Bytes::copy_from_slice(bytes.as_ref()) })
    }

    fn with(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }
}
