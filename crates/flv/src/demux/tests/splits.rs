use proptest::prelude::*;

use super::*;

/// Everything that can go right or wrong, in one small stream.
fn eventful() -> Vec<u8> {
    let mut amf3 = raw(Kind::Script, 0, b"\x00\x02");
    amf3[0] = 15;
    let with_bad_trailers = with_trailers(&samples(8..11), |_, _| 7).split_off(13);
    let false_header = mux::tag_header(Kind::Video, 0, 100);
    let parts: [&[u8]; 11] = [
        &header(),
        &bytes_of(&samples(0..3)),
        &raw(Kind::Audio, 0, b""),
        &header(),
        &bytes_of(&samples(3..6)),
        &[0x55; 23],
        &bytes_of(&samples(6..8)),
        &with_bad_trailers,
        &false_header,
        &amf3,
        &bytes_of(&samples(11..16)),
    ];
    parts.concat()
}

#[test]
fn the_eventful_stream_holds_what_it_should() {
    let outcome = whole(&eventful());
    assert_eq!(outcome.end, Ok(()));
    assert_eq!(outcome.tags, samples(0..16));
    let counters = outcome.counters;
    assert_eq!((counters.resyncs, counters.empty_tags, counters.embedded_headers, counters.amf3_tags), (2, 1, 1, 1));
}

#[test]
fn every_split_point_gives_the_same() {
    let stream = eventful();
    let expected = whole(&stream);
    for cut in 0..=stream.len() {
        let (left, right) = stream.split_at(cut);
        assert_eq!(demux(SMALL, [left, right]), expected, "split at {cut}");
    }
    for size in 1..64 {
        assert_eq!(demux(SMALL, stream.chunks(size)), expected, "pieces of {size}");
    }
}

/// Cuts `stream` at the given sizes, over and over.
fn cut<'a>(stream: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    sizes.iter().cycle().map_while(move |&size| {
        let (piece, behind) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Bytes of the sort that framing is made of, more often than chance has them.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0u8), Just(8), Just(9), Just(18), Just(b'F'), any::<u8>()];
    let piece = prop_oneof![
        prop::collection::vec(byte, 0..40),
        (0u32..60).prop_map(|number| bytes_of(&[sample(number, number as usize)])),
        (0u32..200).prop_map(|len| mux::tag_header(Kind::Video, 0, len).to_vec()),
        Just(header()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn splits_make_no_difference(
        junk in junk(),
        at_start in any::<bool>(),
        sizes in prop::collection::vec(1usize..50, 1..20),
        mismatch in any::<bool>(),
    ) {
        let tags = with_trailers(&samples(0..6), |len, _| if mismatch { 0 } else { len + 11 });
        let stream = if at_start { junk } else { [tags, junk].concat() };
        let limits = DemuxLimits { max_tag_size: 150, resync_window: 300 };
        let expected = demux(limits, [&stream[..]]);
        prop_assert_eq!(demux(limits, cut(&stream, &sizes)), expected);
    }

    #[test]
    fn tags_behind_any_junk_are_found_again(junk in junk(), sizes in prop::collection::vec(1usize..50, 1..20)) {
        let tags = samples(0..300);
        let stream = [header(), junk, bytes_of(&tags)].concat();
        let outcome = demux(SMALL, cut(&stream, &sizes));
        match outcome.kind() {
            // Junk that reads as a tag header to the last bit.
            Some(ErrorKind::TagTooLarge { .. } | ErrorKind::Encrypted) => {}
            None => prop_assert!(outcome.tags.ends_with(&tags[200..])),
            Some(kind) => prop_assert!(false, "{kind}"),
        }
    }

    #[test]
    fn memory_is_bounded_by_the_limits(stream in junk(), sizes in prop::collection::vec(1usize..50, 1..20)) {
        let limits = DemuxLimits { max_tag_size: 150, resync_window: 300 };
        let mut demuxer = Demuxer::new(limits);
        let stream = [header(), stream].concat();
        for piece in cut(&stream, &sizes) {
            demuxer.push(Bytes::copy_from_slice(piece));
            while let Ok(Some(_)) = demuxer.next_tag() {}
            let held = match &demuxer.state {
                State::Body(_, gathered) => gathered.len(),
                State::Trailer(_, body) | State::Confirm(_, body, _) => body.len(),
                State::Resync(resync) => resync.len(),
                _ => 0,
            };
            prop_assert!(held <= 300 + 165 + 50 + TagHeader::LEN, "{} bytes held", held);
            prop_assert!(demuxer.feed.len() < TagHeader::LEN, "{} bytes left", demuxer.feed.len());
        }
    }
}
