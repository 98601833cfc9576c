use super::*;

/// Bytes that look random and are the same each time.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

#[test]
fn garbage_between_tags_costs_no_tag() {
    for seed in 0..300 {
        let len = 1 + seed as usize * 7 % 600;
        let stream = [
            header(),
            bytes_of(&samples(0..9)),
            noise(len, seed),
            bytes_of(&samples(9..18)),
            bytes_of(&samples(18..30)),
        ];
        let outcome = whole(&stream.concat());
        assert_eq!((outcome.tags, outcome.end), (samples(0..30), Ok(())), "seed {seed}");
        let counters = Counters { resyncs: 1, skipped_bytes: len as u64, ..Counters::default() };
        assert_eq!(outcome.counters, counters, "seed {seed}");
    }
}

#[test]
fn garbage_again_and_again_costs_no_tag() {
    let mut stream = header();
    for round in 0..20 {
        stream.extend(bytes_of(&samples(round * 5..round * 5 + 5)));
        stream.extend(noise(300, u64::from(round)));
    }
    stream.extend(bytes_of(&samples(100..105)));
    let outcome = whole(&stream);
    assert_eq!((outcome.tags, outcome.end), (samples(0..105), Ok(())));
    assert_eq!((outcome.counters.resyncs, outcome.counters.skipped_bytes), (20, 6000));
}

#[test]
fn garbage_within_a_body_costs_that_tag() {
    let tags = samples(0..12);
    let before = [header(), bytes_of(&tags[..5])].concat();
    let at = before.len() + 11 + 4;
    let mut stream = [before, bytes_of(&tags[5..])].concat();
    stream.splice(at..at, noise(200, 3));
    let outcome = whole(&stream);
    assert_eq!(outcome.tags, [&tags[..5], &tags[6..]].concat());
    assert_eq!((outcome.end, outcome.counters.resyncs), (Ok(()), 1));
    assert_eq!(outcome.counters.skipped_bytes, 15 + tags[5].body.len() as u64 + 200);
}

#[test]
fn bytes_missing_from_a_body_cost_that_tag() {
    let tags = samples(0..12);
    let before = [header(), bytes_of(&tags[..5])].concat();
    let at = before.len() + 11 + 4;
    let mut stream = [before, bytes_of(&tags[5..])].concat();
    stream.drain(at..at + 9);
    let outcome = whole(&stream);
    assert_eq!(outcome.tags, [&tags[..5], &tags[6..]].concat());
    assert_eq!((outcome.end, outcome.counters.resyncs), (Ok(()), 1));
}

#[test]
fn a_false_header_gives_back_what_it_swallowed() {
    let false_header = mux::tag_header(Kind::Video, 0, 300);
    let stream = [&header()[..], &bytes_of(&samples(0..4)), &false_header, &bytes_of(&samples(4..30))].concat();
    let outcome = whole(&stream);
    assert_eq!((outcome.tags, outcome.end), (samples(0..30), Ok(())));
    let counters = Counters { resyncs: 1, skipped_bytes: 11, prev_size_mismatches: 1, ..Counters::default() };
    assert_eq!(outcome.counters, counters);
}

#[test]
fn a_file_header_ends_the_damage() {
    let stream = [header(), bytes_of(&samples(0..4)), vec![0x55; 99], header(), bytes_of(&samples(4..8))].concat();
    let outcome = whole(&stream);
    assert_eq!((outcome.tags, outcome.end), (samples(0..8), Ok(())));
    let counters = Counters { resyncs: 1, skipped_bytes: 99, embedded_headers: 1, ..Counters::default() };
    assert_eq!(outcome.counters, counters);
}

#[test]
fn the_last_tag_is_found_without_a_header_behind_it() {
    let stream = [header(), bytes_of(&samples(0..4)), noise(99, 1), bytes_of(&samples(4..5))].concat();
    let outcome = whole(&stream);
    assert_eq!((outcome.tags, outcome.end), (samples(0..5), Ok(())));
}

#[test]
fn damage_to_the_end_is_truncation() {
    let stream = [header(), bytes_of(&samples(0..4)), vec![0x55; 99]].concat();
    let outcome = whole(&stream);
    assert_eq!(outcome.tags, samples(0..4));
    assert_eq!(outcome.end, Err(Error { pos: stream.len() as u64, kind: ErrorKind::Truncated }));
}

#[test]
fn damage_longer_than_the_window_is_an_error() {
    let before = [header(), bytes_of(&samples(0..4))].concat();
    let pos = before.len() as u64;
    let stream = [before, vec![0x55; 6000], bytes_of(&samples(4..8))].concat();
    let outcome = demux(SMALL, stream.chunks(100));
    assert_eq!(outcome.tags, samples(0..4));
    assert_eq!(outcome.end, Err(Error { pos, kind: ErrorKind::LostSync { window: 4096 } }));
}

#[test]
fn a_resync_is_counted_before_the_tag_behind_the_gap_is_returned() {
    let stream = [header(), bytes_of(&samples(0..1)), vec![0x55; 50], bytes_of(&samples(1..4))].concat();
    let mut demuxer = Demuxer::new(SMALL);
    demuxer.push(Bytes::from(stream));
    demuxer.next_tag().unwrap();
    assert_eq!(demuxer.counters().resyncs, 0);
    demuxer.next_tag().unwrap();
    assert_eq!(demuxer.counters().resyncs, 1);
}

/// Headers inside a body, each of which claims the rest of it: going back for each would read the body once per header.
#[test]
fn nested_false_headers_are_read_twice_at_most() {
    let tiny = raw(Kind::Audio, 0, b"x");
    let mut inner = Vec::new();
    for _ in 0..20_000 {
        inner.extend(&tiny);
        inner.extend(mux::tag_header(Kind::Video, 0, 900_000));
        inner.extend([0x55; 10]);
    }
    let stream = [&header()[..], &mux::tag_header(Kind::Video, 0, inner.len() as u32), &inner, &[0x55; 40]].concat();
    let mut demuxer = Demuxer::new(DemuxLimits::default());
    let mut taken = 0;
    for piece in stream.chunks(16_384) {
        demuxer.push(Bytes::copy_from_slice(piece));
        taken += std::iter::from_fn(|| demuxer.next_tag().unwrap_or(None)).count();
    }
    let counters = demuxer.counters();
    assert!(counters.resyncs <= 3, "{counters:?}");
    assert_eq!(taken, 1);
}
