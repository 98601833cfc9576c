//! What must hold for everything that an output received. Every function panics with what is wrong; [`Session`] judges
//! as messages come and tells.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flv::{Class, Kind};

use crate::encode::{Encode, Id, Track};
use crate::ingest::{Received, Record};

mod session;

pub use session::{Break, Session, Source};

/// All of them, for one session that relayed one encode without loss.
pub fn clean(record: &Record, encode: &Encode) {
    starts_with_keyframe_at_zero(record);
    monotonic(record);
    contiguous(record);
    genuine(record, &[encode]);
    headers_once(record);
    one_offset(record, 1);
    well_formed(record);
}

/// The first video frame is a keyframe at timestamp 0, behind the video header, and no audio frame goes before it. For
/// audio alone: the first audio frame is at 0.
pub fn starts_with_keyframe_at_zero(record: &Record) {
    let first = record.frames().next().unwrap_or_else(|| panic!("no frames in {record:?}"));
    let has_video = record.of_class(Class::VideoHeader).next().is_some();
    assert_eq!(first.timestamp, 0, "the first frame is {first:?}");
    if has_video {
        assert_eq!(first.class(), Class::Key, "the first frame is {first:?}");
    }
    for header in record.messages.iter().take_while(|message| message.at < first.at && message.id().is_none()) {
        assert_eq!(header.timestamp, 0, "{header:?} before the first frame");
    }
    let class_at = |class| record.messages.iter().position(|message| message.class() == class);
    if let Some(header) = class_at(Class::VideoHeader) {
        assert!(class_at(Class::Key).is_some_and(|key| header < key), "the video header is behind the keyframe");
    }
}

/// No timestamp of a track is smaller than the one before, the wrap at 2^32 aside.
pub fn monotonic(record: &Record) {
    let mut last: BTreeMap<u8, &Received> = BTreeMap::new();
    for message in &record.messages {
        if let Some(before) = last.insert(message.kind.type_id(), message) {
            let step = message.timestamp.wrapping_sub(before.timestamp);
            assert!(step < 1 << 31, "{message:?} after {before:?}");
        }
    }
}

/// On each track every frame is the next one of its encode: nothing lost, nothing twice.
pub fn contiguous(record: &Record) {
    for track in [Track::Video, Track::Audio] {
        let ids = record.ids(track);
        for pair in ids.windows(2) {
            assert_eq!(pair[1].index, pair[0].index + 1, "{:?} after {:?}", pair[1], pair[0]);
        }
    }
}

/// Every frame is one that an encode made, byte for byte.
pub fn genuine(record: &Record, encodes: &[&Encode]) {
    for message in record.frames() {
        let id = message.id().unwrap_or_else(|| panic!("{message:?} carries no id"));
        let tag = encodes.iter().find_map(|encode| encode.tag_of(&id));
        let tag = tag.unwrap_or_else(|| panic!("{id:?} is of no encode"));
        assert!(tag.body == message.body, "the body of {id:?} differs from the encode's");
    }
}

/// After a gap in the video comes a keyframe.
pub fn gaps_end_with_keyframes(record: &Record) {
    let video: Vec<_> = record.frames().filter(|message| message.kind == Kind::Video).collect();
    for pair in video.windows(2) {
        let (Some(before), Some(after)) = (pair[0].id(), pair[1].id()) else {
            continue;
        };
        let follows = after.encode == before.encode && after.index == before.index + 1;
        assert!(follows || pair[1].class() == Class::Key, "{:?} after {:?}", pair[1], pair[0]);
    }
}

/// No header is sent again with the same bytes.
pub fn headers_once(record: &Record) {
    let mut last: BTreeMap<u8, Bytes> = BTreeMap::new();
    for header in record.messages.iter().filter(|message| message.tag().is_sequence_header()) {
        if let Some(before) = last.insert(header.kind.type_id(), header.body.clone()) {
            assert!(before != header.body, "{header:?} is sent twice");
        }
    }
}

/// The distance between a frame's timestamp and its place in the encode stays the same within `tolerance` ms, on both
/// tracks alike.
pub fn one_offset(record: &Record, tolerance: i64) {
    let offset = |message: &Received| message.id().map(|id| i64::from(message.timestamp) - id.position() as i64);
    let Some(first) = record.frames().find_map(offset) else {
        return;
    };
    for message in record.frames() {
        let Some(offset) = offset(message) else { continue };
        assert!((offset - first).abs() <= tolerance, "{message:?} is {} ms off", offset - first);
    }
}

/// No frame came later than `limit` after it was due at the source, or after the first one if it was due before that.
pub fn in_time(record: &Record, encode: &Encode, limit: Duration) {
    let Some(joined) = record.frames().next().map(|first| first.at) else { return };
    for message in record.frames() {
        let Some(id) = message.id() else { continue };
        let late = message.at.saturating_duration_since(encode.clock().at(id.position()).max(joined));
        assert!(late < limit, "{message:?} came {late:?} late");
    }
}

/// Audio and video lie on one clock: their offsets differ by no more than `tolerance` ms at every point. Where the video
/// goes on elsewhere in an encode, both begin anew.
pub fn in_step(record: &Record, tolerance: i64) {
    let mut offsets: BTreeMap<Track, i64> = BTreeMap::new();
    let mut video: Option<Id> = None;
    for message in record.frames() {
        let Some(id) = message.id() else { continue };
        let offset = i64::from(message.timestamp) - id.position() as i64;
        if id.track == Track::Video {
            let goes_on = video.is_none_or(|before| before.encode == id.encode && before.index + 1 == id.index);
            if !goes_on {
                offsets.clear();
            }
            video = Some(id.clone());
        }
        offsets.insert(id.track, offset);
        let (Some(low), Some(high)) = (offsets.values().min(), offsets.values().max()) else { continue };
        assert!(high - low <= tolerance, "audio and video are {} ms apart at {message:?}", high - low);
    }
}

/// One chunk stream per track, a form that carries type and length at the start of every message, one message stream.
pub fn well_formed(record: &Record) {
    let mut chunk_streams: BTreeMap<u8, u32> = BTreeMap::new();
    for message in &record.messages {
        assert!(message.form <= 1, "{message:?} begins with form {}", message.form);
        let kind = message.kind.type_id();
        let chunk_stream = *chunk_streams.entry(kind).or_insert(message.chunk_stream);
        assert_eq!(message.chunk_stream, chunk_stream, "{message:?} is on another chunk stream than its track");
        assert_eq!(message.stream_id, record.messages[0].stream_id, "{message:?} is on another message stream");
    }
    assert!(!record.messages.iter().any(|message| message.body.is_empty()), "an empty message was sent");
}

#[cfg(test)]
mod tests;
