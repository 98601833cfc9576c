use super::*;
use crate::Sniffed;

#[test]
fn what_is_not_flv_is_told_at_the_first_byte_that_differs() {
    let cases: [(&[u8], ErrorKind); 6] = [
        (b"<", ErrorKind::NotFlv(Sniffed::Html)),
        (b"<html><body>maintenance</body></html>", ErrorKind::NotFlv(Sniffed::Html)),
        (b"{\"error\":404}", ErrorKind::NotFlv(Sniffed::Text)),
        (b"FLAC", ErrorKind::NotFlv(Sniffed::Text)),
        (b"\x1F\x8B\x08", ErrorKind::NotFlv(Sniffed::Other)),
        (b"FL\0", ErrorKind::NotFlv(Sniffed::Other)),
    ];
    for (start, kind) in cases {
        let error = Error { pos: 0, kind };
        assert_eq!(
            demux(SMALL, start.chunks(1)),
            Outcome { tags: vec![], end: Err(error), counters: Counters::default() }
        );
        assert_eq!(whole(start).end, Err(error));
    }
    assert_eq!(whole(b"<").end.unwrap_err().to_string(), "not FLV but HTML at byte 0");
}

#[test]
fn a_stream_that_ends_too_early_says_so() {
    let tags = samples(0..2);
    let stream = [header(), bytes_of(&tags)].concat();
    let first = 13 + 15 + tags[0].body.len();
    let last_body = stream.len() - 4;
    for end in 0..stream.len() {
        let outcome = whole(&stream[..end]);
        // The header alone is a stream, and the last PreviousTagSize may be missing.
        let is_whole = end == 13 || (first - 4..=first).contains(&end) || end >= last_body;
        let expected = if is_whole { Ok(()) } else { Err(Error { pos: end as u64, kind: ErrorKind::Truncated }) };
        assert_eq!(outcome.end, expected, "cut at {end}");
        let tags_expected = usize::from(end >= first - 4) + usize::from(end >= last_body);
        assert_eq!(outcome.tags, tags[..tags_expected], "cut at {end}");
    }
}

#[test]
fn after_its_end_a_demuxer_is_at_rest() {
    let mut demuxer = Demuxer::new(SMALL);
    demuxer.push(Bytes::from_static(b"FLV\x01\x05"));
    assert_eq!(demuxer.finish().unwrap_err().kind, ErrorKind::Truncated);
    assert_eq!(demuxer.next_tag(), Ok(None));
    assert_eq!(demuxer.finish(), Ok(()));
}

#[test]
fn a_claim_over_the_limit_is_an_error_and_final() {
    let claim = mux::tag_header(Kind::Video, 0, 0xFF_FFF0);
    let stream = [&header()[..], &bytes_of(&samples(0..1)), &claim, b"\x17\x01\0\0\0"].concat();
    let pos = (stream.len() - 16) as u64;
    let error = Error { pos, kind: ErrorKind::TagTooLarge { size: 0xFF_FFF0, max: 4096 } };
    let mut demuxer = Demuxer::new(SMALL);
    demuxer.push(Bytes::from(stream));
    assert_eq!(demuxer.next_tag(), Ok(Some(samples(0..1)[0].clone())));
    assert_eq!((demuxer.next_tag(), demuxer.next_tag(), demuxer.finish()), (Err(error), Err(error), Err(error)));
    assert_eq!(error.to_string(), format!("tag claims 16777200 bytes, more than the 4096 allowed at byte {pos}"));
}

#[test]
fn a_claim_of_16_mib_reserves_nothing_ahead() {
    let limits = DemuxLimits { max_tag_size: u32::MAX, ..DemuxLimits::default() };
    let mut demuxer = Demuxer::new(limits);
    demuxer.push([&header()[..], &mux::tag_header(Kind::Video, 0, mux::MAX_BODY), &[0; 1000]].concat().into());
    assert_eq!(demuxer.next_tag(), Ok(None));
    let State::Body(_, gathered) = &demuxer.state else { panic!("not in a body but {:?}", demuxer.state) };
    assert_eq!(gathered.len(), 1000);
    assert!(gathered.capacity() < 4096, "{} bytes reserved for 1000", gathered.capacity());
}

#[test]
fn encrypted_tags_are_an_error() {
    let mut encrypted = raw(Kind::Video, 0, b"secret");
    encrypted[0] |= 0x20;
    let outcome = whole(&[header(), encrypted].concat());
    assert_eq!(outcome.end, Err(Error { pos: 13, kind: ErrorKind::Encrypted }));
}
