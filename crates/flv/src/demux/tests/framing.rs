use super::*;

#[test]
fn a_clean_stream_comes_out_tag_by_tag() {
    let tags = samples(0..20);
    let outcome = whole(&[header(), bytes_of(&tags)].concat());
    assert_eq!(outcome, Outcome { tags, end: Ok(()), counters: Counters::default() });
}

#[test]
fn the_high_timestamp_byte_comes_last() {
    let stream = [&header()[..], b"\x09\0\0\x05\x02\x03\x04\x01\0\0\0hello\0\0\0\x10"].concat();
    let tag = Tag { kind: Kind::Video, timestamp: 0x0102_0304, body: Bytes::from_static(b"hello") };
    assert_eq!(whole(&stream).tags, [tag]);
}

#[test]
fn timestamps_pass_unchanged_at_every_edge() {
    let stamps = [0, 0xFF_FFFF, 0x100_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0];
    let body = [header()].into_iter().chain(stamps.map(|at| raw(Kind::Audio, at, b"x"))).collect::<Vec<_>>();
    let out = whole(&body.concat()).tags;
    assert_eq!(out.iter().map(|tag| tag.timestamp).collect::<Vec<_>>(), stamps);
}

#[test]
fn known_previous_tag_sizes_pass_at_once_and_uncounted() {
    let tags = samples(1..12);
    type Trailer = fn(u32, u32) -> u32;
    let dialects: [(&str, Trailer); 5] = [
        ("right", |len, _| len + 11),
        ("one less", |len, _| len + 10),
        ("body only", |len, _| len),
        ("position", |_, at| at - 13),
        ("running total from elsewhere", |_, at| at.wrapping_add(0xFFFF_FF80)),
    ];
    for (name, dialect) in dialects {
        let stream = with_trailers(&tags, dialect);
        let mut demuxer = Demuxer::new(SMALL);
        let mut out = Vec::new();
        demuxer.push(Bytes::from(stream));
        drain(&mut demuxer, &mut out).unwrap();
        assert_eq!(out, tags, "{name}");
        // A running total that begins elsewhere explains itself from the second tag on.
        let mismatches = u64::from(name.starts_with("running"));
        assert_eq!(demuxer.counters(), Counters { prev_size_mismatches: mismatches, ..Counters::default() }, "{name}");
        assert_eq!(demuxer.finish(), Ok(()), "{name}");
    }
}

#[test]
fn other_previous_tag_sizes_cost_nothing_but_the_wait_for_the_next_header() {
    let tags = samples(1..12);
    for value in [0, 0x1234_5678, u32::MAX] {
        let stream = with_trailers(&tags, |_, _| value);
        let outcome = whole(&stream);
        assert_eq!((&outcome.tags, outcome.end), (&tags, Ok(())), "{value:#x}");
        let counters = Counters { prev_size_mismatches: 11, ..Counters::default() };
        assert_eq!(outcome.counters, counters, "{value:#x}");

        let mut demuxer = Demuxer::new(SMALL);
        demuxer.push(Bytes::from(stream));
        let mut before_end = Vec::new();
        drain(&mut demuxer, &mut before_end).unwrap();
        assert_eq!(before_end.len(), 10, "{value:#x}");
        assert_eq!(demuxer.finish(), Ok(()));
        assert_eq!(demuxer.next_tag(), Ok(tags.last().cloned()), "{value:#x}");
        assert_eq!(demuxer.next_tag(), Ok(None));
    }
}

#[test]
fn the_first_previous_tag_size_is_not_read() {
    let mut stream = [header(), bytes_of(&samples(0..3))].concat();
    stream[12] = 77;
    assert_eq!(whole(&stream), Outcome { tags: samples(0..3), end: Ok(()), counters: Counters::default() });
}

#[test]
fn flags_and_data_offset_are_taken_as_they_come() {
    let tags = samples(0..3);
    for flags in [0, 1, 4, 5, 0xFF] {
        let head = [b'F', b'L', b'V', 1, flags, 0, 0, 0, 13, b'p', b'a', b'd', b'!', 0, 0, 0, 0];
        let outcome = whole(&[&head[..], &bytes_of(&tags)].concat());
        assert_eq!(outcome, Outcome { tags: tags.clone(), end: Ok(()), counters: Counters::default() });
    }
    assert_eq!(whole(b"FLV\x01\x05\0\x01\0\x01").kind(), Some(ErrorKind::HeaderTooLong(65_537)));
    assert_eq!(whole(b"FLV\x07").kind(), Some(ErrorKind::UnknownVersion(7)));
}

#[test]
fn a_second_file_header_is_skipped() {
    let odd = b"FLV\x01\x05\0\0\0\x0D\xA5\xA5\xA5\xA5\0\0\0\x07";
    for second in [&header()[..], odd] {
        let stream = [&header()[..], &bytes_of(&samples(0..4)), second, &bytes_of(&samples(4..8))].concat();
        let counters = Counters { embedded_headers: 1, ..Counters::default() };
        assert_eq!(whole(&stream), Outcome { tags: samples(0..8), end: Ok(()), counters });
    }
    let broken = [with_trailers(&samples(0..4), |_, _| 0), with_trailers(&samples(4..8), |_, _| 0)].concat();
    assert_eq!(whole(&broken).tags, samples(0..8));
}

#[test]
fn empty_tags_and_amf3_scripts_are_dropped_and_counted() {
    let mut amf3 = raw(Kind::Script, 5, b"\x00\x02\x00\x01x");
    amf3[0] = 15;
    let empty = [Kind::Video, Kind::Audio, Kind::Script].map(|kind| raw(kind, 9, b"")).concat();
    let stream = [header(), bytes_of(&samples(0..2)), empty, amf3, bytes_of(&samples(2..4))].concat();
    let counters = Counters { empty_tags: 3, amf3_tags: 1, ..Counters::default() };
    assert_eq!(whole(&stream), Outcome { tags: samples(0..4), end: Ok(()), counters });
}

#[test]
fn a_constant_stream_id_is_tolerated_and_a_change_loses_nothing() {
    let mut stream = header();
    for (number, tag) in samples(0..9).iter().enumerate() {
        let mut bytes = raw(tag.kind, tag.timestamp, &tag.body);
        bytes[10] = if number < 5 { 1 } else { 7 };
        stream.extend(bytes);
    }
    let outcome = whole(&stream);
    assert_eq!((outcome.tags, outcome.end), (samples(0..9), Ok(())));
    assert_eq!(outcome.counters, Counters { resyncs: 1, ..Counters::default() });
}

#[test]
fn a_body_whole_in_one_piece_is_a_slice_of_it() {
    let tags = [sample(0, 500), sample(1, 300)];
    let stream = Bytes::from([header(), bytes_of(&tags)].concat());
    let first_body = 13 + 11;
    let second_body = first_body + 500 + 4 + 11;
    // The second header and the trailers are cut in two; the bodies are not.
    for cut in [first_body - 3, first_body, first_body + 502, second_body - 1, second_body, second_body + 301] {
        let mut demuxer = Demuxer::new(SMALL);
        let mut out = Vec::new();
        for piece in [stream.slice(..cut), stream.slice(cut..)] {
            demuxer.push(piece);
            drain(&mut demuxer, &mut out).unwrap();
        }
        assert_eq!(out, tags, "cut at {cut}");
        assert_eq!(out[0].body.as_ptr(), stream[first_body..].as_ptr(), "cut at {cut}");
        assert_eq!(out[1].body.as_ptr(), stream[second_body..].as_ptr(), "cut at {cut}");
    }
}

#[test]
fn the_position_is_that_of_the_bytes_dealt_with() {
    let stream = [header(), bytes_of(&samples(0..2))].concat();
    let mut demuxer = Demuxer::new(SMALL);
    demuxer.push(Bytes::from(stream.clone()));
    drain(&mut demuxer, &mut Vec::new()).unwrap();
    assert_eq!(demuxer.position(), stream.len() as u64);
}

#[test]
fn the_position_stays_before_what_is_still_needed() {
    // A PreviousTagSize of no dialect behind a tag that is none: its bytes are looked at twice.
    let false_tag = [&mux::tag_header(Kind::Video, 0, 100)[..], &[0x55; 300]].concat();
    let stream = [header(), bytes_of(&samples(0..2)), false_tag.clone(), bytes_of(&samples(2..5))].concat();
    let damage = stream.len() - false_tag.len() - bytes_of(&samples(2..5)).len();
    let mut demuxer = Demuxer::new(SMALL);
    let (mut position, mut tags) = (0, Vec::new());
    for byte in &stream {
        demuxer.push(Bytes::copy_from_slice(&[*byte]));
        drain(&mut demuxer, &mut tags).unwrap();
        assert!(demuxer.position() >= position, "{} after {position}", demuxer.position());
        position = demuxer.position();
        if tags.len() == 2 {
            assert!(position <= damage as u64, "what is looked for is still needed");
        }
    }
    assert_eq!((tags.len(), position), (5, stream.len() as u64));
}

#[test]
fn pieces_may_queue_up_undrained() {
    let stream = [header(), bytes_of(&samples(0..30))].concat();
    let mut demuxer = Demuxer::new(SMALL);
    for piece in stream.chunks(7) {
        demuxer.push(Bytes::copy_from_slice(piece));
    }
    let mut out = Vec::new();
    drain(&mut demuxer, &mut out).unwrap();
    assert_eq!(out, samples(0..30));
}

#[test]
fn recorded_files_hold_the_tags_that_are_listed() {
    for name in ["demo", "bframes", "audio-only"] {
        let path = format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let stream = std::fs::read(format!("{path}.flv")).unwrap();
        let list = std::fs::read_to_string(format!("{path}.tags.txt")).unwrap();
        let outcome = demux(DemuxLimits::default(), stream.chunks(1000));
        assert_eq!((outcome.end, outcome.counters), (Ok(()), Counters::default()), "{name}");
        let told = outcome.tags.iter().map(|tag| {
            let kind = format!("{:?}", tag.kind).to_lowercase();
            format!("{kind} {} {} ", tag.timestamp, tag.body.len())
        });
        let lines = list.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
        assert_eq!(lines.len(), outcome.tags.len(), "{name}");
        for (line, told) in lines.iter().zip(told) {
            assert!(line.starts_with(&told), "{name}: {line}, not {told}");
        }
    }
}
