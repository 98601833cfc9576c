//! Other lists of inputs and other policies, while the programme runs.

use super::{exact::check_unbroken, *};
use crate::Standby;
use Was::{Changed, New, Same};

impl World {
    fn rearrange(&mut self, list: &[Was]) {
        let listed = list.iter().enumerate().map(|(n, &was)| {
            let name = match was {
                New => format!("new{n}"),
                Same(old) | Changed(old) => self.failover.inputs()[old].name.clone(),
            };
            Listed { name, kind: Pull, was }
        });
        let listed = listed.collect();
        let before = std::mem::take(&mut self.feeds);
        let feed_of = |was: &Was| if let Same(old) = was { before[*old] } else { None };
        self.feeds = list.iter().map(feed_of).collect();
        self.failover.rearrange(listed, self.instant());
        self.drain();
    }

    fn name_of(&self, input: Option<usize>) -> &str {
        input.map_or("none", |input| &self.failover.inputs()[input].name)
    }
}

/// Two connected inputs; in0 feeds and in1 carries the same encode, or another.
fn two(same: bool) -> World {
    let mut world = World::new(policy(), &[Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.connect(1, Encode { base: 500_000, ..Encode::new(if same { 1 } else { 2 }) });
    world.run(3_300);
    world
}

#[test]
fn inputs_that_stay_notice_nothing_of_a_new_order() {
    let mut world = two(true);
    assert_eq!(world.failover.aligned_with(1), Some(0));
    let before: Vec<_> = world.failover.inputs().iter().map(|input| (input.counters(), input.ring.end())).collect();
    world.rearrange(&[Same(1), New, Same(0)]);
    let after: Vec<_> = world.failover.inputs().iter().map(|input| (input.counters(), input.ring.end())).collect();
    assert_eq!((&after[2], &after[0]), (&before[0], &before[1]));
    assert_eq!((world.failover.active(), world.failover.aligned_with(0)), (Some(2), Some(2)));
    assert_eq!(world.done, ["Start(0)", "Start(1)", "Start(1)"], "the new one alone is started");
    world.run(3_000);
    assert!(world.splices.is_empty());
    // The new order is a reason to go to the one that is first now, as any higher input.
    world.run(60_000);
    assert_eq!(world.name_of(world.failover.active()), "in1");
    assert_eq!(world.splices[0].0, "revert");
    check_unbroken(&world);
}

#[test]
fn a_feed_that_is_taken_away_or_changed_is_followed_exactly_by_the_same_encode() {
    for list in [&[Same(1)][..], &[Changed(0), Same(1)], &[New, Same(1)]] {
        let mut world = two(true);
        world.rearrange(list);
        assert_eq!(world.name_of(world.failover.active()), "in1", "{list:?}");
        world.run(2_000);
        assert_eq!(world.splices.iter().map(|splice| splice.0).collect::<Vec<_>>(), ["manual"], "{list:?}");
        check_unbroken(&world);
        assert!((world.newest() - world.now).abs() <= 60);
    }
}

#[test]
fn a_feed_that_is_taken_away_is_followed_at_a_keyframe_by_another_encode() {
    let mut world = two(false);
    world.rearrange(&[Same(1)]);
    world.run(2_000);
    assert_eq!(world.splices, [("manual", 3_280, 4_000)]);
    assert!((world.newest() - world.now).abs() <= 60);
    world.check_monotonic();
}

#[test]
fn without_another_input_the_sessions_are_held_for_the_one_to_come() {
    let mut world = two(false);
    world.rearrange(&[]);
    assert_eq!((world.failover.active(), world.failover.phase()), (None, Phase::Holding));
    world.run(5_000);
    world.rearrange(&[New]);
    world.connect(0, Encode::new(3));
    world.run(2_000);
    assert_eq!(world.failover.phase(), Phase::Running);
    assert!((world.newest() - world.now).abs() <= 60, "the wall clock has gone on");
    assert!(!world.done.contains(&"EndSessions".to_owned()));
    world.rearrange(&[]);
    world.run(61_000);
    assert_eq!(world.done.last().map(String::as_str), Some("EndSessions"), "for no longer than `hold`");
    world.check_monotonic();
}

#[test]
fn a_changed_input_counts_on() {
    let mut world = two(false);
    let before = world.failover.inputs()[1].counters();
    world.rearrange(&[Same(0), Changed(1)]);
    assert_eq!(world.failover.input_state(1, world.instant()), "idle");
    world.connect(1, Encode::new(3));
    let after = world.failover.inputs()[1].counters();
    assert!(after.video_tags > before.video_tags && after.bytes > before.bytes, "{before:?} {after:?}");
    assert_eq!(after.reconnects, before.reconnects + 1);
    let seen = before.audio_tags + before.video_tags - 2;
    assert!(after.passed_over_tags >= seen, "what was held of the connection before has been passed over");
    assert!(world.splices.is_empty());
    world.check_monotonic();
}

#[test]
fn a_choice_of_the_operator_follows_its_input() {
    for (list, selected) in [
        (&[Same(2), Same(1), Same(0)][..], "in1"),
        (&[Same(0), Changed(1)], "in1"),
        (&[Same(2), Same(0)], "in2"),
        (&[], "none"),
    ] {
        let mut world = World::new(policy(), &[Pull, Pull, Pull]);
        for input in 0..3 {
            world.connect(input, Encode::new(input as u8));
        }
        world.run(2_000);
        world.failover.switch(1, world.instant());
        world.drain();
        world.run(2_000);
        assert_eq!(world.name_of(world.failover.active()), "in1");
        world.rearrange(list);
        let by_name = world.failover.inputs().get(world.failover.selected()).map_or("none", |input| &input.name);
        assert_eq!(by_name, selected, "{list:?}");
    }
    // Nobody chose: the first of the new list it is.
    let mut world = two(false);
    world.rearrange(&[Same(1), Same(0)]);
    assert_eq!(world.failover.selected(), 0);
    assert_eq!(world.name_of(world.failover.active()), "in0");
}

#[test]
fn a_switch_that_waits_for_its_input_goes_on_waiting() {
    let mut world = World::new(policy(), &[Pull, Pull, Pull]);
    world.connect(0, Encode::new(1));
    world.run(2_000);
    world.failover.switch(2, world.instant());
    world.drain();
    world.rearrange(&[Same(2), Same(0)]);
    assert_eq!((world.failover.selected(), world.failover.active()), (0, Some(1)));
    world.connect(0, Encode::new(2));
    world.run(1_500);
    assert_eq!((world.failover.active(), world.splices[0].0), (Some(0), "manual"));
    world.check_monotonic();
}

#[test]
fn policies_change_under_a_feed_that_goes_on() {
    let mut world = two(false);
    let cold = FailoverPolicy { standby: Standby::Cold, ..policy() };
    let short = LogPolicy { max_time: Duration::from_secs(1), ..LogPolicy::default() };
    world.failover.set_policies(cold, &TimelinePolicy::default(), short);
    world.failover.tick(world.instant());
    world.drain();
    assert_eq!(world.done.last().map(String::as_str), Some("Stop(1)"));
    let ring = &world.failover.inputs()[0].ring;
    assert!(ring.end() - ring.start() <= 80, "{} tags in a second", ring.end() - ring.start());
    let patient = FailoverPolicy { stall_timeout: Duration::from_secs(2), ..policy() };
    world.failover.set_policies(patient, &TimelinePolicy::default(), short);
    world.feeds[0] = None;
    world.run(1_900);
    assert_eq!(world.failover.active(), Some(0));
    world.run(300);
    assert_eq!(world.failover.active(), None);
    // A step that `max_jump` allows now.
    let wide = TimelinePolicy { max_jump: Duration::from_secs(30), ..TimelinePolicy::default() };
    let mut world = two(false);
    world.failover.set_policies(policy(), &wide, LogPolicy::default());
    world.feeds[0] = Some(Encode { base: 20_000, ..Encode::new(1) });
    world.run(40);
    assert_eq!(world.failover.inputs()[0].faults().get(crate::FaultKind::Jump), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn whatever_becomes_of_the_list_the_programme_is_one(
        steps in proptest::collection::vec((0usize..4, 0u8..8, proptest::collection::vec(0usize..8, 0..4), 1i64..40), 1..30)
    ) {
        let mut world = World::new(policy(), &[Pull, Pull]);
        let mut headers = vec![0; 2];
        for (input, what, list, slots) in steps {
            let exists = input < world.feeds.len();
            match what {
                0 | 1 => {
                    let count = world.feeds.len();
                    let mut taken = vec![];
                    let list: Vec<_> = list.into_iter().map(|old| {
                        let free = old / 2 < count && !taken.contains(&(old / 2));
                        taken.push(old / 2);
                        match (free, old % 2) { (false, _) => New, (true, 0) => Same(old / 2), (true, _) => Changed(old / 2) }
                    }).collect();
                    let old = |was: &Was| if let Same(old) | Changed(old) = was { headers[*old] } else { 0 };
                    headers = list.iter().map(old).collect();
                    world.rearrange(&list);
                }
                2 if exists => world.lose(input, Reason::Connect),
                3 if exists => world.failover.switch(input, world.instant()),
                _ if exists && world.feeds[input].is_none() => {
                    headers[input] += 2;
                    world.connect(input, Encode::new(input as u8 % 2));
                }
                _ => {}
            }
            world.drain();
            world.run(slots * 20);
        }
        world.check_monotonic();
        prop_assert!(!world.done.contains(&"EndSessions".to_owned()), "no session ends because of a list");
        // Every tag of the inputs that are still listed is relayed (a repeat counts again), kept, or counted as left out.
        for (input, headers) in world.failover.inputs().iter().zip(headers) {
            let counters = input.counters();
            let kept = (input.ring.start()..input.ring.end()).filter(|&n| !input.ring.get(n).unwrap().relayed).count();
            let accounted = counters.relayed_tags + counters.passed_over_tags + counters.unstarted_tags + kept as u64;
            prop_assert!(counters.audio_tags + counters.video_tags <= accounted + headers, "{counters:?} {kept}");
        }
    }
}
