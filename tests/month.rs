//! Fifty days in seconds: the whole path of decisions, from inputs over timeline and log to the bytes of sessions, on a
//! clock of its own. What the sessions write is read as the specification, SRS, librtmp and nginx-rtmp read it.
//!
//! Far from the edges of the clocks most frames are left out; with `MONTH=full` in the environment none is
//! (`cargo xtask soak --month` does that, with optimisation).

// Tests may unwrap; without `cfg(test)` items the lint does not see that all of this is one.
#![allow(clippy::unwrap_used)]

#[path = "month/encode.rs"]
mod encode;
#[path = "month/output.rs"]
mod output;
#[path = "month/plan.rs"]
mod plan;
#[path = "month/world.rs"]
mod world;

use std::{fs, sync::Mutex};

use encode::Encode;
use output::EDGES;
use plan::{DAY, Look, Plan, Step};
use testkit::readers::Personality;
use world::{Density, Splice, World};

const PRIMARY: usize = 0;
const TWIN: usize = 1;
const OTHER: usize = 2;

/// Outputs of which two stay from the start, one of them never in step, and one from shortly before the first edge; the others come and go around
/// each edge of these two's timestamps and of the inputs'.
#[test]
fn fifty_days_are_one_programme_to_every_reader() {
    let _turn = TURN.lock();
    let edges = [
        (0x00FF_FFFF, "24 bits"),
        (SECOND_ZERO + 0x00FF_FFFF, "24 bits of the second"),
        (10 * DAY, "32 bits of the primary"),
        (1 << 31, "31 bits, and the wraps of the twin and the other"),
        (SECOND_ZERO + (1 << 31), "31 bits of the second"),
        (1 << 32, "32 bits, and the second wrap of the twin"),
        (SECOND_ZERO + (1 << 32), "32 bits of the second"),
    ];
    let mut plan = Plan::default();
    plan.dense(0, 30_000);
    plan.at(0, [Step::Connect(PRIMARY)]);
    plan.at(500, [Step::Join("first".into()), Step::JoinAlone("alone".into())]);
    for (n, (at, name)) in edges.into_iter().enumerate() {
        around(&mut plan, at, name, n == 0);
    }
    faults(&mut plan);
    for day in 1..=50 {
        plan.at(day * DAY, [Step::Look(Look::Midnight)]);
    }

    let mut world = World::new(&[
        Encode { base: (1 << 32) - 10 * DAY, ..Encode::new(1) },
        Encode { bits: 31, ..Encode::new(1) },
        Encode { base: 1 << 31, ..Encode::new(2) },
    ]);
    let mut memory = Vec::new();
    plan.run(&mut world, 50 * DAY, |world, what| match what {
        Look::Midnight => {
            let leads = world.take_leads();
            assert!(*leads.start() >= 0 && *leads.end() <= 60, "day {}: {leads:?}", memory.len() + 1);
            memory.push(resident());
        }
        Look::Splices(expected) => assert_eq!(std::mem::take(&mut world.splices), expected),
    });

    assert_eq!(world.splices, [], "the last look was at the last edge");
    assert_eq!(world.faults, [("jump", 1), ("rollback", 2)].into());
    let expected = ["connect", "start", "no_bytes"];
    assert!(world.told.iter().all(|(_, reason)| expected.contains(reason)), "{:?}", world.told);
    for (name, zero) in [("first", 0), ("alone", 0), ("before 24 bits", SECOND_ZERO)] {
        let (reached, days) = (world.output(name).reached(), 50 * DAY - zero);
        assert!(reached > 1 << 32 && days - 31_000 < reached as u64, "{name} stands at {reached}");
        let in_step = if name == "alone" { &[][..] } else { &EDGES };
        assert_eq!(world.output(name).edges_in_step(), in_step, "{name}");
    }
    let ways = world.ways();
    assert!(ways.0 > 10_000 && ways.1 > 10_000, "{ways:?}: in step, and by themselves");
    // The edges of the first day have filled all there is to fill.
    let (settled, largest) = (memory[1], memory.iter().max().unwrap());
    assert!(*largest <= settled + 1_024, "KiB at the end of each day: {memory:?}");
    assert!(world.largest_log < 400_000, "the log held {} bytes", world.largest_log);
    println!("{} tags; {ways:?} writes; resident {settled} KiB after two days, {largest} KiB at most", world.tags);
}

/// The programme follows the clock of the source that feeds. Splices neither add to what that has come to nor take from
/// it, and neither does the difference of two ordinary clocks end a feed.
#[test]
fn a_clock_that_drifts_is_followed_and_splices_add_nothing() {
    let _turn = TURN.lock();
    for ppm in [100, -100] {
        let mut world = World::new(&[Encode { ppm, ..Encode::new(1) }, Encode::new(2)]);
        let mut plan = Plan::default();
        plan.dense(0, 30_000);
        plan.at(0, [Step::Connect(0), Step::Connect(1)]);
        plan.at(500, [Step::Join("one".into())]);
        // The encode that drifts is lost every other day, and returned to on the days between.
        for day in 1..=10 {
            plan.dense(day * DAY - 20_000, day * DAY + 50_000);
            let step = if day % 2 == 1 { Step::Lose(0) } else { Step::Connect(0) };
            plan.at(day * DAY + day * 130, [Step::Look(Look::Midnight), step]);
        }
        let (mut day, mut drift) = (0, 0);
        plan.run(&mut world, 10 * DAY + 50_000, |world, _| {
            let leads = world.take_leads();
            let before = drift;
            day += 1;
            drift += (day % 2) * DAY as i64 * ppm / 1_000_000;
            let expected = before.min(drift) - 110..=before.max(drift) + 110;
            assert!(
                expected.contains(leads.start()) && expected.contains(leads.end()),
                "{ppm} ppm, day {day}: {leads:?} ms ahead of the wall clock, expected {expected:?}"
            );
        });
        let told: Vec<_> = world.told.iter().map(|(_, reason)| *reason).filter(|&reason| reason != "start").collect();
        assert_eq!(told, ["connect"; 5]);
        assert_eq!(world.splices, [(1, "connect", false), (0, "revert", false)].repeat(5));
    }
}

/// A source whose clock is a tenth too fast is left for one whose clock is right; where none is, it is followed.
#[test]
fn a_clock_that_is_wrong_is_a_reason_to_leave() {
    let _turn = TURN.lock();
    let wrong = Encode { ppm: 100_000, ..Encode::new(1) };
    let mut world = World::new(&[wrong, Encode::new(2)]);
    world.connect(0);
    world.run_to(300_000);
    assert_eq!(world.told, [(Some(0), "start"), (Some(0), "clock")]);
    assert_eq!(world.splices, []);
    let leads = world.take_leads();
    assert!((29_000..31_000).contains(leads.end()), "a tenth of five minutes, not {leads:?}");

    world.connect(1);
    world.run_to(320_000);
    assert_eq!(world.splices, [(1, "clock", false)]);
    world.take_leads();
    world.run_to(340_000);
    let leads = world.take_leads();
    assert!((30_000..33_000).contains(leads.start()) && leads.start() == leads.end(), "{leads:?}");
}

/// A first timestamp beyond 24 bits needs the extended field, in every chunk of its message. librtmp's reader is not
/// among those that can read that; no server that takes publishers in is known to use it.
#[test]
fn a_picture_that_comes_after_five_hours_is_read_whole() {
    let _turn = TURN.lock();
    let mut world = World::new(&[Encode::new(1)]);
    world.mute_video(0, true);
    world.connect(0);
    world.run_to(10_000);
    world.join_as("one", &[Personality::Spec, Personality::Srs, Personality::Nginx]);
    world.set_density(Density::Sparse(30_000));
    world.run_to(18_000_000);
    world.set_density(Density::Full);
    world.mute_video(0, false);
    world.run_to(18_060_000);
    let output = world.output("one");
    assert!(output.messages() > 4_000 && output.reached() > 0x0100_0000, "{output:?}");
}

/// Around an edge every frame exists, outputs join before and after it, and the programme goes over to the twin, back,
/// on to the other encode and back again.
fn around(plan: &mut Plan, edge: u64, name: &str, stays: bool) {
    use Step::{Connect, Join, Leave, Lose};
    let (before, after) = (format!("before {name}"), format!("after {name}"));
    plan.dense(edge - 20_000, edge + 100_000);
    plan.at(edge - 15_000, [Connect(TWIN), Connect(OTHER)]);
    plan.at(edge - 3_000, [Join(before.clone())]);
    plan.at(edge - 1_000, [Lose(PRIMARY)]);
    plan.at(edge + 3_000, [Join(after.clone())]);
    plan.at(edge + 5_000, [Connect(PRIMARY)]);
    plan.at(edge + 45_000, [Lose(PRIMARY), Lose(TWIN)]);
    plan.at(edge + 50_000, [Connect(PRIMARY), Connect(TWIN)]);
    plan.at(edge + 95_000, [Lose(TWIN), Lose(OTHER), Leave(after), Step::Look(Look::Splices(&AROUND_AN_EDGE))]);
    if !stays {
        plan.at(edge + 95_000, [Leave(before)]);
    }
}

const AROUND_AN_EDGE: [Splice; 5] = [
    (TWIN, "connect", true),
    (PRIMARY, "revert", true),
    // The twin follows the primary at once.
    (TWIN, "connect", true),
    (OTHER, "connect", false),
    (PRIMARY, "revert", false),
];

/// What else happens on the way.
fn faults(plan: &mut Plan) {
    use Step::{ChangeMetadata, Connect, Lose, Shift, Stall};
    // The primary's clock steps back, an hour ahead, and back again.
    plan.dense(5 * DAY, 5 * DAY + 60_000);
    for (ms, by) in [(20_000, -5_000), (30_000, 3_600_000), (40_000, -1_800_000)] {
        plan.at(5 * DAY + ms, [Shift(PRIMARY, by)]);
    }
    // Metadata has a chunk stream to itself: no delta is larger.
    plan.at(12 * DAY, [ChangeMetadata(PRIMARY)]);
    plan.at(40 * DAY, [ChangeMetadata(PRIMARY)]);
    // The primary falls silent, and is left when it has been for a minute.
    plan.dense(15 * DAY, 15 * DAY + 140_000);
    plan.at(15 * DAY + 10_000, [Connect(TWIN)]);
    plan.at(15 * DAY + 20_000, [Stall(PRIMARY)]);
    plan.at(15 * DAY + 85_000, [Connect(PRIMARY)]);
    plan.at(15 * DAY + 130_000, [Lose(TWIN), Step::Look(Look::Splices(&AFTER_SILENCE))]);
    // Nothing feeds for a while.
    plan.dense(20 * DAY, 20 * DAY + 60_000);
    plan.at(20 * DAY + 20_000, [Lose(PRIMARY)]);
    plan.at(20 * DAY + 40_000, [Connect(PRIMARY)]);
    plan.at(20 * DAY + 50_000, [Step::Look(Look::Splices(&AFTER_NOTHING))]);
}

const AFTER_SILENCE: [Splice; 2] = [(TWIN, "no_bytes", false), (PRIMARY, "revert", true)];
const AFTER_NOTHING: [Splice; 1] = [(PRIMARY, "connect", false)];

/// The zero of the output that joins shortly before the first edge: its keyframe.
const SECOND_ZERO: u64 = (0x00FF_FFFF - 3_000) / 1_000 * 1_000;

/// Memory is the whole process's, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
