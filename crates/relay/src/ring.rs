//! The newest media tags of one input.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;
use flv::Class;

use crate::{
    alignment::Print,
    cost,
    headers::{HeaderSet, Headers},
    policy::LogPolicy,
    repair::Track,
};

/// A media tag on its input's repaired line.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Its track.
    pub(crate) track: Track,
    /// Its class; never a header.
    pub(crate) class: Class,
    /// Its place on the input's repaired line, in ms.
    pub(crate) dts: i64,
    /// When it came.
    pub(crate) arrived: Instant,
    /// Its timestamp as it came.
    pub(crate) raw: u32,
    /// What identifies its body.
    pub(crate) print: Print,
    /// Its body.
    pub(crate) body: Bytes,
    /// It has gone into the log.
    pub(crate) relayed: bool,
    /// The headers in force with it.
    pub(crate) headers: Arc<HeaderSet>,
}

/// A bounded ring of an input's tags, addressed by a number that never repeats.
#[derive(Debug)]
pub(crate) struct Ring {
    policy: LogPolicy,
    held: VecDeque<Held>,
    /// In force for the tags to come.
    headers: Headers,
    first: u64,
    /// What the tags cost, and once each what the headers in force cost that they carry, or the next one will.
    bytes: usize,
    newest_key: Option<u64>,
    /// Tags let go of that had not been relayed.
    passed_over: u64,
}

impl Ring {
    /// An empty ring. Bounded by bytes (bodies and headers plus their bookkeeping) and by media time.
    pub(crate) fn new(policy: LogPolicy) -> Self {
        let mut ring = Self {
            policy,
            held: VecDeque::new(),
            headers: Headers::default(),
            first: 0,
            bytes: 0,
            newest_key: None,
            passed_over: 0,
        };
        ring.bytes = cost_between(ring.headers.current(), None);
        ring
    }

    /// The headers in force, which the next tag is to carry.
    pub(crate) fn headers(&self) -> &Arc<HeaderSet> {
        self.headers.current()
    }

    /// Takes note of a header tag. False when it is too large to be taken for one; then none of its class is in force,
    /// since what comes behind it is not for the one before.
    pub(crate) fn observe_header(&mut self, class: Class, body: &[u8]) -> bool {
        let fits = body.len() <= self.policy.max_header();
        self.change_headers(|headers| {
            if fits {
                headers.observe(class, body);
            } else {
                headers.forget(class);
            }
        });
        self.trim();
        fits
    }

    fn change_headers(&mut self, change: impl FnOnce(&mut Headers)) {
        let newest = self.held.back().map(|newest| &newest.headers);
        self.bytes -= cost_between(self.headers.current(), newest);
        change(&mut self.headers);
        self.bytes += cost_between(self.headers.current(), newest);
    }

    /// Appends a tag, which carries the headers in force, and lets go of what exceeds the bounds.
    pub(crate) fn push(&mut self, held: Held) {
        debug_assert!(Arc::ptr_eq(&held.headers, self.headers.current()), "headers that are not in force");
        self.bytes += cost(&held);
        if held.class == Class::Key {
            self.newest_key = Some(self.end());
        }
        self.held.push_back(held);
        self.trim();
    }

    /// Bounds it anew. Headers that have become too large are in force no more: they would take the room of the tags to
    /// come. Tags that need such a sequence header leave. Returns the classes of which none is in force any more.
    pub(crate) fn set_policy(&mut self, policy: LogPolicy) -> Vec<Class> {
        self.policy = policy;
        let max = policy.max_header();
        let in_need = |held: &Held| held.headers.larger_than(max).any(|class| class != Class::Metadata);
        for _ in 0..self.held.iter().rposition(in_need).map_or(0, |newest| newest + 1) {
            self.let_go_of_oldest();
        }
        let refused: Vec<_> = self.headers().larger_than(max).collect();
        self.change_headers(|headers| refused.iter().for_each(|&class| headers.forget(class)));
        self.trim();
        refused
    }

    fn trim(&mut self) {
        let newest = self.held.back().map_or(0, |newest| newest.dts);
        let max_time = self.policy.reach_ms();
        while let Some(oldest) = self.held.front() {
            if self.bytes <= self.policy.max_bytes && newest.saturating_sub(oldest.dts) <= max_time {
                break;
            }
            self.let_go_of_oldest();
        }
        cost::fit(&mut self.held);
    }

    fn let_go_of_oldest(&mut self) {
        let Some(oldest) = self.held.pop_front() else { return };
        // Headers change one after the other: what the next tag does not carry, no later one does.
        let next = self.held.front().map_or(self.headers.current(), |next| &next.headers);
        self.bytes -= cost(&oldest) + cost_between(&oldest.headers, Some(next));
        self.passed_over += u64::from(!oldest.relayed);
        self.first += 1;
    }

    /// Forgets everything, headers included; numbers go on.
    pub(crate) fn clear(&mut self) {
        self.first = self.end();
        self.newest_key = None;
        self.passed_over += self.held.iter().filter(|held| !held.relayed).count() as u64;
        self.held = VecDeque::new();
        self.headers = Headers::default();
        self.bytes = cost_between(self.headers.current(), None);
    }

    /// Goes on counting where another ring ends; what that one holds is passed over.
    pub(crate) fn count_on(&mut self, before: &Self) {
        self.passed_over = before.passed_over + before.held.iter().filter(|held| !held.relayed).count() as u64;
    }

    /// The number of the oldest tag held.
    pub(crate) fn start(&self) -> u64 {
        self.first
    }

    /// The number that the next tag gets.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    /// The tag of that number, while it is held.
    pub(crate) fn get(&self, number: u64) -> Option<&Held> {
        let index = number.checked_sub(self.first)?;
        self.held.get(usize::try_from(index).ok()?)
    }

    /// The tag of that number goes into the log.
    pub(crate) fn relay(&mut self, number: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(held) = index.and_then(|index| self.held.get_mut(index)) {
            held.relayed = true;
        }
    }

    /// Tags let go of that had not been relayed: those of a standby, and those before a splice.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The number of the newest keyframe, while it is held.
    pub(crate) fn newest_key(&self) -> Option<u64> {
        self.newest_key.filter(|&number| number >= self.first)
    }

    /// The number of the newest tag, while one is held.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.end().checked_sub(1).filter(|&number| number >= self.first)
    }
}

/// What a tag costs without its headers. A flood of tags of two bytes is bookkeeping and nothing else.
fn cost(held: &Held) -> usize {
    cost::of_bytes(held.body.len()) + cost::of_place::<Held>()
}

/// What a set costs where its neighbour is held as well.
fn cost_between(set: &Arc<HeaderSet>, neighbour: Option<&Arc<HeaderSet>>) -> usize {
    match neighbour {
        Some(neighbour) if Arc::ptr_eq(set, neighbour) => 0,
        Some(neighbour) => set.cost_beside(neighbour),
        None => set.cost_beside(&HeaderSet::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn ring(max_bytes: usize) -> Ring {
        Ring::new(LogPolicy { max_time: Duration::from_secs(1), max_bytes })
    }

    fn push(ring: &mut Ring, dts: i64, len: usize) {
        ring.push(Held {
            track: Track::Video,
            class: Class::Inter,
            dts,
            arrived: Instant::now(),
            raw: dts as u32,
            print: Print::of(Track::Video, b""),
            relayed: false,
            body: Bytes::from(vec![0; len]),
            headers: Arc::clone(ring.headers()),
        });
    }

    /// What `bytes` says, counted from nothing.
    fn recount(ring: &Ring) -> usize {
        let (mut sets, mut headers) = (HashSet::new(), HashSet::new());
        let mut bytes = ring.held.iter().map(cost).sum::<usize>();
        for set in ring.held.iter().map(|held| &held.headers).chain([ring.headers()]) {
            if sets.insert(Arc::as_ptr(set)) {
                bytes += size_of::<HeaderSet>() + cost::ALLOCATION;
            }
            for header in [&set.metadata, &set.video, &set.audio].into_iter().flatten() {
                if headers.insert(header.as_ptr()) {
                    bytes += cost::of_bytes(header.len());
                }
            }
        }
        bytes
    }

    #[test]
    fn bytes_and_time_bound_it_and_numbers_stay() {
        let mut ring = ring(20_000);
        for n in 0..100 {
            push(&mut ring, n * 40, 10);
        }
        assert_eq!((ring.start(), ring.end()), (74, 100));
        assert_eq!(ring.get(99).unwrap().dts, 99 * 40);
        assert!(ring.get(73).is_none());
        push(&mut ring, 100 * 40, 15_000);
        assert!(ring.bytes <= 20_000);
        push(&mut ring, 101 * 40, 30_000);
        assert_eq!(ring.start(), ring.end(), "a tag beyond the bound is not held at all");
        ring.clear();
        assert_eq!((ring.end(), ring.bytes), (102, recount(&ring)));
    }

    #[test]
    fn headers_take_room_from_tags() {
        let mut ring = ring(100_000);
        for n in 0..50 {
            assert!(ring.observe_header(Class::VideoHeader, &[n; 10_000]));
            push(&mut ring, 0, 10);
        }
        assert!(ring.bytes <= 100_000);
        assert!((8..10).contains(&(ring.end() - ring.start())), "{} tags", ring.end() - ring.start());
    }

    #[test]
    fn what_is_too_large_for_a_header_leaves_none_in_force() {
        let mut ring = ring(80_000);
        assert!(ring.observe_header(Class::AudioHeader, b"aac"));
        assert!(ring.observe_header(Class::VideoHeader, &[1; 10_000]));
        assert!(!ring.observe_header(Class::VideoHeader, &[1; 10_001]));
        let want = HeaderSet { audio: Some(Bytes::from_static(b"aac")), ..HeaderSet::default() };
        assert_eq!((&**ring.headers(), ring.bytes), (&want, recount(&ring)));
    }

    #[test]
    fn a_bound_that_is_lowered_below_a_header_leaves_the_room_to_tags() {
        let mut ring = ring(800_000);
        ring.observe_header(Class::Metadata, &[1; 100_000]);
        push(&mut ring, 0, 10);
        ring.observe_header(Class::VideoHeader, &[1; 10_000]);
        push(&mut ring, 0, 10);
        ring.observe_header(Class::Metadata, &[1; 5_000]);
        push(&mut ring, 0, 10);
        let refused = ring.set_policy(LogPolicy { max_bytes: 80_000, ..ring.policy });
        assert_eq!((refused, ring.start(), ring.passed_over()), (vec![], 2, 2), "none that is too large is in force");
        let refused = ring.set_policy(LogPolicy { max_bytes: 60_000, ..ring.policy });
        assert_eq!((refused, ring.start()), (vec![Class::VideoHeader], 3));
        let want = HeaderSet { metadata: Some(Bytes::from(vec![1; 5_000])), ..HeaderSet::default() };
        assert_eq!((&**ring.headers(), ring.bytes), (&want, recount(&ring)));
        push(&mut ring, 0, 40_000);
        assert!(ring.get(3).is_some());
    }

    #[test]
    fn a_flood_of_tiny_tags_leaves_no_room_behind() {
        let mut ring = ring(1 << 20);
        for _ in 0..20_000 {
            push(&mut ring, 0, 2);
        }
        assert!(ring.held.len() > 4_000);
        for _ in 0..200 {
            push(&mut ring, 0, 10_000);
        }
        assert!(ring.held.len() < 110 && ring.held.capacity() < 300, "{} places", ring.held.capacity());
    }

    proptest! {
        /// `(what comes, its size)`.
        #[test]
        fn what_it_counts_is_what_it_holds(
            tags in proptest::collection::vec((0u8..12, 0usize..3_000, 0i64..300), 1..200),
        ) {
            let (mut ring, mut dts) = (ring(20_000), 0);
            for (n, (draw, len, step)) in tags.into_iter().enumerate() {
                dts += step;
                let header = vec![n as u8; len];
                match draw {
                    0 => { ring.observe_header(Class::Metadata, &header); }
                    1 | 2 => { ring.observe_header(Class::VideoHeader, &header); }
                    3 => { ring.observe_header(Class::AudioHeader, &header); }
                    4 if len < 500 => ring.clear(),
                    5 => { ring.set_policy(LogPolicy { max_bytes: 4_000 + 8 * len, ..ring.policy }); }
                    _ => push(&mut ring, dts, len),
                }
                prop_assert_eq!(ring.bytes, recount(&ring));
                prop_assert!(ring.bytes <= ring.policy.max_bytes);
                prop_assert!(ring.held.capacity() <= 2 * ring.held.len() + cost::SPARE);
            }
        }
    }
}
