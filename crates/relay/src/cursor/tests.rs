use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{Placed, policy::LogPolicy};

const ALL: Batch = Batch { tags: u64::MAX, bytes: usize::MAX };

struct Bench {
    log: Log,
    now: Instant,
    dts: i64,
}

impl Bench {
    fn new() -> Self {
        let policy = LogPolicy { max_time: Duration::from_secs(20), max_bytes: 32 << 20 };
        let mut bench = Self { log: Log::new(policy), now: Instant::now(), dts: 0 };
        bench.push(Class::VideoHeader, 10);
        bench.push(Class::AudioHeader, 4);
        bench
    }

    fn push(&mut self, class: Class, len: usize) {
        self.log.push(&Placed { class, dts: self.dts, body: Bytes::from(vec![0; len]) }, self.now);
    }

    /// `ms` of 25 fps video with a keyframe per second, every second frame disposable, one audio tag per frame.
    fn run(&mut self, ms: i64) {
        for _ in 0..ms / 40 {
            let class = match self.dts % 1_000 {
                0 => Class::Key,
                at if at % 80 == 0 => Class::Disposable,
                _ => Class::Inter,
            };
            self.push(class, 1_000);
            self.push(Class::Audio, 100);
            self.dts += 40;
            self.now += Duration::from_millis(40);
        }
    }

    fn read(&self, cursor: &mut Cursor) -> (Reading, Vec<(i64, usize)>) {
        let mut got = Vec::new();
        let reading = cursor.read(&self.log, self.now, ALL, |wire, dts| got.push((dts, wire.payload_len())));
        (reading, got)
    }
}

fn cursor(policy: OutputPolicy) -> Cursor {
    Cursor::new(policy)
}

fn video(got: &[(i64, usize)]) -> Vec<i64> {
    got.iter().filter(|(_, len)| *len == 1_000).map(|(dts, _)| *dts).collect()
}

fn audio(got: &[(i64, usize)]) -> Vec<i64> {
    got.iter().filter(|(_, len)| *len == 100).map(|(dts, _)| *dts).collect()
}

#[test]
fn a_session_begins_with_headers_stamped_with_the_newest_keyframe() {
    let mut bench = Bench::new();
    bench.run(2_400);
    let mut cursor = cursor(OutputPolicy::default());
    let (_, got) = bench.read(&mut cursor);
    assert_eq!(got[..3], [(2_000, 10), (2_000, 4), (2_000, 1_000)]);
    assert_eq!(cursor.base(), Some(2_000));
    assert_eq!(cursor.skipped(), 0);
    bench.run(40);
    assert_eq!(bench.read(&mut cursor).1, [(2_400, 1_000), (2_400, 100)]);
}

#[test]
fn a_batch_ends_where_it_is_full_and_goes_on_there() {
    let mut bench = Bench::new();
    bench.run(1_000);
    let mut cursor = cursor(OutputPolicy::default());
    let mut tags = 0;
    loop {
        let mut got = 0;
        let batch = Batch { tags: 7, bytes: usize::MAX };
        let reading = cursor.read(&bench.log, bench.now, batch, |_, _| got += 1);
        assert!(got <= 7);
        tags += got;
        if matches!(reading, Reading::Read { more: false, .. }) {
            break;
        }
    }
    assert_eq!(tags, 2 + 50);
}

#[test]
fn a_gop_older_than_any_lag_makes_no_joiner_late() {
    let mut bench = Bench::new();
    bench.push(Class::Key, 1_000);
    for _ in 0..300 {
        bench.dts += 40;
        bench.now += Duration::from_millis(40);
        bench.push(Class::Disposable, 1_000);
    }
    let mut cursor = cursor(OutputPolicy { max_lag_bytes: 10_000, ..OutputPolicy::default() });
    assert_eq!(video(&bench.read(&mut cursor).1).len(), 301);
    assert_eq!(cursor.skipped(), 0);
}

#[test]
fn the_stages_of_lag() {
    let policy = OutputPolicy { max_lag: Duration::from_secs(5), ..OutputPolicy::default() };
    for (silent_ms, what) in [(800, "in time"), (1_200, "late"), (6_400, "too late"), (11_000, "lost")] {
        let mut bench = Bench::new();
        bench.run(1_000);
        let mut cursor = cursor(policy);
        bench.read(&mut cursor);
        bench.run(silent_ms);
        let (reading, got) = bench.read(&mut cursor);
        let frames = usize::try_from(silent_ms / 40).unwrap();
        match what {
            "in time" => assert_eq!((got.len(), cursor.skipped()), (frames * 2, 0)),
            "late" => {
                assert_eq!(audio(&got).len(), frames, "audio is whole");
                assert!(video(&got).iter().all(|dts| dts % 1_000 == 0 || dts % 1_000 % 80 != 0), "no disposable frame");
                assert!(video(&got).contains(&1_040) && cursor.skipped() > 0);
            }
            "too late" => {
                assert_eq!(audio(&got).len(), frames, "audio is whole");
                assert_eq!(video(&got)[0], 7_000, "the newest keyframe ahead");
                assert!(!cursor.is_skipping());
            }
            _ => assert_eq!(reading, Reading::Lagged),
        }
    }
}

#[test]
fn without_a_keyframe_ahead_video_waits_for_the_next() {
    let policy = OutputPolicy { max_lag: Duration::from_millis(400), ..OutputPolicy::default() };
    let mut bench = Bench::new();
    bench.run(1_000);
    bench.run(200);
    let mut cursor = cursor(policy);
    bench.read(&mut cursor);
    bench.run(480);
    assert_eq!(video(&bench.read(&mut cursor).1), [] as [i64; 0]);
    assert!(cursor.is_skipping());
    bench.run(320);
    bench.read(&mut cursor);
    bench.run(80);
    assert_eq!(video(&bench.read(&mut cursor).1)[0], 2_000);
    assert!(!cursor.is_skipping());
}

#[test]
fn bytes_count_like_time() {
    let policy = OutputPolicy { max_lag_bytes: 10_000, ..OutputPolicy::default() };
    let mut bench = Bench::new();
    bench.run(1_040);
    let mut cursor = cursor(policy);
    bench.read(&mut cursor);
    bench.run(400);
    bench.read(&mut cursor);
    assert!(cursor.is_skipping(), "11 KB unread");
    bench.run(1_000);
    assert_eq!(bench.read(&mut cursor).0, Reading::Lagged);
}

/// 28 KB a second: each flush finds far more unread than `max_lag_bytes` allows of lag.
#[test]
fn what_waits_for_its_flush_is_no_lag() {
    let flush = Flush::Every(Duration::from_secs(3));
    let policy = OutputPolicy { flush, max_lag_bytes: 40_000, ..OutputPolicy::default() };
    let mut bench = Bench::new();
    bench.run(1_000);
    let mut cursor = cursor(policy);
    bench.read(&mut cursor);
    for _ in 0..5 {
        bench.run(3_000);
        assert!(!cursor.is_lost(&bench.log, bench.now));
        let (_, got) = bench.read(&mut cursor);
        assert_eq!((got.len(), cursor.skipped(), cursor.is_skipping()), (150, 0, false));
    }
    // What a flush has left behind is.
    bench.run(3_400);
    bench.read(&mut cursor);
    assert!(cursor.skipped() > 0 && !cursor.is_skipping(), "11 KB late: without disposable frames");
    bench.run(3_000 + 1_600);
    let (_, got) = bench.read(&mut cursor);
    assert_eq!(audio(&got).len(), 115, "audio is whole");
    assert!(video(&got).len() < 30, "45 KB late: from the newest keyframe on: {got:?}");
    bench.run(3_000 + 3_000);
    assert!(cursor.is_lost(&bench.log, bench.now), "84 KB late");
    assert_eq!(bench.read(&mut cursor).0, Reading::Lagged);
}

#[test]
fn on_lag_reconnect_gives_the_session_up_at_max_lag() {
    let policy = OutputPolicy { on_lag: OnLag::Reconnect, ..OutputPolicy::default() };
    let mut bench = Bench::new();
    bench.run(1_000);
    let mut cursor = cursor(policy);
    bench.read(&mut cursor);
    bench.run(5_000);
    assert_eq!(bench.read(&mut cursor).0, Reading::Lagged);
    cursor.rejoin();
    assert_eq!(bench.read(&mut cursor).1[2], (5_000, 1_000));
}

#[test]
fn what_the_log_let_go_of_is_counted_and_video_goes_on_at_a_keyframe() {
    let mut bench = Bench::new();
    bench.log = Log::new(LogPolicy { max_time: Duration::from_secs(1), max_bytes: 32 << 20 });
    bench.run(40);
    let mut cursor = cursor(OutputPolicy { max_lag: Duration::from_secs(60), ..OutputPolicy::default() });
    bench.read(&mut cursor);
    bench.run(2_400);
    let (_, got) = bench.read(&mut cursor);
    assert_eq!(video(&got)[0], 2_000);
    assert_eq!(usize::try_from(cursor.skipped()).unwrap() + got.len(), 60 * 2);
}

#[test]
fn a_session_of_one_programme_reads_nothing_of_the_next() {
    let mut bench = Bench::new();
    bench.run(200);
    let programme = bench.log.programme();
    let (mut begun, mut waiting) = (cursor(OutputPolicy::default()), cursor(OutputPolicy::default()));
    bench.read(&mut begun);
    bench.run(120);
    bench.log.end_programme();
    bench.dts = 1_000;
    bench.run(200);
    let mut got = Vec::new();
    let end = bench.log.end_of(programme);
    let reading = begun.read_up_to(end, &bench.log, bench.now, ALL, |wire, dts| got.push((dts, wire.payload_len())));
    assert!(matches!(reading, Reading::Read { tags: 6, more: false }), "{reading:?}");
    assert_eq!((video(&got), audio(&got)), (vec![200, 240, 280], vec![200, 240, 280]));
    let reading = waiting.read_up_to(end, &bench.log, bench.now, ALL, |_, _| panic!("of the next"));
    assert!(matches!(reading, Reading::NoEntryPoint), "{reading:?}");
    assert_eq!(bench.log.end_of(bench.log.programme()), bench.log.end());
}

#[test]
fn a_change_of_format_ends_the_session_and_the_next_begins_behind_it() {
    let policy = OutputPolicy { on_format_change: OnFormatChange::Reconnect, ..OutputPolicy::default() };
    let mut bench = Bench::new();
    bench.run(1_000);
    let mut cursor = cursor(policy);
    bench.read(&mut cursor);
    bench.run(1_000);
    bench.read(&mut cursor);
    bench.dts -= 40;
    bench.push(Class::Audio, 100);
    bench.dts += 40;
    bench.push(Class::VideoHeader, 11);
    let (reading, got) = bench.read(&mut cursor);
    assert_eq!((reading, audio(&got)), (Reading::FormatChanged { tags: 1 }, vec![1_960]));
    cursor.rejoin();
    assert_eq!(bench.read(&mut cursor).0, Reading::NoEntryPoint, "the old keyframe is of the old format");
    bench.run(40);
    bench.push(Class::AudioHeader, 5);
    bench.run(40);
    let (reading, got) = bench.read(&mut cursor);
    assert_eq!(got[..2], [(2_000, 11), (2_000, 4)]);
    assert!(matches!(reading, Reading::Read { .. }), "the audio header's change is part of the same one");
    assert!(got.contains(&(2_040, 5)));
}
