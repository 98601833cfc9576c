//! What the sink has counted, by output: an output that reconnects goes on where it was.

use std::ops::Range;

use super::{
    chunks::Message,
    histogram::Histogram,
    stream::{Stamp, Track},
};

/// The counts of all outputs.
#[derive(Debug)]
pub(crate) struct Tally {
    outputs: Vec<Output>,
    /// The numbers of the tags that are measured, by track.
    window: [Range<u64>; 2],
    /// What went wrong with connections, the newest last.
    pub(crate) complaints: Vec<String>,
    pub(crate) accepted: u64,
    pub(crate) closed: u64,
}

/// One output's counts.
#[derive(Clone, Debug, Default)]
struct Output {
    tracks: [TrackTally; 2],
    payload: u64,
    foreign: u64,
}

#[derive(Clone, Debug, Default)]
struct TrackTally {
    /// The number after the highest one received.
    next: u64,
    in_window: u64,
    again: u64,
    delays: Histogram,
}

/// What a window amounts to, for some of the outputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Tags sent and not received, by track and all outputs together.
    pub(crate) lost: u64,
    /// Tags received more than once or out of order.
    pub(crate) again: u64,
    pub(crate) delays: [Histogram; 2],
}

impl Tally {
    pub(crate) fn new(outputs: usize) -> Self {
        Self {
            outputs: vec![Output::default(); outputs],
            window: [0..0, 0..0],
            complaints: Vec::new(),
            accepted: 0,
            closed: 0,
        }
    }

    /// A message of an output, read at `micros`.
    pub(crate) fn message(&mut self, output: usize, message: &Message<'_>, micros: u64) {
        let Some(output) = self.outputs.get_mut(output) else { return };
        if !matches!(message.type_id, 8 | 9) {
            return;
        }
        output.payload += u64::from(message.len);
        let Some((track, stamp)) = Stamp::read(message.type_id, message.head) else {
            // A decoder configuration.
            output.foreign += 1;
            return;
        };
        let window = &self.window[track as usize];
        let tally = &mut output.tracks[track as usize];
        if stamp.number < tally.next {
            tally.again += 1;
            return;
        }
        tally.next = stamp.number + 1;
        if window.contains(&stamp.number) {
            tally.in_window += 1;
            tally.delays.add(micros.saturating_sub(stamp.micros));
        }
    }

    /// How many of some outputs have had video.
    pub(crate) fn live(&self, outputs: Range<usize>) -> usize {
        self.outputs[outputs].iter().filter(|output| output.tracks[Track::Video as usize].next > 0).count()
    }

    /// Payload bytes of some outputs so far.
    pub(crate) fn payload(&self, outputs: Range<usize>) -> u64 {
        self.outputs[outputs].iter().map(|output| output.payload).sum()
    }

    /// Begins a window with the tags of these numbers.
    pub(crate) fn open_window(&mut self, from: [u64; 2]) {
        self.window = from.map(|number| number..u64::MAX);
        for tally in self.outputs.iter_mut().flat_map(|output| &mut output.tracks) {
            *tally = TrackTally { next: tally.next, ..TrackTally::default() };
        }
    }

    /// Ends it before the tags of these numbers, of which none may have been received yet.
    pub(crate) fn close_window(&mut self, to: [u64; 2]) {
        for (window, to) in self.window.iter_mut().zip(to) {
            window.end = to;
        }
    }

    /// Whether some outputs have all that the window will ever have.
    pub(crate) fn is_complete(&self, outputs: Range<usize>) -> bool {
        let has_all =
            |output: &Output| output.tracks.iter().zip(&self.window).all(|(tally, window)| tally.next >= window.end);
        self.outputs[outputs].iter().all(has_all)
    }

    /// What the window amounts to for some outputs.
    pub(crate) fn count(&self, outputs: Range<usize>) -> Counted {
        let mut counted = Counted::default();
        for output in &self.outputs[outputs] {
            for (track, (tally, window)) in output.tracks.iter().zip(&self.window).enumerate() {
                counted.lost += (window.end - window.start).saturating_sub(tally.in_window);
                counted.again += tally.again;
                counted.delays[track].merge(&tally.delays);
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{
        chunks::HEAD,
        stream::{Rate, Stream},
    };

    /// The heads of the first `count` tags of a track, stamped with 1000 times their number.
    fn heads(track: Track, count: usize) -> Vec<Vec<u8>> {
        let mut stream = Stream::new(Rate { video_kbps: 1000, fps: 30 }).unwrap();
        let schedule = stream.schedule();
        let due = schedule.filter(|due| due.track == track).take(count);
        due.map(|due| stream.tag(&due, 1000 * due.number).2[..HEAD].to_vec()).collect()
    }

    fn video(head: &[u8]) -> Message<'_> {
        Message { type_id: 9, len: 1000, head }
    }

    #[test]
    fn what_never_comes_is_lost_and_what_comes_again_is_not_received() {
        let heads = heads(Track::Video, 20);
        let mut tally = Tally::new(2);
        tally.message(0, &video(&heads[0]), 5);
        assert_eq!(tally.live(0..2), 1);
        tally.open_window([5, 0]);
        let receive = |tally: &mut Tally, number: usize| {
            tally.message(0, &video(&heads[number]), 1000 * number as u64 + 70);
        };
        [4, 5, 6, 8, 8, 7, 9].into_iter().for_each(|number| receive(&mut tally, number));
        tally.close_window([12, 0]);
        assert!(!tally.is_complete(0..1));
        [12, 13].into_iter().for_each(|number| receive(&mut tally, number));
        assert!(tally.is_complete(0..1));
        assert!(!tally.is_complete(0..2));
        let counted = tally.count(0..1);
        // 7, 10 and 11: 8 came before 7 did, so that a decoder has no use for it.
        assert_eq!((counted.lost, counted.again), (3, 2));
        assert_eq!(counted.delays[0].quantile(0.99), Some(70.5));
        assert_eq!(tally.count(0..2).lost, 3 + 7);
        assert_eq!(tally.payload(0..2), 10_000);
    }

    #[test]
    fn a_window_forgets_the_one_before_it() {
        let heads = heads(Track::Audio, 10);
        let mut tally = Tally::new(1);
        let audio = |number: usize| Message { type_id: 8, len: 10, head: &heads[number] };
        tally.open_window([0, 0]);
        tally.message(0, &audio(0), 1);
        tally.message(0, &audio(0), 1);
        tally.close_window([0, 4]);
        assert_eq!((tally.count(0..1).lost, tally.count(0..1).again), (3, 1));
        tally.open_window([0, 4]);
        tally.message(0, &audio(4), 4001);
        tally.close_window([0, 5]);
        assert_eq!((tally.count(0..1).lost, tally.count(0..1).again), (0, 0));
    }
}
