//! The programme's own line of time.

use std::time::Instant;

use crate::{anchor::Anchor, repair::Track};

/// Maps an input's repaired DTS to the one DTS of the programme: milliseconds from 0 per relay run, never back on a
/// track, audio and video under one common offset that changes at a splice only.
#[derive(Clone, Debug)]
pub struct Timeline {
    offset: i64,
    audio: Option<i64>,
    video: Option<i64>,
    anchor: Anchor,
    /// How far the line runs ahead of the wall clock because a splice had to repeat media. The anchor does not move
    /// with it, so the next splice takes it back and repeated splices add no latency.
    ahead: i64,
}

impl Timeline {
    /// A line without tags. `epoch` is the one that the inputs' anchors share.
    pub fn new(epoch: Instant) -> Self {
        Self { offset: 0, audio: None, video: None, anchor: Anchor::new(epoch), ahead: 0 }
    }

    /// A line that has reached as far as `tags`: each with its DTS and when it came.
    pub(crate) fn reaching(epoch: Instant, tags: impl IntoIterator<Item = (Track, i64, Instant)>) -> Self {
        let mut timeline = Self::new(epoch);
        for (track, dts, arrived) in tags {
            timeline.place(track, dts, arrived);
        }
        timeline
    }

    /// Puts the input DTS `source` at `at` from now on.
    pub fn splice(&mut self, source: i64, at: i64) {
        self.offset = at - source;
    }

    /// Like [`splice`](Self::splice), for a place `repeated` ms beyond the one that the wall clock asks for.
    pub fn splice_ahead(&mut self, source: i64, at: i64, repeated: i64) {
        self.splice(source, at);
        self.ahead = repeated;
    }

    /// The programme's DTS of a tag that arrived at `arrived`.
    pub fn place(&mut self, track: Track, source: i64, arrived: Instant) -> i64 {
        let last = match track {
            Track::Audio => &mut self.audio,
            Track::Video => &mut self.video,
        };
        let dts = last.map_or(source + self.offset, |last| last.max(source + self.offset));
        *last = Some(dts);
        self.anchor.observe(dts - self.ahead, arrived);
        dts
    }

    /// How far the line runs ahead of the wall clock, in ms.
    pub fn ahead(&self) -> i64 {
        self.ahead
    }

    /// The highest DTS placed; `None` before the first.
    pub fn reached(&self) -> Option<i64> {
        self.audio.max(self.video)
    }

    /// Where the wall clock puts a tag of an input whose own anchor stands at `input`; `None` before the first tag.
    pub(crate) fn wall_offset(&self, input: &Anchor) -> Option<i64> {
        Some(self.anchor.value()? - input.value()?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_offset_and_never_back_on_a_track() {
        let epoch = Instant::now();
        let mut timeline = Timeline::new(epoch);
        timeline.splice(5_000, 0);
        assert_eq!(timeline.place(Track::Video, 5_000, epoch), 0);
        assert_eq!(timeline.place(Track::Audio, 5_010, epoch), 10);
        timeline.splice(900, 11);
        assert_eq!(timeline.place(Track::Video, 900, epoch), 11);
        assert_eq!(timeline.place(Track::Audio, 895, epoch), 10, "clamped, not taken back");
        assert_eq!(timeline.reached(), Some(11));
    }

    #[test]
    fn a_repeat_does_not_move_the_wall_anchor() {
        let epoch = Instant::now();
        let mut timeline = Timeline::new(epoch);
        let mut input = Anchor::new(epoch);
        timeline.splice(0, 0);
        timeline.place(Track::Video, 0, epoch);
        input.observe(100, epoch + Duration::from_millis(1_000));
        assert_eq!(timeline.wall_offset(&input), Some(900));
        timeline.splice_ahead(100, 1_800, 800);
        timeline.place(Track::Video, 100, epoch + Duration::from_millis(1_000));
        assert_eq!(timeline.wall_offset(&input), Some(900));
    }
}
