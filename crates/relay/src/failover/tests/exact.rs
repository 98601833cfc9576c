//! Inputs that carry the same encode: nothing lost, nothing twice.

use super::*;

/// The numbers of the relayed tags of one track, as the encode counts them.
fn numbers(world: &World, audio: bool) -> Vec<i64> {
    let of_track = world.media().filter(|placed| (placed.class == Class::Audio) == audio);
    of_track.map(|placed| i64::from_be_bytes(placed.body[placed.body.len() - 8..].try_into().unwrap())).collect()
}

pub(super) fn check_unbroken(world: &World) {
    for (audio, step) in [(true, 1), (false, 2)] {
        let numbers = numbers(world, audio);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + step), "audio {audio}: {numbers:?}");
    }
    let offsets: Vec<_> = world
        .media()
        .map(|placed| {
            let number = i64::from_be_bytes(placed.body[placed.body.len() - 8..].try_into().unwrap());
            placed.dts - number * 20
        })
        .collect();
    assert!(offsets.windows(2).all(|pair| pair[0] == pair[1]), "the DTS step: {offsets:?}");
    world.check_monotonic();
}

#[test]
fn a_kill_at_any_moment_costs_no_tag() {
    for moment in 0..100 {
        for (late_primary, late_standby) in [(0, 0), (0, 700), (1_300, 0), (0, 2_500)] {
            let mut world = World::new(policy(), &[Pull, Pull]);
            world.now = 10_000;
            world.connect_late(0, Encode::new(1), late_primary);
            world.run(1_000);
            world.connect_late(1, Encode { base: 500_000, ..Encode::new(1) }, late_standby);
            world.run(3_000 + moment * 20);
            assert_eq!(world.failover.aligned_with(1), Some(0), "{moment} {late_primary} {late_standby}");
            world.lose(0, Reason::Eof);
            world.run(4_000);
            assert_eq!(world.failover.active(), Some(1));
            assert_eq!(world.splices.len(), 1);
            check_unbroken(&world);
            assert_eq!(world.headers().len(), 2);
            let newest = *numbers(&world, true).last().unwrap() * 20;
            assert!(newest >= world.now - late_standby - 40, "{newest} at {}", world.now);
        }
    }
}

#[test]
fn a_silent_primary_is_followed_exactly() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(1));
    world.run(5_340);
    world.feeds[0] = None;
    world.run(3_000);
    assert_eq!(world.splices[0].0, "no_bytes");
    check_unbroken(&world);
}

#[test]
fn the_same_input_goes_on_exactly_when_its_server_still_has_the_last_tags() {
    let mut world = World::new(policy(), &[Pull]);
    world.connect(0, Encode::new(1));
    world.run(5_900);
    world.lose(0, Reason::Connect);
    world.run(60);
    world.connect(0, Encode { base: 12_345, ..Encode::new(1) });
    world.run(2_000);
    assert_eq!(world.splices.len(), 1);
    check_unbroken(&world);
}

#[test]
fn a_return_is_exact_too() {
    let quick = FailoverPolicy { revert_after: Duration::from_secs(2), min_dwell: Duration::ZERO, ..policy() };
    for late in [0, 600] {
        let mut world = World::new(quick.clone(), &[Pull, Pull]);
        world.now = 10_000;
        world.connect_late(0, Encode::new(1), late);
        world.run(1_000);
        world.connect(1, Encode { base: 7_000, ..Encode::new(1) });
        world.run(3_300);
        world.lose(0, Reason::Eof);
        world.run(1_000);
        world.connect_late(0, Encode { base: 99_000, ..Encode::new(1) }, late);
        world.run(6_000);
        assert_eq!(world.failover.active(), Some(0), "late {late}");
        assert_eq!(world.splices.len(), 2);
        check_unbroken(&world);
    }
}

#[test]
fn a_standby_too_far_behind_is_not_waited_for() {
    let impatient = FailoverPolicy { exact_wait: Duration::from_millis(500), ..policy() };
    let mut world = World::new(impatient, &[Pull, Pull]);
    world.now = 10_000;
    world.connect(0, Encode::new(1));
    world.connect_late(1, Encode::new(1), 3_000);
    world.run(4_000);
    world.lose(0, Reason::Eof);
    world.run(3_000);
    assert_eq!(world.failover.active(), Some(1));
    world.check_monotonic();
}

#[test]
fn another_encode_is_taken_at_a_keyframe() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(5_000);
    assert_eq!(world.failover.aligned_with(1), None);
}
