//! Returns, switches, holds, standby modes.

use super::*;
use crate::{OnFault, Rate, Revert, Standby};

#[test]
fn a_return_needs_health_for_revert_after_and_happens_at_a_keyframe() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(3_000);
    world.lose(0, Reason::Eof);
    world.run(2_000);
    world.connect(0, Encode::new(1));
    world.run(29_900);
    assert_eq!(world.failover.active(), Some(1));
    world.run(1_200);
    assert_eq!(world.failover.active(), Some(0));
    assert_eq!(world.splices[1].0, "revert");
    assert_eq!(world.splices[1].2 % 1_000, 0);
    assert!(world.largest_gap() <= 1_000);
    world.check_monotonic();
}

#[test]
fn reverts_are_limited_and_losses_are_not() {
    let limited = FailoverPolicy {
        revert_after: Duration::from_secs(1),
        min_dwell: Duration::from_secs(1),
        max_reverts: Rate { count: 2, window: Duration::from_secs(600) },
        ..policy()
    };
    let mut world = World::new(limited, &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(2_000);
    for _ in 0..4 {
        world.lose(0, Reason::Eof);
        world.run(1_500);
        world.connect(0, Encode::new(1));
        world.run(4_000);
    }
    assert_eq!(world.splices.iter().filter(|splice| splice.0 == "revert").count(), 2);
    assert_eq!(world.failover.active(), Some(1));
    assert!(world.states.iter().any(|(_, detail)| detail.contains("max_reverts")));
}

#[test]
fn manual_stays_until_a_switch_and_a_switch_waits_for_its_input() {
    let manual = FailoverPolicy { revert: Revert::Manual, ..policy() };
    let mut world = World::new(manual, &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.run(3_000);
    let now = world.instant();
    world.failover.switch(1, now);
    assert_eq!((world.failover.selected(), world.failover.active()), (1, Some(0)));
    world.run(1_000);
    world.connect(1, Encode::new(2));
    world.run(1_300);
    assert_eq!(world.failover.active(), Some(1));
    assert_eq!(world.splices[0].0, "manual");
    world.lose(1, Reason::Eof);
    world.run(1_500);
    world.connect(1, Encode::new(2));
    world.run(60_000);
    assert_eq!(world.failover.active(), Some(0), "no return by itself");
}

#[test]
fn soft_trouble_leaves_the_input_only_for_a_better_one() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.run(3_000);
    world.feeds[0] = Some(Encode { audio: false, ..Encode::new(1) });
    world.run(5_000);
    assert_eq!(world.failover.active(), Some(0));
    assert_eq!(world.failover.input_state(0, world.instant()), "stalled");
    assert_eq!(world.states.iter().filter(|(reason, _)| *reason == "no_audio").count(), 1, "told once");
    world.connect(1, Encode::new(2));
    world.run(3_500);
    assert_eq!(world.failover.active(), Some(0), "the other has not shown yet that it has what is missing");
    world.run(1_500);
    assert_eq!(world.failover.active(), Some(1));
    assert_eq!(world.splices[0].0, "no_audio");
}

#[test]
fn inter_frames_without_a_keyframe_never_begin_the_programme() {
    let quick = FailoverPolicy { keyframe_overdue: Duration::from_secs(3), ..policy() };
    let mut world = World::new(quick, &[Pull, Pull]);
    for input in 0..2 {
        world.report(input, Report::Connected);
        world.report(input, Report::Bytes(10));
    }
    for header in Encode::new(1).headers() {
        world.report(0, Report::Tag(header));
    }
    for slot in 0..220 {
        world.now = slot * 20;
        world.report(0, Report::Bytes(10));
        world.report(1, Report::Bytes(10));
        for tag in Encode::new(1).slot(world.now).into_iter().filter(|tag| tag.class() != Class::Key) {
            world.report(0, Report::Tag(tag));
        }
        world.report(1, Report::Tag(tag(Kind::Script, 0, vec![])));
    }
    assert!(world.media().next().is_none());
    world.connect(1, Encode::new(2));
    world.run(1_000);
    assert_eq!(world.failover.active(), Some(1));
    assert_eq!(world.media().next().unwrap().class, Class::Key);
}

#[test]
fn audio_alone_begins_after_three_seconds() {
    let mut world = World::new(policy(), &[Pull]);
    world.connect(0, Encode { video: false, ..Encode::new(1) });
    world.run(2_900);
    assert!(world.media().next().is_none());
    world.run(300);
    assert_eq!(world.media().next().unwrap().class, Class::Audio);
}

#[test]
fn a_hold_ends_the_sessions_and_the_programme_comes_back() {
    let short = FailoverPolicy { hold: Duration::from_secs(5), ..policy() };
    let mut world = World::new(short, &[Pull]);
    world.connect(0, Encode::new(1));
    world.run(3_000);
    world.lose(0, Reason::Eof);
    world.run(4_900);
    assert_eq!(world.failover.phase(), Phase::Holding);
    world.run(200);
    assert_eq!(world.failover.phase(), Phase::Starting);
    assert_eq!(world.done.iter().filter(|done| *done == "EndSessions").count(), 1);
    world.connect(0, Encode::new(1));
    world.run(1_500);
    assert_eq!(world.failover.phase(), Phase::Running);
    world.check_monotonic();
}

#[test]
fn a_standby_vod_plays_when_it_is_needed_and_goes_back_to_its_start() {
    let mut world = World::new(FailoverPolicy { revert_after: Duration::from_secs(2), ..policy() }, &[Pull, Vod]);
    world.report(1, Report::Ready);
    world.connect(0, Encode::new(1));
    world.run(3_000);
    assert_eq!(world.failover.input_state(1, world.instant()), "standby");
    assert!(!world.done.contains(&"Play(1)".to_owned()));
    world.lose(0, Reason::Eof);
    assert!(world.done.contains(&"Play(1)".to_owned()));
    world.connect(1, Encode::new(9));
    world.run(1_000);
    assert_eq!(world.failover.active(), Some(1));
    world.connect(0, Encode::new(1));
    world.run(15_000);
    assert_eq!(world.failover.active(), Some(0));
    assert!(world.done.contains(&"Restart(1, Revert)".to_owned()));
    world.check_monotonic();
}

fn vod_that_plays() -> World {
    let mut world = World::new(policy(), &[Vod, Pull]);
    world.report(0, Report::Ready);
    world.connect(0, Encode::new(9));
    world
}

#[test]
fn a_vod_that_waits_for_its_bytes_is_left_for_a_healthy_input() {
    let mut world = vod_that_plays();
    world.connect(1, Encode::new(1));
    world.run(5_000);
    assert_eq!(world.failover.active(), Some(0));
    assert!(world.failover.inputs()[0].bitrate() > 0);
    // Its next tag is there and due in four seconds.
    world.feeds[0] = None;
    let due = world.instant() + Duration::from_secs(4);
    world.report(0, Report::Due(due));
    world.run(4_900);
    assert_eq!((world.failover.active(), world.splices.len()), (Some(0), 0), "it is paced, not silent");
    assert_eq!(world.failover.inputs()[0].bitrate(), 0);
    world.run(1_500);
    assert_eq!((world.failover.active(), world.splices[0].0), (Some(1), "no_bytes"));
    assert!(world.done.contains(&"Restart(0, NoBytes)".to_owned()));
    world.check_monotonic();
}

#[test]
fn a_vod_that_waits_for_its_bytes_goes_on_while_nobody_can_take_its_place() {
    let mut world = vod_that_plays();
    world.run(3_000);
    world.feeds[0] = None;
    world.run(2_000);
    assert_eq!(world.failover.active(), Some(0));
    assert_eq!(world.failover.input_state(0, world.instant()), "stalled");
    world.feeds[0] = Some(Encode::new(9));
    world.run(2_000);
    assert_eq!(world.failover.input_state(0, world.instant()), "live");
    assert_eq!(world.splices.len(), 0);
}

#[test]
fn the_end_of_the_only_vod_finishes_the_relay() {
    let mut world = World::new(policy(), &[Vod]);
    world.report(0, Report::Ready);
    assert!(world.done.contains(&"Play(0)".to_owned()));
    world.connect(0, Encode::new(1));
    world.run(2_000);
    world.feeds[0] = None;
    world.report(0, Report::Ended);
    assert_eq!(world.failover.phase(), Phase::Finished);
    assert_eq!(world.done.iter().filter(|done| *done == "Finish").count(), 1);
}

#[test]
fn cold_inputs_connect_when_they_are_needed() {
    let cold = FailoverPolicy { standby: Standby::Cold, ..policy() };
    let mut world = World::new(cold, &[Pull, Pull, Push]);
    assert_eq!(world.done, ["Start(0)", "Start(2)"]);
    world.connect(0, Encode::new(1));
    world.run(2_000);
    world.lose(0, Reason::Eof);
    assert_eq!(world.done[2..], ["Start(1)"]);
    world.connect(1, Encode::new(2));
    world.run(2_000);
    assert_eq!(world.failover.active(), Some(1));
}

#[test]
fn on_fault_failover_leaves_for_a_single_fault() {
    let timeline = TimelinePolicy { on_fault: OnFault::Failover, ..TimelinePolicy::default() };
    let mut world = World::with_timeline(policy(), &timeline, &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(3_000);
    world.feeds[0] = Some(Encode { base: -2_000, ..Encode::new(1) });
    world.run(1_500);
    assert_eq!(world.failover.active(), Some(1));
    assert_eq!(world.splices[0].0, "dts_faults");
    world.check_monotonic();
}

#[test]
fn a_middle_input_is_returned_to_as_well() {
    let quick = FailoverPolicy { revert_after: Duration::from_secs(2), min_dwell: Duration::ZERO, ..policy() };
    let mut world = World::new(quick, &[Pull, Pull, Pull]);
    for input in 0..3 {
        world.connect(input, Encode::new(input as u8 + 1));
    }
    world.run(2_000);
    world.lose(0, Reason::Eof);
    world.run(1_500);
    world.lose(1, Reason::Eof);
    world.run(1_500);
    assert_eq!(world.failover.active(), Some(2));
    world.connect(1, Encode::new(2));
    world.run(4_000);
    assert_eq!(world.failover.active(), Some(1));
}

#[test]
fn two_connections_to_one_failing_source_do_not_relieve_each_other_for_ever() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    for input in 0..2 {
        world.connect(input, Encode::new(input as u8 + 1));
    }
    world.run(6_000);
    for second in 0..60 {
        for input in 0..2 {
            let mute = Encode { audio: false, ..Encode::new(input as u8 + 1) };
            match world.feeds[input] {
                Some(_) => world.feeds[input] = Some(mute),
                None => world.connect(input, mute),
            }
        }
        world.run(1_000);
        assert!(world.splices.len() <= 1, "{} splices after {second} s", world.splices.len());
    }
}

#[test]
fn a_cold_standby_is_connected_when_the_feed_is_in_trouble() {
    let cold = FailoverPolicy { standby: Standby::Cold, ..policy() };
    let mut world = World::new(cold, &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.run(2_000);
    world.feeds[0] = Some(Encode { audio: false, ..Encode::new(1) });
    world.run(5_000);
    assert!(world.done.contains(&"Start(1)".to_owned()));
    world.connect(1, Encode::new(2));
    world.run(6_000);
    assert_eq!(world.failover.active(), Some(1));
}

#[test]
fn a_switch_to_a_vod_begins_with_its_first_keyframe() {
    let mut world = World::new(policy(), &[Pull, Vod]);
    world.report(1, Report::Ready);
    world.connect(0, Encode::new(1));
    world.run(3_300);
    let now = world.instant();
    world.failover.switch(1, now);
    world.drain();
    world.report(1, Report::Connected);
    for header in Encode::new(9).headers() {
        world.report(1, Report::Tag(header));
    }
    let first = Encode::new(9).slot(0).remove(0);
    let body = first.body.clone();
    world.report(1, Report::Tag(first));
    assert_eq!(world.failover.active(), Some(1));
    assert_eq!(world.media().last().unwrap().body, body);
}
