use super::*;

/// `content` gives the body of a track's n-th tag: 25 video and 50 audio tags per second.
fn mark(marks: &mut Marks, track: Track, n: i64, shift: i64, content: impl Fn(Track, i64) -> Vec<u8>) {
    let dts = n * if track == Track::Video { 40 } else { 20 } + shift;
    let print = Print::of(track, &content(track, n));
    marks.push(track, Mark { print, dts, raw: Some(dts as u32), number: n.unsigned_abs() });
}

fn fill(marks: &mut Marks, from_ms: i64, to_ms: i64, shift: i64, content: impl Fn(Track, i64) -> Vec<u8> + Copy) {
    for at in (from_ms..to_ms).step_by(20) {
        if at % 40 == 0 {
            mark(marks, Track::Video, at / 40, shift, content);
        }
        mark(marks, Track::Audio, at / 20, shift, content);
    }
}

fn unique(track: Track, n: i64) -> Vec<u8> {
    [&[track as u8][..], &n.to_be_bytes()].concat()
}

fn aligned(relayed: &Marks, input: Marks) -> Alignment {
    let mut alignment = Alignment { marks: input, lock: None };
    alignment.update(relayed);
    alignment
}

#[test]
fn one_encode_on_two_bases_locks_whichever_is_ahead() {
    for (from, to) in [(1_000, 5_000), (1_000, 7_000), (4_000, 6_400)] {
        let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
        fill(&mut relayed, 0, 6_000, 0, unique);
        fill(&mut input, from, to, -77_000, unique);
        let alignment = aligned(&relayed, input);
        assert!(alignment.is_locked(), "{from} to {to}");
        let standing = alignment.standing(&relayed).unwrap();
        if to >= 6_000 {
            let continuation = Continuation { audio: Some(299), video: Some(149), offset: 77_000 };
            assert_eq!(standing, Standing::Has(continuation));
        } else {
            assert_eq!(standing, Standing::Behind(980));
        }
    }
}

#[test]
fn fewer_than_eight_on_a_track_do_not_lock() {
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, unique);
    fill(&mut input, 5_720, 6_000, 0, unique);
    assert!(!aligned(&relayed, input.clone()).is_locked(), "7 video tags");
    let mut input = Marks::new(10_000);
    fill(&mut input, 5_680, 6_000, 0, unique);
    assert!(aligned(&relayed, input).is_locked(), "8 video tags");
}

#[test]
fn another_encode_does_not_lock() {
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, unique);
    fill(&mut input, 0, 6_000, 0, |track, n| [unique(track, n), vec![1]].concat());
    assert!(!aligned(&relayed, input).is_locked());
}

#[test]
fn the_same_video_with_other_audio_does_not_lock() {
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, unique);
    fill(&mut input, 0, 6_000, 0, |track, n| unique(track, if track == Track::Audio { -n - 1 } else { n }));
    assert!(!aligned(&relayed, input).is_locked());
    let mut input = Marks::new(10_000);
    for n in 0..150 {
        mark(&mut input, Track::Video, n, 0, unique);
    }
    assert!(!aligned(&relayed, input).is_locked(), "a track is missing");
}

#[test]
fn content_that_repeats_does_not_lock_unless_the_source_dts_tell() {
    let looped = |track: Track, n: i64| unique(track, n % if track == Track::Video { 25 } else { 50 });
    let still = |track: Track, _| unique(track, 0);
    for content in [looped as fn(Track, i64) -> Vec<u8>, still] {
        let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
        fill(&mut relayed, 0, 6_000, 0, content);
        fill(&mut input, 0, 6_000, 500, content);
        assert!(!aligned(&relayed, input).is_locked(), "other timestamps");
    }
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, looped);
    fill(&mut input, 1_000, 6_400, 0, looped);
    assert!(aligned(&relayed, input).is_locked(), "equal timestamps break the tie");
}

#[test]
fn silence_beside_a_moving_picture_locks() {
    let silent = |track: Track, n: i64| unique(track, if track == Track::Audio { 0 } else { n });
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, silent);
    fill(&mut input, 1_000, 6_400, 9_000, silent);
    assert!(aligned(&relayed, input).is_locked());
}

#[test]
fn a_locked_line_that_differs_is_let_go() {
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, unique);
    fill(&mut input, 0, 6_000, 0, unique);
    let mut alignment = aligned(&relayed, input);
    fill(&mut relayed, 6_000, 6_400, 0, unique);
    fill(&mut alignment.marks, 6_000, 6_400, 0, unique);
    alignment.update(&relayed);
    assert!(alignment.is_locked());
    fill(&mut relayed, 6_400, 6_440, 0, unique);
    fill(&mut alignment.marks, 6_400, 6_440, 0, |track, n| unique(track, n + 1));
    alignment.update(&relayed);
    assert!(!alignment.is_locked());
}

#[test]
fn a_millisecond_of_rounding_is_allowed() {
    let (mut relayed, mut input) = (Marks::new(10_000), Marks::new(10_000));
    fill(&mut relayed, 0, 6_000, 0, unique);
    for at in (1_000..6_200i64).step_by(20) {
        if at % 40 == 0 {
            mark(&mut input, Track::Video, at / 40, 0, unique);
        }
        mark(&mut input, Track::Audio, at / 20, at / 20 % 3 - 1, unique);
    }
    assert!(aligned(&relayed, input).is_locked());
}

#[test]
fn prints_tell_tags_apart_by_length_track_and_content() {
    let long = |byte: usize| {
        let mut body = vec![0x5A; 5_000];
        body[byte] ^= 1;
        Print::of(Track::Video, &body)
    };
    assert_ne!(long(0), long(4_999));
    assert_ne!(Print::of(Track::Video, b"abc"), Print::of(Track::Audio, b"abc"));
    assert_ne!(Print::of(Track::Video, b"abc"), Print::of(Track::Video, b"abcc"));
    assert_eq!(Print::of(Track::Video, b""), Print::of(Track::Video, b""));
}

#[test]
fn marks_take_no_more_than_their_number_allows() {
    let mut marks = Marks::new(10_000);
    for n in 0..20_000 {
        marks.push(Track::Video, Mark { print: Print::of(Track::Video, b""), dts: 0, raw: None, number: n });
    }
    let lane = marks.lane(Track::Video);
    assert_eq!((lane.first, lane.end()), (20_000 - MAX_MARKS as u64, 20_000));
    assert!(lane.marks.capacity() * size_of::<Mark>() <= 128 << 10, "{} places", lane.marks.capacity());
}

#[test]
fn bodies_prove_it() {
    let mut last = LastBodies::new(1 << 20);
    for n in 0..20u8 {
        last.push(Track::Video, Bytes::from(vec![n]));
    }
    let ring: Vec<Bytes> = (0..20u8).map(|n| Bytes::from(vec![n])).collect();
    assert!(last.equal(Track::Video, ring.iter().rev()));
    assert!(!last.equal(Track::Video, ring[..19].iter().rev()));
    assert!(!last.equal(Track::Video, [].iter()), "nothing compared is no proof");
}

#[test]
fn the_proof_by_bytes_has_a_bound_in_bytes() {
    let mut last = LastBodies::new(2_500);
    let bodies: Vec<_> = (0..4).map(|n| Bytes::from(vec![n; 1_000])).collect();
    for body in &bodies {
        last.push(Track::Video, body.clone());
    }
    assert!(last.equal(Track::Video, [&bodies[3], &bodies[2], &bodies[0]].into_iter()), "two are kept");
    assert!(!last.equal(Track::Video, [&bodies[3], &bodies[1]].into_iter()));
    last.push(Track::Video, Bytes::from(vec![0; 3_000]));
    assert!(!last.equal(Track::Video, std::iter::once(&bodies[3])), "nothing is proven by what is too large to keep");
}

#[test]
fn a_bound_that_is_lowered_holds_at_once() {
    let mut last = LastBodies::new(2_500);
    let bodies: Vec<_> = (0..2).map(|n| Bytes::from(vec![n; 1_000])).collect();
    for track in [Track::Audio, Track::Video] {
        bodies.iter().for_each(|body| last.push(track, body.clone()));
    }
    last.set_max_bytes(1_500);
    for kept in [&last.audio, &last.video] {
        assert!(kept.iter().eq(&bodies[1..]));
    }
}
