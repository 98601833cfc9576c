use proptest::prelude::*;
use rml_rtmp::{
    chunk_io::ChunkSerializer,
    messages::{MessagePayload, RtmpMessage},
    time::RtmpTimestamp,
};

use super::*;

const LIMITS: ChunkLimits = ChunkLimits { max_message: 64 << 10, max_chunk_streams: 16, max_partial: 128 << 10 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A whole message in one or more chunks of `size`; `extended` goes into continuation chunks as it is.
fn message(csid: u8, time: u32, type_id: u8, payload: &[u8], size: usize, extended: &[u8]) -> Vec<u8> {
    let mut out = vec![csid];
    out.extend(&time.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    out.push(type_id);
    out.extend([1, 0, 0, 0]);
    if time >= 0xFF_FFFF {
        out.extend(time.to_be_bytes());
    }
    for (n, piece) in payload.chunks(size).enumerate() {
        if n > 0 {
            out.push(0xC0 | csid);
            out.extend(extended);
        }
        out.extend(piece);
    }
    out
}

fn read_with(limits: ChunkLimits, pieces: &[&[u8]]) -> Result<Vec<Message>, Error> {
    let mut reader = ChunkReader::new(limits);
    let mut messages = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(message) = reader.feed(&mut input)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn read(stream: &[u8]) -> Result<Vec<Message>, Error> {
    read_with(LIMITS, &[stream])
}

fn offence(stream: &[u8]) -> ErrorKind {
    read(stream).unwrap_err().kind
}

fn summary(messages: &[Message]) -> Vec<(u8, u32, u32, usize)> {
    messages.iter().map(|m| (m.type_id, m.timestamp, m.csid, m.payload.len())).collect()
}

/// A stream with all that makes splitting hard: long basic headers, extended timestamps kept and left out, interleaved
/// messages and a chunk size that changes in the middle of one.
fn difficult_stream() -> Vec<u8> {
    let mut out = message(6, 5, 9, &bytes(300), 128, &[]);
    out.extend(message(2, 0, 4, &hex("0006 11223344"), 128, &[]));
    out.extend(hex("00 00 000001 000002 08 01000000 aabb"));
    out.extend(hex("01 00 01 000001 000000 08 01000000"));
    out.extend(message(6, 0x0100_0000, 9, &bytes(200), 128, &hex("01000000")));
    out.extend(message(6, 0x0100_0000, 9, &hex(&"0100ee".repeat(60)), 128, &[]));
    // Its last chunk is one byte long and begins like the timestamp.
    out.extend(message(6, 0x0100_0000, 9, &hex(&"01".repeat(129)), 128, &[]));
    let interrupted = message(7, 9, 8, &bytes(328), 128, &[]);
    out.extend(&interrupted[..12 + 128]);
    out.extend(message(2, 0, 1, &hex("000000c8"), 128, &[]));
    out.push(0xC7);
    out.extend(&bytes(328)[128..]);
    out
}

#[test]
fn every_split_gives_the_same_messages() {
    let stream = difficult_stream();
    let whole = read(&stream).unwrap();
    let lens: Vec<_> = whole.iter().map(|m| m.payload.len()).collect();
    assert_eq!(lens, [300, 6, 2, 0, 200, 180, 129, 328]);
    assert_eq!(whole[4].payload, bytes(200));
    assert_eq!(whole[5].payload, hex(&"0100ee".repeat(60)));
    assert_eq!(whole[7].payload, bytes(328));
    for at in 0..=stream.len() {
        let (a, b) = stream.split_at(at);
        assert_eq!(read_with(LIMITS, &[a, b]).unwrap(), whole, "split at {at}");
    }
    let single: Vec<_> = stream.chunks(1).collect();
    assert_eq!(read_with(LIMITS, &single).unwrap(), whole);
}

#[test]
fn all_input_is_counted_once() {
    let stream = difficult_stream();
    let mut reader = ChunkReader::new(LIMITS);
    let mut input = &stream[..];
    while reader.feed(&mut input).unwrap().is_some() {}
    assert!(input.is_empty());
    assert_eq!(reader.bytes_read(), stream.len() as u64);
}

#[test]
fn published_vectors_are_read() {
    let mut stream = hex("02 000000 000004 03 00000000 002625a0");
    stream.extend(hex("06 ffffff 0000c8 09 01000000 01000000"));
    stream.extend(bytes(128));
    stream.extend(hex("c6 01000000"));
    stream.extend(bytes(72));
    stream.extend(hex("46 000021 0000c8 09"));
    stream.extend(bytes(128));
    stream.push(0xC6);
    stream.extend(bytes(72));
    let messages = read(&stream).unwrap();
    let want = [(3, 0, 2, 4), (9, 0x0100_0000, 6, 200), (9, 0x0100_0021, 6, 200)];
    assert_eq!(summary(&messages), want);
    assert_eq!(messages[0].payload, hex("002625a0"));
    assert_eq!(messages[1].stream_id, 1);
    assert_eq!(messages[2].stream_id, 1, "kept from the header before");
}

#[test]
fn chunk_stream_ids_take_one_two_or_three_bytes() {
    for (basic, csid) in [("02", 2), ("3f", 63), ("00 00", 64), ("00 ff", 319), ("01 00 01", 320), ("01 ff ff", 65599)]
    {
        let messages = read(&hex(&format!("{basic} 000000 000001 14 00000000 05"))).unwrap();
        assert_eq!(summary(&messages), [(20, 0, csid, 1)]);
    }
}

#[test]
fn a_type_3_header_repeats_the_time_field() {
    // A timestamp of 10 counts as a delta of 10 (RTMP 1.0, 5.3.1.2.4), then 7 replaces it.
    let messages = read(&hex("04 00000a 000001 08 01000000 aa  c4 bb  84 000007 cc  c4 dd")).unwrap();
    let times: Vec<_> = messages.iter().map(|m| m.timestamp).collect();
    assert_eq!(times, [10, 20, 27, 34]);
    let payloads: Vec<_> = messages.iter().map(|m| m.payload[0]).collect();
    assert_eq!(payloads, [0xAA, 0xBB, 0xCC, 0xDD]);
}

#[test]
fn timestamps_roll_over() {
    let messages = read(&hex("04 ffffff 000001 08 01000000 fffffff0 aa  44 000020 000001 08 bb")).unwrap();
    let times: Vec<_> = messages.iter().map(|m| m.timestamp).collect();
    assert_eq!(times, [0xFFFF_FFF0, 0x10]);
}

#[test]
fn an_extended_delta_is_a_delta() {
    let stream = hex("04 000005 000001 08 01000000 aa  44 ffffff 000001 08 01000000 bb  c4 01000000 cc");
    let times: Vec<_> = read(&stream).unwrap().iter().map(|m| m.timestamp).collect();
    assert_eq!(times, [5, 0x0100_0005, 0x0200_0005]);
}

#[test]
fn a_timestamp_cut_to_31_bits_is_no_payload() {
    let time = 0x8100_0000_u32;
    let messages = read(&message(4, time, 9, &bytes(300), 128, &hex("01000000"))).unwrap();
    assert_eq!(messages[0].payload, bytes(300));
    assert_eq!(messages[0].timestamp, time);
}

#[test]
fn an_aborted_message_leaves_nothing_behind() {
    let mut stream = message(6, 5, 9, &bytes(300), 128, &[])[..12 + 128].to_vec();
    stream.extend(message(2, 0, 2, &hex("00000006"), 128, &[]));
    stream.extend(message(6, 7, 9, &bytes(10), 128, &[]));
    assert_eq!(summary(&read(&stream).unwrap()), [(9, 7, 6, 10)]);
}

#[test]
fn control_messages_may_come_between_the_chunks_of_another() {
    let long = message(6, 5, 9, &bytes(300), 128, &[]);
    let mut stream = long[..12 + 128].to_vec();
    stream.extend(message(2, 0, 4, &hex("0006 01020304"), 128, &[]));
    stream.extend(&long[12 + 128..]);
    let messages = read(&stream).unwrap();
    assert_eq!(summary(&messages), [(4, 0, 2, 6), (9, 5, 6, 300)]);
    assert_eq!(messages[1].payload, bytes(300));
}

#[test]
fn chunk_sizes_are_masked_capped_and_never_zero() {
    for (size, is_fine) in
        [("80000080", true), ("7fffffff", true), ("00000001", true), ("00000000", false), ("80000000", false)]
    {
        let mut stream = message(2, 0, 1, &hex(size), 128, &[]);
        let chunk = if size == "00000001" { 1 } else { 128 };
        stream.extend(message(6, 0, 9, &bytes(100), chunk, &[]));
        match read(&stream) {
            Ok(messages) => assert!(is_fine && messages[0].payload == bytes(100), "{size}"),
            Err(err) => assert!(!is_fine && err.kind == ErrorKind::ChunkSize, "{size}: {err}"),
        }
    }
    assert_eq!(offence(&message(2, 0, 1, &[0, 0, 1], 128, &[])), ErrorKind::ChunkSize);
    assert_eq!(offence(&message(2, 0, 2, &[0], 128, &[])), ErrorKind::Abort);
}

#[test]
fn headers_that_lean_on_nothing_are_refused() {
    assert_eq!(offence(&hex("84 000001")), ErrorKind::NoHeader { csid: 4, fmt: 2 });
    assert_eq!(offence(&hex("c4")), ErrorKind::NoHeader { csid: 4, fmt: 3 });
    // librtmp's first control message.
    assert_eq!(summary(&read(&hex("42 000000 000006 04 0007 11223344")).unwrap()), [(4, 0, 2, 6)]);
}

#[test]
fn a_header_inside_a_message_is_refused() {
    let half = &message(6, 5, 9, &bytes(300), 128, &[])[..12 + 128];
    for fmt in 0..3_u8 {
        let mut stream = half.to_vec();
        stream.push(fmt << 6 | 6);
        assert_eq!(offence(&stream), ErrorKind::HeaderInsideMessage { csid: 6, fmt });
    }
}

#[test]
fn limits_hold() {
    let claim = hex("06 000000 ffffff 09 01000000");
    let err = read(&claim).unwrap_err();
    assert_eq!(err.kind, ErrorKind::MessageTooLarge { len: 0xFF_FFFF, max: 64 << 10 });
    assert_eq!(err.pos, 11);

    let streams: Vec<u8> = (3..20).flat_map(|csid| message(csid, 0, 9, &[1], 128, &[])).collect();
    assert_eq!(offence(&streams), ErrorKind::TooManyChunkStreams(16));

    // Three messages of 64 KiB, each one chunk short of its end.
    let unfinished = |csid| {
        let whole = message(csid, 0, 9, &bytes(64 << 10), 128, &[]);
        whole[..whole.len() - 129].to_vec()
    };
    let two: Vec<u8> = (3..5).flat_map(unfinished).collect();
    assert!(read(&two).unwrap().is_empty());
    let three: Vec<u8> = (3..6).flat_map(unfinished).collect();
    assert_eq!(offence(&three), ErrorKind::TooMuchUnfinished(128 << 10));
}

#[test]
fn too_much_is_too_much_at_the_same_byte_in_any_pieces() {
    let limits = ChunkLimits { max_message: 600, max_chunk_streams: 3, max_partial: 700 };
    let unfinished = |csid| message(csid, 0, 9, &bytes(600), 128, &[])[..12 + 128 * 4 + 3].to_vec();
    let stream = [unfinished(3), unfinished(4)].concat();
    let want = Err(Error { pos: 527 + 12 + 188 + 1, kind: ErrorKind::TooMuchUnfinished(700) });
    for size in 1..=stream.len() {
        let pieces: Vec<_> = stream.chunks(size).collect();
        assert_eq!(read_with(limits, &pieces), want, "in pieces of {size}");
    }
}

#[test]
fn an_error_is_final() {
    let mut reader = ChunkReader::new(LIMITS);
    let error = reader.feed(&mut &hex("c4")[..]).unwrap_err();
    for more in [vec![0xC4], bytes(100), message(6, 5, 9, &bytes(300), 128, &[])] {
        assert_eq!(reader.feed(&mut &more[..]), Err(error));
    }
    assert_eq!(reader.bytes_read(), 1);
}

#[test]
fn wider_limits_hold_from_then_on() {
    let mut reader = ChunkReader::new(LIMITS);
    reader.set_limits(ChunkLimits { max_message: 100_000, ..LIMITS });
    let stream = message(6, 0, 9, &bytes(100_000), 128, &[]);
    assert_eq!(reader.feed(&mut &stream[..]).unwrap().unwrap().payload.len(), 100_000);
}

#[test]
fn a_claimed_length_reserves_nothing() {
    let limits = ChunkLimits { max_message: 16 << 20, max_chunk_streams: 64, max_partial: 16 << 20 };
    let mut reader = ChunkReader::new(limits);
    let mut stream = message(2, 0, 1, &hex("00ffffff"), 128, &[]);
    stream.extend(hex("06 000000 ffffff 09 01000000 aa"));
    assert!(reader.feed(&mut &stream[..]).unwrap().is_none());
    assert!(reader.reserved() < 1024, "{} bytes for one that came", reader.reserved());
}

#[test]
fn a_buffer_is_as_long_as_the_message_once_the_peer_has_sent_as_much() {
    let limits = ChunkLimits { max_message: 1 << 20, max_chunk_streams: 64, max_partial: 2 << 20 };
    let mut reader = ChunkReader::new(limits);
    // In one piece of input: made once, at its full length.
    let whole = message(6, 0, 9, &bytes(60_000), 128, &[]);
    assert!(reader.feed(&mut &whole[..whole.len() - 1]).unwrap().is_none());
    assert_eq!(reader.reserved(), 60_000);
    assert!(reader.feed(&mut &whole[whole.len() - 1..]).unwrap().is_some());

    // One byte each of messages of any length: as much as was delivered whole is set aside, for one of them only.
    let chunk_size_1 = message(2, 0, 1, &hex("00000001"), 128, &[]);
    assert!(reader.feed(&mut &chunk_size_1[..]).unwrap().is_none());
    for csid in 7..60 {
        let begun = &message(csid, 0, 9, &bytes(1 << 20), 128, &[])[..13];
        assert!(reader.feed(&mut &begun[..]).unwrap().is_none());
        let reserved = reader.reserved();
        assert!((60_000..62_000).contains(&reserved), "{reserved} bytes set aside with {} begun", csid - 6);
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_read_or_refused_alike(stream in proptest::collection::vec(any::<u8>(), 0..600), at in 0_usize..600) {
        let (a, b) = stream.split_at(at.min(stream.len()));
        prop_assert_eq!(read_with(LIMITS, &[a, b]), read(&stream));
    }

    /// The writer of another implementation as an oracle, over the edges of 24, 31 and 32 bits.
    #[test]
    fn what_rml_rtmp_writes_is_read_back(
        start in prop_oneof![Just(0_u32), Just(0xFF_FFF0), Just(0x7FFF_FFF0), Just(0xFFFF_FFF0)],
        steps in proptest::collection::vec((0_u32..40, 1_usize..9000, any::<bool>()), 1..20),
        size in prop_oneof![Just(None), Just(Some(4096_u32)), Just(Some(65_536))],
    ) {
        let mut serializer = ChunkSerializer::new();
        let (mut stream, mut want, mut timestamp) = (Vec::new(), Vec::new(), start);
        if let Some(size) = size {
            stream.extend(serializer.set_max_chunk_size(size, RtmpTimestamp::new(0)).unwrap().bytes);
        }
        for (step, len, is_video) in steps {
            timestamp = timestamp.wrapping_add(step);
            let data = Bytes::from(bytes(len));
            let message = if is_video { RtmpMessage::VideoData { data } } else { RtmpMessage::AudioData { data } };
            let payload = MessagePayload::from_rtmp_message(message, RtmpTimestamp::new(timestamp), 1).unwrap();
            stream.extend(serializer.serialize(&payload, false, false).unwrap().bytes);
            want.push((payload.type_id, timestamp, payload.data));
        }
        let messages = read(&stream).unwrap();
        let got: Vec<_> = messages.into_iter().map(|m| (m.type_id, m.timestamp, m.payload)).collect();
        prop_assert_eq!(got, want);
    }
}
