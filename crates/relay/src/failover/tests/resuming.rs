//! Decisions that are made anew behind a log, as after a panic.

use super::{exact::check_unbroken, *};

impl World {
    /// The decisions are lost; the log stays. Every connection ends.
    fn crash(&mut self) {
        let now = self.instant();
        let inputs: Vec<_> = self.failover.inputs().iter().map(|input| (input.name.clone(), input.kind)).collect();
        let policy = self.failover.policy.clone();
        let mut anew = Failover::new(policy, &TimelinePolicy::default(), LogPolicy::default(), inputs, now);
        anew.resume(&self.failover, &self.held, Some(Reason::Panic), now);
        self.failover = anew;
        self.feeds.fill(None);
        self.drain();
    }
}

#[test]
fn the_same_encode_goes_on_with_the_next_tag() {
    // The server begins with its newest keyframe; from eight tags behind it on there is a proof.
    for moment in 16..50 {
        let mut world = World::new(policy(), &[Pull]);
        world.connect(0, Encode::new(1));
        world.run(3_000 + moment * 20);
        world.crash();
        world.run(300.min((49 - moment) * 20));
        world.connect(0, Encode { base: 90_000, ..Encode::new(1) });
        world.run(2_000);
        assert_eq!(world.splices.iter().map(|splice| splice.0).collect::<Vec<_>>(), ["panic"]);
        assert_eq!(world.failover.splices().get(&Reason::Panic), Some(&1));
        assert_eq!(world.headers().len(), 2, "the headers in force are known");
        check_unbroken(&world);
        assert!((world.newest() - world.now).abs() <= 60);
    }
}

#[test]
fn another_encode_goes_on_at_a_keyframe_on_the_wall_clock() {
    let mut world = World::new(policy(), &[Pull]);
    world.connect(0, Encode::new(1));
    world.run(3_500);
    world.crash();
    world.run(1_700);
    assert_eq!(world.failover.phase(), Phase::Holding);
    world.connect(0, Encode { base: -70_000, ..Encode::new(2) });
    world.run(2_000);
    assert_eq!(world.splices, [("panic", 3_480, 5_000)]);
    assert_eq!(world.headers()[2..], [(Class::VideoHeader, 5_000), (Class::AudioHeader, 5_000)]);
    assert!((world.newest() - world.now).abs() <= 60);
    world.check_monotonic();
}

#[test]
fn numbers_and_the_operators_choice_outlive_it() {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(2_000);
    world.failover.switch(1, world.instant());
    world.drain();
    world.run(2_000);
    let before: Vec<_> = world.failover.inputs().iter().map(Input::counters).collect();
    world.crash();
    assert_eq!(world.done[2..], ["Start(0)", "Start(1)"]);
    for (input, before) in world.failover.inputs().iter().zip(&before) {
        let after = input.counters();
        assert_eq!((after.bytes, after.relayed_tags), (before.bytes, before.relayed_tags));
        let came = after.audio_tags + after.video_tags - 2;
        assert_eq!(came, after.relayed_tags + after.passed_over_tags, "what was held counts as passed over");
    }
    assert_eq!(world.failover.selected(), 1);
    assert_eq!(
        world.failover.splices().iter().map(|(reason, n)| (reason.name(), *n)).collect::<Vec<_>>(),
        [("manual", 1)]
    );
    world.connect(0, Encode::new(1));
    world.connect(1, Encode::new(2));
    world.run(1_000);
    assert_eq!(world.failover.inputs()[0].counters().reconnects, 1);
}

#[test]
fn a_hold_counts_from_the_first_panic_on() {
    let mut world = World::new(policy(), &[Pull]);
    world.connect(0, Encode::new(1));
    world.run(3_000);
    for _ in 0..5 {
        world.crash();
        world.run(9_000);
        assert_eq!(world.failover.phase(), Phase::Holding);
    }
    world.crash();
    assert!(!world.done.contains(&"EndSessions".to_owned()));
    world.run(16_000);
    assert_eq!(world.done.last().map(String::as_str), Some("EndSessions"));
    // What comes then begins behind all that was.
    world.crash();
    assert_eq!(world.failover.phase(), Phase::Starting);
    world.connect(0, Encode::new(1));
    world.run(1_000);
    assert!((world.newest() - world.now).abs() <= 60);
    world.check_monotonic();
}

#[test]
fn a_log_that_holds_nothing_any_more_still_tells_how_far_it_was() {
    let mut world = World::new(policy(), &[Pull]);
    world.connect(0, Encode::new(1));
    world.run(3_000);
    world.held.set_policy(LogPolicy { max_bytes: 0, ..LogPolicy::default() });
    assert_eq!(world.held.start(), world.held.end(), "something is held");
    world.crash();
    world.connect(0, Encode::new(1));
    world.run(2_500);
    assert_eq!(world.splices[0].0, "panic");
    assert!(world.splices[0].2 > 2_980);
    world.check_monotonic();
}

#[test]
fn before_the_first_tag_there_is_nothing_to_resume() {
    let mut world = World::new(policy(), &[Pull]);
    world.run(200);
    world.crash();
    world.connect(0, Encode::new(1));
    world.run(500);
    assert_eq!((world.log[0].dts, world.splices.len()), (0, 0));
}
