use proptest::prelude::*;
use rml_rtmp::chunk_io::ChunkDeserializer;

use super::*;
use crate::chunk::{ChunkLimits, ChunkReader};

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn form(track: Track, dts: i64, previous: Option<i64>, len: usize) -> WireForm {
    WireForm::new(track, dts, previous, &[&body(len)])
}

fn joined(pieces: &[Bytes]) -> Vec<u8> {
    pieces.concat()
}

/// Bytes of one write.
fn written(writer: &mut MediaWriter, wire: &WireForm) -> Vec<u8> {
    let mut out = Vec::new();
    writer.write(wire, &mut out);
    joined(&out)
}

/// `(type, timestamp, stream, payload)` as read by this crate.
fn read(stream: &[u8]) -> Vec<(u8, u32, u32, Vec<u8>)> {
    let limits = ChunkLimits { max_message: MAX_PAYLOAD, max_chunk_streams: 4, max_partial: MAX_PAYLOAD };
    let mut reader = ChunkReader::new(limits);
    let mut input = &[&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0], stream].concat()[..];
    let mut messages = Vec::new();
    while let Some(m) = reader.feed(&mut input).unwrap() {
        messages.push((m.type_id, m.timestamp, m.stream_id, m.payload.to_vec()));
    }
    messages
}

/// The same, as read by rml_rtmp.
fn read_by_oracle(stream: &[u8]) -> Vec<(u8, u32, u32, Vec<u8>)> {
    let mut oracle = ChunkDeserializer::new();
    oracle.set_max_chunk_size(CHUNK_SIZE).unwrap();
    let mut messages = Vec::new();
    let mut input = stream;
    while let Some(m) = oracle.get_next_message(input).unwrap() {
        messages.push((m.type_id, m.timestamp.value, m.message_stream_id, m.data.to_vec()));
        input = &[];
    }
    messages
}

#[test]
fn the_shared_form_is_a_delta_header_and_separated_payload() {
    let wire = WireForm::new(Track::Video, 133, Some(100), &[&body(5000)[..10], &body(5000)[10..]]);
    let want = [&[0x48, 0, 0, 33, 0, 0x13, 0x88, 9], &body(5000)[..4096], &[0xC8], &body(5000)[4096..]].concat();
    assert_eq!(&wire.chunks[..], want);
    assert_eq!((wire.payload_len(), wire.bytes_len()), (5000, 5009));
    let slices: Vec<_> = wire.payload().collect();
    assert_eq!(slices.iter().map(Bytes::len).collect::<Vec<_>>(), [4096, 904]);
    assert_eq!(joined(&slices), body(5000));
    assert!(slices.iter().all(|slice| wire.chunks.as_ptr_range().contains(&slice.as_ptr())), "shared, not copied");
}

#[test]
fn separators_stand_between_full_chunks_only() {
    for (len, chunks) in [(0, 0), (1, 1), (4095, 1), (4096, 1), (4097, 2), (8192, 2), (8193, 3)] {
        let wire = form(Track::Audio, 0, None, len);
        assert_eq!(wire.payload().count(), chunks, "{len}");
        assert_eq!(wire.bytes_len(), 8 + len + chunks.saturating_sub(1), "{len}");
    }
}

#[test]
fn a_session_shares_forms_after_its_first_header() {
    let mut writer = MediaWriter::new(7, 1000);
    let (first, second) = (form(Track::Video, 1000, Some(960), 20), form(Track::Video, 1040, Some(1000), 20));
    let head = [8, 0, 0, 0, 0, 0, 20, 9, 7, 0, 0, 0];
    assert_eq!(written(&mut writer, &first), [&head, &body(20)[..]].concat());
    let mut out = Vec::new();
    writer.write(&second, &mut out);
    assert_eq!(out, std::slice::from_ref(&second.chunks));
    assert_eq!(out[0].as_ptr(), second.chunks.as_ptr(), "the same memory");
}

#[test]
fn a_run_continues_only_what_it_follows() {
    let forms = [
        form(Track::Video, 40, Some(0), 10),
        form(Track::Audio, 45, Some(21), 5),
        form(Track::Video, 80, Some(40), 10),
    ];
    let run = Run::new(&forms).expect("a run");
    assert_eq!(run.bytes_len(), forms.iter().map(WireForm::bytes_len).sum::<usize>());

    let mut in_step = MediaWriter::new(1, 0);
    for (track, dts) in [(Track::Video, 0), (Track::Audio, 21)] {
        written(&mut in_step, &form(track, dts, None, 10));
    }
    let mut one_by_one = MediaWriter::new(1, 0);
    for (track, dts) in [(Track::Video, 0), (Track::Audio, 21)] {
        written(&mut one_by_one, &form(track, dts, None, 10));
    }
    assert!(in_step.continue_with(&run));
    let singly: Vec<u8> = forms.iter().flat_map(|form| written(&mut one_by_one, form)).collect();
    assert_eq!(joined(run.slices()), singly);
    let next = form(Track::Video, 120, Some(80), 10);
    assert_eq!(written(&mut in_step, &next), written(&mut one_by_one, &next));

    // It has been sent: it does not fit twice, nor where one track was left out.
    assert!(!in_step.continue_with(&run));
    let mut without_audio = MediaWriter::new(1, 0);
    written(&mut without_audio, &form(Track::Video, 0, None, 10));
    assert!(!without_audio.continue_with(&run));

    // A gap inside, and a step that no shared header can carry.
    assert!(Run::new(&[forms[0].clone(), form(Track::Video, 120, Some(80), 10)]).is_none());
    assert!(Run::new(&[form(Track::Video, 0x0100_0000, Some(0), 10)]).is_none());
}

#[test]
fn a_skip_takes_a_private_delta() {
    let mut writer = MediaWriter::new(1, 0);
    written(&mut writer, &form(Track::Audio, 0, None, 4));
    let after_skip = form(Track::Audio, 69, Some(46), 4);
    assert_eq!(written(&mut writer, &after_skip), [&[0x49, 0, 0, 69, 0, 0, 4, 8], &body(4)[..]].concat());
    let next = form(Track::Audio, 92, Some(69), 4);
    assert_eq!(written(&mut writer, &next), next.chunks);
}

#[test]
fn tracks_do_not_touch_each_other() {
    let mut writer = MediaWriter::new(1, 0);
    written(&mut writer, &form(Track::Video, 10, None, 4));
    let audio = written(&mut writer, &form(Track::Audio, 12, Some(10), 4));
    assert_eq!(audio[0], 9, "its own first header is a full one");
    let data = written(&mut writer, &form(Track::Data, 12, None, 4));
    assert_eq!((data[0], data[7]), (10, 18));
}

#[test]
fn a_step_back_takes_a_full_header() {
    let mut writer = MediaWriter::new(1, 0);
    written(&mut writer, &form(Track::Video, 100, None, 4));
    let back = form(Track::Video, 60, Some(100), 4);
    assert_eq!(written(&mut writer, &back)[..4], [8, 0, 0, 60]);
    let next = form(Track::Video, 80, Some(60), 4);
    assert_eq!(written(&mut writer, &next), next.chunks);
}

#[test]
fn a_form_without_a_delta_is_never_shared() {
    let mut writer = MediaWriter::new(1, 0);
    written(&mut writer, &form(Track::Video, 0, None, 4));
    let alone = form(Track::Video, 0, None, 4);
    assert_eq!(written(&mut writer, &alone)[..4], [0x48, 0, 0, 0]);
    let far = form(Track::Video, 0xFF_FFFF, Some(0), 4);
    assert_eq!(written(&mut writer, &far)[..4], [8, 0xFF, 0xFF, 0xFF], "no extended delta");
}

#[test]
fn an_extended_timestamp_is_in_every_chunk() {
    let mut writer = MediaWriter::new(1, 0);
    let wire = form(Track::Video, 0x0100_0000, None, 5000);
    let ext = [1, 0, 0, 0];
    let head = [8, 0xFF, 0xFF, 0xFF, 0, 0x13, 0x88, 9, 1, 0, 0, 0];
    let want = [&head[..], &ext, &body(5000)[..4096], &[0xC8], &ext, &body(5000)[4096..]].concat();
    assert_eq!(written(&mut writer, &wire), want);
    let next = form(Track::Video, 0x0100_0021, Some(0x0100_0000), 5000);
    assert_eq!(written(&mut writer, &next), next.chunks, "deltas stay small past the edge");
}

#[test]
fn a_header_sent_again_carries_the_keyframes_time() {
    let mut writer = MediaWriter::new(1, 500);
    let header = form(Track::Video, 20, None, 40);
    let key = form(Track::Video, 500, Some(460), 40);
    let mut out = Vec::new();
    writer.write_at(&header, 500, &mut out);
    writer.write(&key, &mut out);
    let stream = joined(&out);
    let times: Vec<_> = read(&stream).iter().map(|m| m.1).collect();
    assert_eq!(times, [0, 0]);
}

#[test]
fn what_lies_before_the_base_is_sent_as_zero() {
    let mut writer = MediaWriter::new(1, 500);
    let mut stream = Vec::new();
    for (dts, previous) in [(400, None), (450, Some(400)), (520, Some(450)), (540, Some(520))] {
        stream.extend(written(&mut writer, &form(Track::Audio, dts, previous, 4)));
    }
    let times: Vec<_> = read(&stream).iter().map(|m| m.1).collect();
    assert_eq!(times, [0, 0, 20, 40]);
}

#[test]
fn empty_messages_are_headers_only() {
    let mut writer = MediaWriter::new(1, 0);
    let mut stream = written(&mut writer, &form(Track::Audio, 0x0100_0000, None, 0));
    stream.extend(written(&mut writer, &form(Track::Audio, 0x0100_0010, Some(0x0100_0000), 0)));
    let want = [(8, 0x0100_0000, 1, vec![]), (8, 0x0100_0010, 1, vec![])];
    assert_eq!(read(&stream), want);
}

#[test]
fn a_payload_beyond_the_format_is_cut() {
    let wire = WireForm::new(Track::Data, 0, None, &[b"head", &vec![1; MAX_PAYLOAD]]);
    assert_eq!(wire.payload_len(), MAX_PAYLOAD);
    assert_eq!(wire.payload().map(|slice| slice.len()).sum::<usize>(), MAX_PAYLOAD);
}

proptest! {
    /// Sessions that join, skip and go on over the edges of 24, 31 and 32 bits: two readers agree with what was sent.
    #[test]
    fn two_readers_see_what_was_sent(
        base in prop_oneof![Just(0_i64), Just(86_400_000), Just(-5000)],
        start in prop_oneof![Just(0_i64), Just(0xFF_FFC0), Just(0x7FFF_FFC0), Just(0xFFFF_FFC0)],
        steps in proptest::collection::vec(
            (-30_i64..60, 1_usize..9000, prop_oneof![Just(Track::Video), Just(Track::Audio), Just(Track::Data)], 0..5_u8),
            1..40,
        ),
    ) {
        let mut writer = MediaWriter::new(3, base);
        let mut previous = [None; 3];
        let (mut dts, mut stream, mut want) = (base + start, Vec::new(), Vec::new());
        for (step, len, track, luck) in steps {
            dts = (dts + step).max(base);
            let wire = form(track, dts, previous[track.index()].replace(dts), len);
            // One in five is skipped by this session.
            if luck > 0 {
                stream.extend(written(&mut writer, &wire));
                want.push((track.type_id(), (dts - base) as u32, 3, body(len)));
            }
        }
        prop_assert_eq!(&read(&stream), &want);
        prop_assert_eq!(&read_by_oracle(&stream), &want);
    }
}
