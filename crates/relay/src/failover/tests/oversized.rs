//! Headers that are too large, and what belongs to them.

use super::{
    world::{Encode, World, tag},
    *,
};

/// Headers of 8 KiB at most.
const SMALL: LogPolicy = LogPolicy { max_time: Duration::from_secs(10), max_bytes: 64 << 10 };
const TOO_LARGE: usize = (8 << 10) + 1;

impl World {
    fn bound(&mut self, ring: LogPolicy) {
        self.held.set_policy(ring);
        self.failover.set_policies(policy(), &TimelinePolicy::default(), ring);
        self.drain();
    }

    fn header(&mut self, kind: Kind, begin: &[u8], len: usize) {
        let mut body = begin.to_vec();
        body.resize(len, 0);
        self.report(0, Report::Tag(tag(kind, 0, body)));
    }

    /// The first input connects and begins with this tag.
    fn begin_with(&mut self, first: Tag) {
        let encode = Encode::new(1);
        self.report(0, Report::Connecting);
        self.report(0, Report::Connected);
        for tag in [first].into_iter().chain(encode.headers()) {
            self.report(0, Report::Tag(tag));
        }
        self.feeds[0] = Some(encode);
    }

    /// How many audio and video tags have been relayed.
    fn relayed(&self) -> (usize, usize) {
        let audio = self.media().filter(|placed| placed.class == Class::Audio).count();
        (audio, self.media().count() - audio)
    }

    fn lost(&self) -> (u64, u64) {
        let counters = self.failover.inputs()[0].counters();
        (counters.oversized_headers, counters.unstarted_tags)
    }
}

const AUDIO: &[u8] = &[0xAF, 0, 0x13];
const VIDEO: &[u8] = &[0x17, 0, 0, 0, 0, 1];
const METADATA: &[u8] = b"\x02\0\x0aonMetaData\x0c";

/// onMetaData with a string of that length.
fn metadata(len: usize) -> Tag {
    let text = u32::try_from(len).unwrap().to_be_bytes();
    tag(Kind::Script, 0, [METADATA, &text, &vec![b'a'; len]].concat())
}

#[test]
fn audio_of_a_header_that_is_not_taken_waits_for_one_that_is() {
    let mut world = World::new(policy(), &[Pull]);
    world.bound(SMALL);
    world.connect(0, Encode::new(1));
    world.run(1_000);
    assert_eq!((world.relayed(), world.lost()), ((50, 25), (0, 0)));
    world.header(Kind::Audio, AUDIO, TOO_LARGE);
    world.run(1_000);
    assert_eq!((world.relayed(), world.lost()), ((50, 50), (1, 50)));
    world.header(Kind::Audio, AUDIO, 10);
    world.run(1_000);
    assert_eq!((world.relayed(), world.lost()), ((100, 75), (1, 50)));
    assert_eq!(world.headers()[2..], [(Class::AudioHeader, 2_000)]);
}

#[test]
fn the_next_connection_does_not_wait_for_an_audio_header() {
    let mut world = World::new(policy(), &[Pull]);
    world.bound(SMALL);
    world.connect(0, Encode::new(1));
    world.header(Kind::Audio, AUDIO, TOO_LARGE);
    world.lose(0, Reason::Eof);
    world.report(0, Report::Connecting);
    world.report(0, Report::Connected);
    world.report(0, Report::Tag(Encode::new(1).headers().remove(0)));
    world.feeds[0] = Some(Encode::new(1));
    world.run(1_000);
    assert_eq!((world.relayed().0, world.lost()), (50, (1, 0)));
}

#[test]
fn audio_that_waits_is_missed() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.bound(SMALL);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(1_000);
    world.header(Kind::Audio, AUDIO, TOO_LARGE);
    world.run(10_000);
    assert_eq!(world.failover.active(), Some(1));
    assert_eq!(world.splices[0].0, "no_audio");
}

#[test]
fn a_bound_that_is_lowered_below_the_metadata_costs_nothing_else() {
    let mut world = World::new(policy(), &[Pull]);
    world.begin_with(metadata(60_000));
    world.run(1_500);
    assert!(world.held.headers().metadata.is_some());
    world.bound(SMALL);
    assert!(world.held.headers().metadata.is_none());
    world.run(1_500);
    assert_eq!((world.relayed(), world.lost(), world.largest_gap()), ((150, 75), (1, 0), 40));
    assert!(world.held.headers().video.is_some() && world.held.entry_point().is_some());
    // The same again is known to have gone, also once there is room for it.
    world.report(0, Report::Tag(metadata(60_000)));
    world.run(20);
    assert!(world.held.headers().metadata.is_none());
    world.bound(LogPolicy::default());
    world.report(0, Report::Tag(metadata(60_000)));
    world.run(40);
    assert!(world.held.headers().metadata.is_some());
}

#[test]
fn a_bound_that_is_lowered_below_the_metadata_leaves_inputs_their_tags() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(1, Encode::new(2));
    world.begin_with(metadata(60_000));
    world.run(2_000);
    world.failover.switch(1, world.instant());
    world.run(1_040);
    assert_eq!(world.failover.active(), Some(1));
    let starts = |world: &World| world.failover.inputs().iter().map(|input| input.ring.start()).collect::<Vec<_>>();
    let before = starts(&world);
    world.bound(LogPolicy { max_bytes: 256 << 10, ..SMALL });
    assert_eq!(starts(&world), before);
    // The keyframe came with the metadata, and goes without.
    world.failover.switch(0, world.instant());
    world.drain();
    assert_eq!((world.failover.active(), world.splices.len()), (Some(0), 2));
    assert!(world.held.headers().metadata.is_none());
}

#[test]
fn a_bound_that_is_lowered_below_a_sequence_header_lets_its_track_wait() {
    for (kind, begin, relayed, waited) in [(Kind::Video, VIDEO, (100, 25), 25), (Kind::Audio, AUDIO, (50, 50), 50)] {
        let mut world = World::new(policy(), &[Pull]);
        world.connect(0, Encode::new(1));
        world.header(kind, begin, TOO_LARGE);
        world.run(1_000);
        assert_eq!((world.relayed(), world.lost()), ((50, 25), (0, 0)), "{kind:?}");
        world.bound(SMALL);
        world.run(1_000);
        assert_eq!((world.relayed(), world.lost()), (relayed, (1, waited)), "{kind:?}");
        world.header(kind, begin, 10);
        world.run(1_000);
        assert_eq!(world.headers().last().unwrap().1, 2_000, "{kind:?}");
        let (audio, video) = relayed;
        assert_eq!((world.relayed(), world.lost().1), ((audio + 50, video + 25), waited), "{kind:?}");
    }
}
