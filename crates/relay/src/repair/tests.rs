use proptest::prelude::*;

use super::*;

struct Feed {
    repair: Repair,
    start: Instant,
}

impl Feed {
    fn new() -> Self {
        Self { repair: Repair::new(Duration::from_secs(1)), start: Instant::now() }
    }

    fn place(&mut self, track: Track, raw: u32, at_ms: u64) -> Repaired {
        self.repair.place(track, raw, self.start + Duration::from_millis(at_ms))
    }

    /// Both tracks in real time, audio every 20 ms and video every 40 ms, from `from` up to `to` ms, shifted by `shift`.
    fn run(&mut self, from: u64, to: u64, shift: i64) -> Vec<(Track, i64, Repaired)> {
        (from..to)
            .step_by(20)
            .flat_map(|at| {
                let video = at.is_multiple_of(40).then_some((Track::Video, at));
                video.into_iter().chain([(Track::Audio, at)])
            })
            .map(|(track, at)| {
                let raw = (i64::try_from(at).unwrap() + shift) as u32;
                (track, i64::try_from(at).unwrap(), self.place(track, raw, at))
            })
            .collect()
    }
}

fn faults(placed: &[(Track, i64, Repaired)]) -> Vec<FaultKind> {
    placed.iter().filter_map(|(_, _, repaired)| repaired.fault.map(|fault| fault.kind)).collect()
}

fn offsets(placed: &[(Track, i64, Repaired)]) -> Vec<i64> {
    let mut all: Vec<_> = placed.iter().map(|(_, at, repaired)| repaired.dts - at).collect();
    all.dedup();
    all
}

#[test]
fn a_clean_source_keeps_its_dts() {
    let mut feed = Feed::new();
    let placed = feed.run(0, 5_000, 0);
    assert_eq!(offsets(&placed), [0]);
    assert!(faults(&placed).is_empty());
}

#[test]
fn a_rollback_is_one_fault_and_one_new_offset_for_both_tracks() {
    let mut feed = Feed::new();
    feed.run(0, 7_000, 0);
    let after = feed.run(7_000, 9_000, -5_000);
    assert_eq!(faults(&after), [FaultKind::Rollback]);
    assert_eq!(offsets(&after).len(), 1);
    assert!((0..=60).contains(&offsets(&after)[0]), "{:?}", offsets(&after));
}

/// A file of 7 s that a server loops for hours, each time from 0, over a network that delays some tags.
#[test]
fn a_source_that_loops_does_not_run_ahead_of_the_clock() {
    for jitter in [0, 30, 200] {
        let mut feed = Feed::new();
        let (mut delay, mut ahead, mut faults) = (0, 0, 0);
        for at in 0..7_000_000u64 {
            let (video, audio) = (at.is_multiple_of(40), (at * 3 % 64) < 3);
            for track in [video.then_some(Track::Video), audio.then_some(Track::Audio)].into_iter().flatten() {
                delay = (delay * 5 + at) % (jitter + 1);
                let placed = feed.place(track, (at % 7_000) as u32, at + delay);
                faults += usize::from(placed.fault.is_some());
                ahead = placed.dts - at.cast_signed();
            }
        }
        assert_eq!(faults, 999);
        assert!((0..=60).contains(&ahead), "{ahead} ms ahead with {jitter} ms of jitter");
    }
}

#[test]
fn a_jump_of_a_day_is_closed() {
    let mut feed = Feed::new();
    feed.run(0, 7_000, 0);
    let after = feed.run(7_000, 9_000, 86_400_000);
    assert_eq!(faults(&after), [FaultKind::Jump]);
    assert!((0..=60).contains(&offsets(&after)[0]));
}

#[test]
fn a_true_gap_is_kept() {
    let mut feed = Feed::new();
    feed.run(0, 2_000, 0);
    let after = feed.run(12_000, 13_000, 0);
    assert!(faults(&after).is_empty());
    assert_eq!(offsets(&after), [0]);
}

#[test]
fn a_small_step_back_is_clamped_with_the_offset_kept() {
    let mut feed = Feed::new();
    feed.run(0, 2_000, 0);
    let clamped = feed.place(Track::Video, 1_940, 2_000);
    assert_eq!((clamped.dts, clamped.fault.unwrap().kind), (1_960, FaultKind::Repeat));
    assert_eq!(feed.place(Track::Video, 2_040, 2_040), Repaired { dts: 2_040, fault: None, wrapped: false });
}

#[test]
fn equal_dts_are_legal() {
    let mut feed = Feed::new();
    feed.run(0, 100, 0);
    for _ in 0..3 {
        assert_eq!(feed.place(Track::Audio, 100, 100).fault, None);
    }
}

#[test]
fn the_track_that_steps_later_keeps_the_old_offset_and_is_no_second_fault() {
    let mut feed = Feed::new();
    feed.run(0, 7_000, 0);
    let mut all = Vec::new();
    for at in (7_000u32..9_000).step_by(20) {
        if at % 40 == 0 {
            all.push((Track::Video, i64::from(at), feed.place(Track::Video, at - 5_000, u64::from(at))));
        }
        let audio = if at < 7_300 { at } else { at - 5_000 };
        all.push((Track::Audio, i64::from(at), feed.place(Track::Audio, audio, u64::from(at))));
    }
    assert_eq!(faults(&all), [FaultKind::Rollback]);
    let settled: Vec<_> = all.iter().filter(|(_, at, _)| *at >= 7_400).copied().collect();
    assert_eq!(offsets(&settled).len(), 1, "one common offset afterwards");
}

#[test]
fn a_lone_outlier_does_not_move_the_line() {
    let mut feed = Feed::new();
    feed.run(0, 4_000, 0);
    assert_eq!(feed.place(Track::Video, 2_000, 4_000).fault.unwrap().kind, FaultKind::Rollback);
    let after = feed.run(4_040, 6_000, 0);
    assert!(faults(&after).is_empty());
    assert_eq!(offsets(&after), [0]);
}

#[test]
fn wraps_are_told_but_no_faults() {
    for edge in [1u64 << 31, 1 << 32] {
        let mut feed = Feed::new();
        let base = i64::try_from(edge).unwrap() - 1_000;
        let mut last = None;
        for at in (0..3_000u32).step_by(20) {
            let raw = ((base + i64::from(at)) as u64 % edge) as u32;
            let placed = feed.place(if at % 40 == 0 { Track::Video } else { Track::Audio }, raw, u64::from(at));
            assert_eq!(placed.fault, None, "at {at}");
            assert!(last.is_none_or(|last| placed.dts == last + 20));
            last = Some(placed.dts);
        }
    }
}

#[test]
fn skew_is_told_once_after_three_seconds() {
    let mut feed = Feed::new();
    let mut told = Vec::new();
    for at in (0..8_000u32).step_by(40) {
        told.extend(feed.place(Track::Video, at + 2_000, u64::from(at)).fault);
        told.extend(feed.place(Track::Audio, at, u64::from(at)).fault);
    }
    let kinds: Vec<_> = told.iter().map(|fault| fault.kind).filter(|&kind| kind == FaultKind::Skew).collect();
    assert_eq!(kinds.len(), 1);
}

#[test]
fn a_steady_disorder_is_told_once() {
    let mut feed = Feed::new();
    let mut told = Vec::new();
    for at in (0..10_000u32).step_by(40) {
        told.extend(feed.place(Track::Video, at + 600, u64::from(at)).fault);
        told.extend(feed.place(Track::Audio, at, u64::from(at)).fault);
    }
    let kinds: Vec<_> = told.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Interleave]);
}

proptest! {
    #[test]
    fn whatever_comes_the_line_never_goes_back_on_a_track(
        steps in proptest::collection::vec((any::<bool>(), any::<u32>(), 0u64..3_000, 0u8..4), 1..300)
    ) {
        let mut feed = Feed::new();
        let (mut at, mut raw) = (0, 0u32);
        let mut last = [None::<i64>; 2];
        for (video, random, wait, how) in steps {
            at += wait;
            raw = match how { 0 => random, 1 => raw.wrapping_add(random % 100), 2 => raw.wrapping_sub(random % 300), _ => raw.wrapping_add(40) };
            let track = if video { Track::Video } else { Track::Audio };
            let dts = feed.place(track, raw, at).dts;
            let last = &mut last[usize::from(video)];
            prop_assert!(last.is_none_or(|last| dts >= last));
            *last = Some(dts);
        }
    }
}
