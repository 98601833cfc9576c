//! FLV and AMF0 without I/O: bytes go in, tags come out.
//!
//! | what | specification |
//! |---|---|
//! | file and tag framing, legacy codec headers | Adobe Flash Video File Format v10.1, annex E ("FLV spec") |
//! | AMF0 | Action Message Format -- AMF 0, 2007 ("AMF0 spec") |
//! | FourCC codecs, multitrack, ModEx | Enhanced RTMP v2 ("E-RTMP v2") |
//!
//! [`Demuxer`] cuts a live stream that arrives in pieces of any size into [`Tag`]s and finds its place again after
//! damage; [`mux`] writes the framing; [`codec`] reads the first bytes of a tag body, and [`Tag::class`] sums them up
//! for a relay; [`amf0`] decodes and encodes script data. Bodies are never changed, and mostly never copied.

pub mod amf0;
pub mod codec;
mod demux;
mod error;
pub mod mux;
mod tag;

pub use demux::{Counters, DemuxLimits, Demuxer};
pub use error::{Error, ErrorKind, Sniffed};
pub use tag::{Class, Kind, Tag};
