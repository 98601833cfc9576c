mod exact;
mod oversized;
mod policies;
mod rearranging;
mod resuming;
mod world;

use flv::{Class, Kind};
use proptest::prelude::*;

use self::world::{Encode, World, tag};
use super::*;
use crate::log::{Log, Placed};

fn policy() -> FailoverPolicy {
    FailoverPolicy { stall_timeout: Duration::from_secs(1), ..FailoverPolicy::default() }
}

use InputKind::{Pull, Push, Vod};

#[test]
fn metadata_beyond_its_limits_is_dropped_and_counted() {
    let values = |count: usize| {
        let body = [&b"\x02\0\x0aonMetaData\x03"[..], &b"\0\x01a\x05".repeat(count - 2), b"\0\0\x09"].concat();
        Report::Tag(Tag { kind: Kind::Script, timestamp: 0, body: body.into() })
    };
    let mut world = World::new(FailoverPolicy::default(), &[Pull]);
    world.failover = world.failover.with_metadata_limits(amf0::Limits { values: 20, ..amf0::Limits::default() });
    world.report(0, Report::Connecting);
    world.report(0, Report::Connected);
    for (count, dropped) in [(20, 0), (21, 1), (20, 1)] {
        world.report(0, values(count));
        assert_eq!(world.failover.inputs()[0].counters().dropped_scripts, dropped, "{count} values");
    }
}

#[test]
fn the_programme_begins_at_a_keyframe_with_dts_0_and_headers_first() {
    let mut world = World::new(policy(), &[Pull]);
    assert_eq!(world.done, ["Start(0)"]);
    world.now = 5_300;
    world.connect(0, Encode { base: 77_000, ..Encode::new(1) });
    world.run(1_000);
    let classes: Vec<_> = world.log[..3].iter().map(|placed| (placed.class, placed.dts)).collect();
    assert_eq!(classes, [(Class::VideoHeader, 0), (Class::AudioHeader, 0), (Class::Key, 0)]);
    assert_eq!(world.newest(), 1_280);
    assert_eq!(world.failover.splices().len(), 0);
    world.check_monotonic();
}

#[test]
fn a_relay_without_inputs_waits_for_ever() {
    let mut world = World::new(FailoverPolicy::default(), &[]);
    world.run(5_000);
    world.failover.switch(0, world.instant());
    world.run(100_000);
    assert_eq!((world.failover.phase(), world.done.len(), world.log.len()), (Phase::Starting, 0, 0));
}

#[test]
fn a_dead_primary_is_followed_by_the_standby_at_a_keyframe_on_the_wall_clock() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode { base: 900_000, ..Encode::new(2) });
    world.run(5_400);
    assert_eq!(world.failover.active(), Some(0));
    world.lose(0, Reason::Eof);
    world.run(2_000);
    assert_eq!(world.failover.active(), Some(1));
    // The next keyframe was due within 900 ms and was waited for.
    assert_eq!(world.splices, [("eof", 5_380, 6_000)]);
    assert_eq!(world.newest(), 7_380, "no latency is added");
    assert_eq!(world.headers()[2..], [(Class::VideoHeader, 6_000), (Class::AudioHeader, 6_000)]);
    world.check_monotonic();
}

#[test]
fn the_newest_keyframe_after_the_last_tag_is_taken_when_there_is_one() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(4_600);
    world.feeds[0] = None;
    world.run(1_100);
    assert_eq!(world.splices, [("no_bytes", 4_580, 5_000)], "silence for 1 s, its keyframe is 600 ms old");
    world.run(1_000);
    assert_eq!(world.newest(), 6_680);
    assert!(world.done.contains(&"Restart(0, NoBytes)".to_owned()));
    world.check_monotonic();
}

#[test]
fn repeated_splices_add_no_latency() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(3_100);
    for round in 0..10 {
        let dying = round % 2;
        world.lose(dying, Reason::Connect);
        world.run(1_700);
        world.connect(dying, Encode::new(dying as u8 + 1));
        world.run(1_300);
    }
    assert_eq!(world.failover.splices().values().sum::<u64>(), 10);
    assert!((world.newest() - world.now).abs() <= 60, "{} at {}", world.newest(), world.now);
    world.check_monotonic();
}

#[test]
fn without_a_keyframe_due_the_newest_before_the_cut_is_repeated() {
    // One keyframe in the standby's ring, 2 s old, and none expected.
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.run(2_000);
    world.connect(1, Encode::new(2));
    world.run(20);
    let sparse = Encode { video: false, ..Encode::new(2) };
    world.feeds[1] = Some(sparse);
    world.run(1_500);
    world.lose(0, Reason::Eof);
    world.run(500);
    assert_eq!(world.splices.len(), 1);
    let (_, before, after) = world.splices[0];
    assert_eq!(after - before, 40);
    world.check_monotonic();
}

#[test]
fn the_same_input_comes_back_without_its_timestamps_showing() {
    let mut world = World::new(policy(), &[Pull]);
    world.connect(0, Encode::new(1));
    world.run(4_300);
    world.lose(0, Reason::Connect);
    world.run(2_500);
    assert_eq!(world.failover.phase(), Phase::Holding);
    world.connect(0, Encode { base: -3_000, ..Encode::new(1) });
    world.run(2_000);
    assert_eq!(world.failover.phase(), Phase::Running);
    assert_eq!(world.headers().len(), 2, "their bytes have not changed");
    assert!((world.newest() - world.now).abs() <= 60);
    assert_eq!(world.failover.inputs()[0].counters().reconnects, 1);
    world.check_monotonic();
}

#[test]
fn the_selected_input_gets_its_chance_at_the_start() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(1, Encode::new(2));
    world.run(900);
    assert_eq!(world.failover.active(), None);
    world.run(200);
    assert_eq!(world.failover.active(), Some(1), "stall_timeout without the first");
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(1, Encode::new(2));
    world.lose(0, Reason::HttpStatus);
    world.run(100);
    assert_eq!(world.failover.active(), Some(1), "the first has failed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn whatever_three_inputs_do_the_programme_is_one(
        steps in proptest::collection::vec((0usize..3, 0u8..6, -90_000i64..90_000, 1i64..60), 1..40)
    ) {
        let mut world = World::new(policy(), &[Pull, Pull, Push]);
        let mut headers = [0; 3];
        let mut bases = [const { Vec::new() }; 3];
        for (input, what, shift, slots) in steps {
            let encode = Encode { base: shift, ..Encode::new(input as u8 + 1) };
            match what {
                0 => world.lose(input, Reason::Connect),
                1 => world.feeds[input] = None,
                2 => if let Some(feed) = &mut world.feeds[input] {
                    feed.base += shift;
                    // Steps back by less than 100 ms, also to a line that was left a moment ago, are clamped, tag by
                    // tag; they have a test of their own.
                    while bases[input].iter().any(|base| (-100..0).contains(&(feed.base - base))) {
                        feed.base -= 5_000;
                    }
                    bases[input].push(feed.base);
                },
                _ => if world.feeds[input].is_none() {
                    bases[input] = vec![shift];
                    headers[input] += 2;
                    world.connect(input, encode);
                },
            }
            world.run(slots * 20);
        }
        world.check_monotonic();
        prop_assert!(!world.done.contains(&"EndSessions".to_owned()), "no session ends because of an input");

        // Between two changes of the offset, audio and video of one moment carry the same DTS.
        let mut video: Option<(u8, i64, i64)> = None;
        for placed in world.media() {
            let (source, number) = (placed.body[placed.body.len() - 9], &placed.body[placed.body.len() - 8..]);
            let at = i64::from_be_bytes(number.try_into().unwrap()) * 20;
            if placed.class != Class::Audio {
                video = Some((source, at, placed.dts));
            } else if let Some((name, slot, dts)) = video
                && (name, slot) == (source, at)
            {
                prop_assert!((placed.dts - dts).abs() <= 1, "audio {} video {dts}", placed.dts);
            }
        }

        // Every tag that came is relayed, kept, or counted as left out.
        let mut relayed = 0;
        for (input, headers) in world.failover.inputs().iter().zip(headers) {
            let counters = input.counters();
            let kept = (input.ring.start()..input.ring.end()).filter(|&n| !input.ring.get(n).unwrap().relayed).count();
            let accounted = counters.relayed_tags + counters.passed_over_tags + counters.unstarted_tags + kept as u64;
            prop_assert_eq!(counters.audio_tags + counters.video_tags, accounted + headers);
            relayed += counters.relayed_tags;
        }
        prop_assert_eq!(relayed, world.media().count() as u64);
    }
}
