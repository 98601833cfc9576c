//! From the feeding input's ring to the log.

use std::{sync::Arc, time::Instant};

use flv::Class;

use super::{Action, Beginning, Failover};
use crate::{alignment::Mark, log::Placed, repair::Track, ring::Held};

impl Failover {
    pub(super) fn relay_what_is_due(&mut self, now: Instant) {
        while let Some(feed) = &mut self.feed {
            let ring = &self.inputs[feed.input].ring;
            feed.next = feed.next.max(ring.start());
            let Some(held) = ring.get(feed.next) else {
                // Caught up with the live edge: from here on tags go out as they come.
                feed.meter = None;
                return;
            };
            if let Some(due) = feed.meter.as_ref().and_then(|meter| meter.due(held.dts, now)) {
                self.look_again(due);
                return;
            }
            let (input, number) = (feed.input, feed.next);
            feed.next += 1;
            if feed.beginning.includes(number, held) {
                self.emit(input, number);
            }
        }
    }

    /// Puts a tag of the input's ring on the timeline and hands it out, behind the headers that have changed.
    pub(super) fn emit(&mut self, input: usize, number: u64) {
        let it = &mut self.inputs[input];
        let Some(held) = it.ring.get(number).cloned() else { return };
        it.ring.relay(number);
        it.counters.relayed_tags += 1;
        let dts = self.timeline.place(held.track, held.dts, held.arrived);
        self.emit_headers(&held, dts);
        self.relayed.push(held.track, Mark { print: held.print, dts, raw: Some(held.raw), number: 0 });
        self.last_bodies.push(held.track, held.body.clone());
        self.actions.push_back(Action::Emit(Placed { class: held.class, dts, body: held.body }));
    }

    /// Headers go out when their bytes differ from those sent, stamped with the tag they precede: those of a track
    /// before that track's next tag, those of a track that had none at once.
    fn emit_headers(&mut self, held: &Held, dts: i64) {
        if std::ptr::eq(Arc::as_ptr(&held.headers), self.settled.as_ptr()) {
            return;
        }
        let new = &held.headers;
        let candidates = [
            (Class::Metadata, &new.metadata, true),
            (Class::VideoHeader, &new.video, held.track == Track::Video),
            (Class::AudioHeader, &new.audio, held.track == Track::Audio),
        ];
        let mut settled = true;
        for (class, body, belongs_here) in candidates {
            let (Some(body), Some(sent)) = (body, self.sent.slot(class)) else { continue };
            // Tags from before the bound was lowered may carry metadata that is now too large.
            if sent.as_ref() == Some(body) || body.len() > self.ring_policy.max_header() {
                continue;
            }
            if belongs_here || sent.is_none() {
                *sent = Some(body.clone());
                self.actions.push_back(Action::Emit(Placed { class, dts, body: body.clone() }));
            } else {
                settled = false;
            }
        }
        if settled {
            self.settled = Arc::downgrade(new);
        }
    }
}

impl Beginning {
    /// Whether the feed takes this tag of its ring.
    fn includes(self, number: u64, held: &Held) -> bool {
        match (self, held.track) {
            (Self::Keyframe { source }, Track::Audio) => held.dts >= source,
            (Self::Keyframe { .. }, Track::Video) => true,
            (Self::Exact { audio, .. }, Track::Audio) => audio.is_none_or(|relayed| number > relayed),
            (Self::Exact { video, .. }, Track::Video) => video.is_none_or(|relayed| number > relayed),
        }
    }
}
