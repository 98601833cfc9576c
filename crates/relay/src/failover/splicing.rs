//! From which tag on another input feeds, and where that tag lies on the timeline.

use std::time::{Duration, Instant};

use super::{Action, Beginning, Cut, Failover, Feed, SplicePoint};
use crate::{
    alignment::{Continuation, Marks, Standing},
    event::{Event, EventKind},
    fault::Reason,
    input::{InputKind, Link},
    meter::Meter,
    repair::Track,
};

impl Failover {
    /// Lets `input` feed, if its ring has a place to begin now; otherwise sets when to look again.
    pub(super) fn splice_to(&mut self, input: usize, reason: Reason, now: Instant) {
        if self.inputs[input].link == Link::Ready {
            if !std::mem::replace(&mut self.inputs[input].playing, true) {
                self.actions.push_back(Action::Play(input));
            }
            return;
        }
        let Some(point) = self.splice_point(input, now) else { return };
        let before = self.timeline.reached();
        if let Some(from) = self.active() {
            self.retire(from, reason);
        }
        // What comes now is other media: nothing before it can prove an alignment.
        self.relayed = Marks::new(self.relayed.reach());
        self.timeline.splice_ahead(point.source, point.at, point.ahead);
        self.begin_feed(input, point.number, Beginning::Keyframe { source: point.source }, point.source, now);
        match before {
            Some(before) => self.record_splice(input, reason, before, point.at, "at a keyframe", now),
            None => self.record(Some(input), EventKind::State, "start", "feeds"),
        }
        self.relay_audio_held_before(point);
    }

    fn begin_feed(&mut self, input: usize, next: u64, beginning: Beginning, source: i64, now: Instant) {
        let meter = self.timeline.reached().map(|_| Meter::new(source, now));
        self.feed = Some(Feed { input, next, beginning, since: now, meter });
        self.inputs[input].alignment.unlock();
        self.switch_pending &= input != self.selected;
        self.cut = None;
    }

    fn record_splice(&mut self, input: usize, reason: Reason, before: i64, after: i64, how: &str, now: Instant) {
        *self.splices.entry(reason).or_default() += 1;
        if reason == Reason::Revert {
            self.reverts.push_back(now);
        }
        let detail = format!("to {}, {how}", self.inputs[input].name);
        let event = Event::new(EventKind::Splice, Some(input), reason.name(), detail).with_dts(before, after);
        self.actions.push_back(Action::Record(event));
    }

    // --- exact splices

    /// Compares the lines of the inputs that do not feed with what is relayed.
    pub(super) fn align(&mut self, now: Instant) {
        let active = self.active();
        let search = active.is_none() || now >= self.next_search;
        if search {
            self.next_search = now + SEARCH_INTERVAL;
        }
        for (input, it) in self.inputs.iter_mut().enumerate() {
            let compared = it.link == Link::Up && it.kind != InputKind::Vod && active != Some(input);
            if compared && (search || it.alignment.is_locked()) {
                it.alignment.update(&self.relayed);
            }
        }
    }

    /// After a cut: lets an input go on with the very next tag. True when one does, or will within `exact_wait`.
    pub(super) fn go_on_exactly(&mut self, now: Instant) -> bool {
        let Some(cut) = self.cut else { return false };
        let patience = cut.at + self.policy.exact_wait;
        let mut awaited = false;
        for input in self.order() {
            match self.standing(input) {
                // A return waits for the input that it is to; any other splice takes whoever has the next tag.
                Some(Standing::Has(continuation))
                    if !(awaited && cut.is_return) && self.splice_exactly(input, continuation, cut.reason, now) =>
                {
                    return true;
                }
                Some(Standing::Behind(_)) => awaited |= now < patience,
                Some(Standing::Has(_)) | None => {}
            }
        }
        if awaited {
            self.look_again(patience);
        }
        awaited
    }

    fn standing(&self, input: usize) -> Option<Standing> {
        let it = &self.inputs[input];
        if it.link == Link::Up { it.alignment.standing(&self.relayed) } else { None }
    }

    /// Passes to a healthy input while another feeds: exactly where both carry the same tags, else at a keyframe.
    pub(super) fn change_over(&mut self, input: usize, reason: Reason, now: Instant) {
        match self.standing(input) {
            Some(Standing::Has(continuation)) if self.splice_exactly(input, continuation, reason, now) => {}
            Some(Standing::Behind(by)) if by <= LONGEST_PAUSE => {
                // The feed stops where it stands, and goes on when the input has come that far.
                if let Some(from) = self.active() {
                    self.retire(from, reason);
                }
                self.feed = None;
                self.cut = Some(Cut { reason, at: now, is_return: true });
                self.go_on_exactly(now);
            }
            _ => self.splice_to(input, reason, now),
        }
    }

    /// Goes on in `input`'s ring behind the tags that equal the last ones relayed, once their bytes prove it.
    fn splice_exactly(&mut self, input: usize, to: Continuation, reason: Reason, now: Instant) -> bool {
        let ring = &self.inputs[input].ring;
        let proven = [(Track::Audio, to.audio), (Track::Video, to.video)].into_iter().all(|(track, number)| {
            let Some(number) = number else { return true };
            let bodies = (ring.start()..=number).rev().filter_map(|number| ring.get(number));
            let bodies = bodies.filter(|held| held.track == track).map(|held| &held.body);
            self.last_bodies.equal(track, bodies)
        });
        let first = [to.audio, to.video].into_iter().flatten().min().unwrap_or(ring.end());
        if !proven || first < ring.start() {
            self.inputs[input].alignment.unlock();
            return false;
        }
        let Some(reached) = self.timeline.reached() else { return false };
        if let Some(from) = self.active() {
            self.retire(from, reason);
        }
        self.timeline.splice(0, to.offset);
        let beginning = Beginning::Exact { audio: to.audio, video: to.video };
        self.begin_feed(input, first + 1, beginning, reached - to.offset, now);
        self.record_splice(input, reason, reached, reached, "exactly", now);
        true
    }

    // --- keyframe splices

    /// The input that fed before: a vod goes back to its first item.
    fn retire(&mut self, input: usize, reason: Reason) {
        if self.inputs[input].kind == InputKind::Vod {
            self.inputs[input].disconnected(Link::Restarting);
            self.actions.push_back(Action::Restart(input, reason));
        }
    }

    /// A vod that was told to play, and that something better has overtaken.
    pub(super) fn retire_unneeded_vods(&mut self) {
        let Some(active) = self.active() else { return };
        for input in 0..self.inputs.len() {
            let awaited = input == active || (self.switch_pending && input == self.selected);
            if self.inputs[input].playing && !awaited {
                self.retire(input, Reason::Revert);
            }
        }
    }

    fn splice_point(&mut self, input: usize, now: Instant) -> Option<SplicePoint> {
        let it = &self.inputs[input];
        let newest = it.entry_point(now)?;
        let newest_source = it.ring.get(newest)?.dts;
        let Some(reached) = self.timeline.reached() else {
            return Some(SplicePoint { number: newest, source: newest_source, at: 0, ahead: 0 });
        };
        let settles_at = it.anchor.settles_at()?;
        // A vod is paced by relayd from its first keyframe on: there is no burst to wait for, and no tag to lose.
        let is_vod = it.kind == InputKind::Vod;
        if now < settles_at && !is_vod {
            self.look_again(settles_at);
            return None;
        }
        let offset = self.timeline.wall_offset(&it.anchor)?;
        let placed = newest_source + offset;
        if self.feed.is_some() {
            // Both lie on the same wall clock and differ by jitter only; a line that runs ahead stays ahead, since
            // nothing is missing that could take it back.
            let placed = placed + self.timeline.ahead();
            let at = placed.max(reached + 1);
            let ahead = at - (newest_source + offset);
            return (is_vod || placed > reached - LIVE_TOLERANCE).then_some(SplicePoint {
                number: newest,
                source: newest_source,
                at,
                ahead,
            });
        }
        if placed > reached {
            return Some(SplicePoint { number: newest, source: newest_source, at: placed, ahead: 0 });
        }
        let patience = self.cut.map_or(now, |cut| cut.at.max(settles_at) + KEYFRAME_PATIENCE);
        let due = it.next_key().filter(|&due| due <= patience);
        if let Some(due) = due
            && now < due + KEYFRAME_LATENESS
        {
            self.look_again(due + KEYFRAME_LATENESS);
            return None;
        }
        let at = reached + USUAL_INTERVAL;
        let ahead = at - placed;
        // Media that is repeated moves the line ahead of the wall clock; what piles up becomes latency in every player.
        (ahead <= LARGEST_REPEAT).then_some(SplicePoint { number: newest, source: newest_source, at, ahead })
    }

    /// Audio that arrived before the keyframe but belongs behind it would be missing otherwise.
    fn relay_audio_held_before(&mut self, point: SplicePoint) {
        let Some(feed) = &mut self.feed else { return };
        let (input, ring) = (feed.input, &self.inputs[feed.input].ring);
        let begins_with_video = ring.get(point.number).is_some_and(|held| held.track == Track::Video);
        let first = point.number.saturating_sub(DEEPEST_INTERLEAVE).max(ring.start());
        let belongs = |number: &u64| {
            let held = ring.get(*number);
            begins_with_video && held.is_some_and(|held| held.track == Track::Audio && held.dts >= point.source)
        };
        let early: Vec<_> = (first..point.number).filter(belongs).collect();
        feed.next = point.number + 1;
        self.emit(input, point.number);
        for number in early {
            self.emit(input, number);
        }
    }

    pub(super) fn look_again(&mut self, at: Instant) {
        self.wake_at = self.wake_at.min(at);
    }
}

/// How far behind the feeding input a keyframe of another may seem, in ms.
const LIVE_TOLERANCE: i64 = 100;
/// How long a keyframe that is due is waited for after a cut.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(900);
/// How late a keyframe may be.
const KEYFRAME_LATENESS: Duration = Duration::from_millis(50);
/// How far a repeat may put the line ahead of the wall clock, in ms; beyond it the next keyframe is waited for.
const LARGEST_REPEAT: i64 = 2_500;
/// The step over a cut where the wall clock gives none, in ms: a frame of 25 per second.
const USUAL_INTERVAL: i64 = 40;
/// How many tags before a keyframe are searched for audio that belongs behind it.
const DEEPEST_INTERLEAVE: u64 = 64;
/// How long a healthy feed may pause so that a return to a late input is exact, in ms.
const LONGEST_PAUSE: i64 = 1_000;
/// How often inputs that are not aligned are searched while another feeds.
const SEARCH_INTERVAL: Duration = Duration::from_millis(200);
