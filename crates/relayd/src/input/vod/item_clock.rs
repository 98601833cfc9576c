//! An item's timestamps.

use flv::{Class, Kind, Tag};

/// One item's timestamps, from 0, and where it ends.
#[derive(Default)]
pub(super) struct ItemClock {
    /// From a timestamp to the time since the item's beginning.
    offset: Option<i64>,
    audio: Pace,
    video: Pace,
    pub(super) end: u64,
}

#[derive(Clone, Copy, Default)]
struct Pace {
    last: Option<u64>,
    first: u64,
    count: u64,
}

impl ItemClock {
    /// The tag's time since the item's first media tag, in ms; the item ends one frame after its last tag.
    ///
    /// A timestamp that leaps is damage or a seam: what follows it goes on one frame after what came before it.
    pub(super) fn place(&mut self, tag: &Tag) -> u64 {
        let newest = self.audio.last.max(self.video.last).unwrap_or(0);
        let is_media =
            matches!(tag.class(), Class::Key | Class::Inter | Class::Disposable | Class::Audio | Class::VideoOther);
        if !is_media {
            return newest;
        }
        let timestamp = i64::from(tag.timestamp);
        let offset = self.offset.get_or_insert(-timestamp);
        let pace = if tag.kind == Kind::Audio { &mut self.audio } else { &mut self.video };
        let forward = timestamp + *offset - newest.cast_signed();
        let back = pace.last.unwrap_or(newest).cast_signed() - timestamp - *offset;
        // A track that begins late or pauses has not leapt when it is where the other is; tracks that are loosely
        // interleaved step back only against each other.
        if forward > MAX_STEP || back > MAX_STEP_BACK {
            *offset = self.end.max(newest + 1).cast_signed() - timestamp;
        }
        let at = 0.max(timestamp + *offset).cast_unsigned();
        if pace.last.is_none() {
            pace.first = at;
        }
        pace.last = Some(at);
        pace.count += 1;
        self.end = self.end.max(at + pace.frame());
        at
    }
}

impl Pace {
    /// The mean frame duration so far, in ms.
    fn frame(&self) -> u64 {
        match (self.last, self.count) {
            (Some(last), 2..) => last.saturating_sub(self.first).div_ceil(self.count - 1),
            _ => 0,
        }
    }
}

/// Timestamps that step further, in ms, leap.
const MAX_STEP: i64 = 10_000;
/// A track's timestamps that step back further, in ms, leap.
const MAX_STEP_BACK: i64 = 1_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn places(stamps: &[(Kind, u32)]) -> Vec<u64> {
        let mut clock = ItemClock::default();
        let body = |kind| Bytes::from_static(if kind == Kind::Audio { &[0xaf, 1, 0] } else { &[0x27, 1, 0, 0, 0, 0] });
        stamps.iter().map(|&(kind, timestamp)| clock.place(&Tag { kind, timestamp, body: body(kind) })).collect()
    }

    #[test]
    fn a_timestamp_that_leaps_goes_on_one_frame_later() {
        let video = |stamps: &[u32]| places(&stamps.iter().map(|&at| (Kind::Video, at)).collect::<Vec<_>>());
        assert_eq!(video(&[7, 47, 87, 4_000_000_087, 127, 167]), [0, 40, 80, 120, 160, 200]);
        assert_eq!(video(&[5_000, 5_040, 0, 40]), [0, 40, 80, 120]);
        assert_eq!(video(&[100, 60, 100]), [0, 0, 0]);
    }

    #[test]
    fn tracks_that_begin_late_or_interleave_loosely_stay_where_they_are() {
        let (v, a) = (Kind::Video, Kind::Audio);
        assert_eq!(places(&[(v, 0), (v, 9_000), (v, 18_000), (a, 18_000)]), [0, 9_000, 18_000, 18_000]);
        assert_eq!(places(&[(v, 0), (a, 0), (v, 3_000), (a, 20), (v, 3_040)]), [0, 0, 3_000, 20, 3_040]);
    }
}
