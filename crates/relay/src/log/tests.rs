use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn placed(class: Class, dts: i64, len: usize) -> Placed {
    Placed { class, dts, body: Bytes::from(vec![7; len]) }
}

fn log(max_bytes: usize) -> Log {
    Log::new(LogPolicy { max_time: Duration::from_secs(10), max_bytes })
}

#[test]
fn time_and_bytes_bound_it() {
    let now = Instant::now();
    let mut log = log(100_000);
    for n in 0..500 {
        log.push(&placed(if n % 25 == 0 { Class::Key } else { Class::Inter }, n * 40, 100), now);
    }
    assert_eq!(log.span(), Duration::from_secs(10));
    assert_eq!(log.end(), 500);
    log.push(&placed(Class::Inter, 20_000, 99_000), now);
    assert!(log.bytes() <= 100_000);
}

#[test]
fn an_output_begins_at_the_newest_keyframe_with_the_headers_of_its_time() {
    let now = Instant::now();
    let mut log = log(1 << 20);
    log.push(&placed(Class::VideoHeader, 0, 10), now);
    log.push(&placed(Class::Key, 0, 10), now);
    log.push(&placed(Class::Audio, 5, 10), now);
    assert_eq!(log.entry_point(), Some(1));
    log.push(&placed(Class::VideoHeader, 40, 11), now);
    log.push(&placed(Class::Key, 40, 10), now);
    log.push(&placed(Class::VideoHeader, 80, 12), now);
    let entry = log.get(log.entry_point().unwrap()).unwrap();
    let headers: Vec<_> = entry.headers.as_ref().unwrap().iter().map(WireForm::payload_len).collect();
    assert_eq!((entry.dts, headers), (40, vec![11]));
}

#[test]
fn only_a_header_that_takes_anothers_place_is_a_change() {
    let now = Instant::now();
    let mut log = log(1 << 20);
    for class in [Class::VideoHeader, Class::AudioHeader, Class::VideoHeader, Class::Metadata, Class::Metadata] {
        log.push(&placed(class, 0, 10), now);
    }
    let changes: Vec<_> = (0..5).map(|n| log.get(n).unwrap().replaces_header).collect();
    assert_eq!(changes, [false, false, true, false, false]);
}

#[test]
fn a_gop_that_does_not_fit_leaves_no_place_to_begin_and_warns_once() {
    let now = Instant::now();
    let mut log = log(8_000);
    log.push(&placed(Class::Key, 0, 1_000), now);
    for n in 1..10 {
        log.push(&placed(Class::Inter, n * 40, 1_000), now);
    }
    assert_eq!(log.entry_point(), None);
    assert!(log.take_gop_warning());
    assert!(!log.take_gop_warning());
    log.push(&placed(Class::Key, 400, 1_000), now);
    assert_eq!(log.entry_point(), Some(10));
}

#[test]
fn audio_alone_begins_at_the_newest_audio() {
    let now = Instant::now();
    let mut log = log(1 << 20);
    log.push(&placed(Class::AudioHeader, 0, 4), now);
    log.push(&placed(Class::Audio, 0, 10), now);
    log.push(&placed(Class::Audio, 23, 10), now);
    assert_eq!(log.entry_point(), Some(2));
    assert!(log.get(2).unwrap().headers.as_ref().unwrap().audio.is_some());
}

#[test]
fn a_programme_that_has_lost_its_video_begins_with_audio_in_the_end() {
    let now = Instant::now();
    let mut log = log(1 << 20);
    log.push(&placed(Class::Key, 0, 10), now);
    for n in 1..600 {
        log.push(&placed(Class::Audio, n * 20, 10), now);
    }
    assert_eq!(log.entry_point(), Some(599));
    assert!(!log.take_gop_warning());
}

#[test]
fn metadata_is_kept_to_the_byte_behind_set_data_frame() {
    let mut log = log(1 << 20);
    let body = b"\x02\x00\x0aonMetaData\x05";
    log.push(&Placed { class: Class::Metadata, dts: 0, body: Bytes::from_static(body) }, Instant::now());
    let sent: Vec<u8> = log.get(0).unwrap().wire.payload().flatten().collect();
    assert_eq!(sent, [SET_DATA_FRAME, body].concat());
}

#[test]
fn nobody_begins_with_what_an_ended_programme_left_and_readers_may_finish() {
    let mut log = log(1 << 20);
    log.push(&placed(Class::Key, 0, 10), Instant::now());
    log.push(&placed(Class::Audio, 0, 10), Instant::now());
    log.end_programme();
    assert_eq!((log.entry_point(), log.end(), log.programme()), (None, 2, 1));
    assert!(log.get(1).is_some());
    log.push(&placed(Class::Key, 40, 10), Instant::now());
    assert_eq!(log.entry_point(), Some(2));
}

#[test]
fn headers_count_while_entries_refer_to_them() {
    let now = Instant::now();
    let mut log = log(40_000);
    log.push(&placed(Class::VideoHeader, 0, 10_000), now);
    for n in 0..100 {
        log.push(&placed(Class::Key, n, 1_000), now);
    }
    assert!(log.get(0).is_none() && log.headers().video.is_some());
    let entries: usize = log.entries().map(|entry| entry.wire.bytes_len()).sum();
    assert!(entries > 15_000 && entries + 10_000 < log.bytes(), "{entries} of {}", log.bytes());
    assert!(log.bytes() <= 40_000);
}

#[test]
fn a_bound_that_is_lowered_below_a_header_leaves_the_room_to_entries() {
    let now = Instant::now();
    let mut log = log(800_000);
    log.push(&placed(Class::Metadata, 0, 100_000), now);
    log.push(&placed(Class::VideoHeader, 0, 1_000), now);
    for n in 0..20 {
        log.push(&placed(Class::Key, n, 1_000), now);
    }
    log.set_policy(LogPolicy { max_bytes: 80_000, ..log.policy });
    assert!(log.headers().metadata.is_none() && log.headers().video.is_some());
    for n in 20..200 {
        log.push(&placed(Class::Key, n, 1_000), now);
    }
    let entries: usize = log.entries().map(|entry| entry.wire.bytes_len()).sum();
    assert!(entries > 50_000 && log.bytes() <= 80_000, "{entries} of {}", log.bytes());
}

#[test]
fn a_header_in_the_place_of_one_that_was_forgotten_is_a_change() {
    let now = Instant::now();
    let mut log = log(80_000);
    for (max_bytes, len, replaces) in [(80_000, 10_000, false), (40_000, 5_000, true), (40_000, 5_000, true)] {
        log.set_policy(LogPolicy { max_bytes, ..log.policy });
        for (class, replaces) in [(Class::VideoHeader, replaces), (Class::Metadata, false)] {
            log.push(&placed(class, 0, len), now);
            assert_eq!(log.entries().next_back().unwrap().replaces_header, replaces, "{class:?} {max_bytes}");
        }
    }
}

#[test]
fn a_header_of_the_largest_size_stays_when_it_is_bounded_anew() {
    let mut log = log(80_000);
    for class in [Class::Metadata, Class::VideoHeader, Class::AudioHeader] {
        log.push(&placed(class, 0, 5_000), Instant::now());
    }
    let before = log.headers();
    log.set_policy(LogPolicy { max_bytes: 40_000, ..log.policy });
    assert_eq!(log.headers(), before);
    log.set_policy(LogPolicy { max_bytes: 39_999, ..log.policy });
    assert_eq!(log.headers(), HeaderSet::default());
}

#[test]
fn a_flood_of_tiny_tags_leaves_no_room_behind() {
    let now = Instant::now();
    let mut log = log(1 << 20);
    for _ in 0..20_000 {
        log.push(&placed(Class::Audio, 0, 2), now);
    }
    assert!(log.entries.len() > 1_000);
    for _ in 0..200 {
        log.push(&placed(Class::Key, 0, 10_000), now);
    }
    assert!(log.entries.len() < 110 && log.entries.capacity() < 300, "{} places", log.entries.capacity());
}

proptest! {
    /// `(what comes, its size)`: whatever is held or referred to, its bytes are counted.
    #[test]
    fn what_it_counts_is_at_least_what_it_holds(
        tags in proptest::collection::vec((0u8..9, 0usize..3_000, 0i64..300), 1..200),
    ) {
        let (now, mut log, mut dts) = (Instant::now(), log(20_000), 0);
        for (draw, len, step) in tags {
            dts += step;
            let class = match draw {
                0 => Class::Metadata,
                1 | 2 => Class::VideoHeader,
                3 => Class::AudioHeader,
                4 => Class::Audio,
                _ => Class::Key,
            };
            if draw == 8 {
                log.set_policy(LogPolicy { max_bytes: 6_000 + 8 * len, ..log.policy });
            } else {
                // Rings take no larger headers.
                let len = if is_header(class) { len.min(log.policy.max_header()) } else { len };
                log.push(&placed(class, dts, len), now);
            }
            let mut held: HashMap<_, _> = log.entries().map(|entry| of(&entry.wire)).collect();
            let sets = log.entries().filter_map(|entry| entry.headers.as_ref()).chain([&log.headers]);
            held.extend(sets.flat_map(|set| set.iter()).map(of));
            prop_assert!(held.values().sum::<usize>() <= log.bytes());
            prop_assert!(log.bytes() <= log.policy.max_bytes);
            prop_assert!(log.entries.capacity() <= 2 * log.entries.len() + cost::SPARE);
        }
    }
}

/// Where a form lies in memory, and its bytes.
fn of(form: &WireForm) -> (Option<*const u8>, usize) {
    (form.payload().next().map(|slice| slice.as_ptr()), form.bytes_len())
}
