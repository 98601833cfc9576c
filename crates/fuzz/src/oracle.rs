//! This project's chunks and AMF0 against those of another implementation, wherever both are defined.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use flv::amf0::{self, Limits, Value};
use rtmp::{
    chunk::{ChunkLimits, ChunkReader},
    oracle::{self, Written},
    wire::{CHUNK_SIZE, MediaWriter, Track, WireForm},
};

use crate::input::Input;

/// One byte of choice, then what that takes.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => its_chunks(&mut input),
        1 => our_chunks(&mut input),
        _ => values(&mut input),
    }
}

/// What it writes is read by this project as it was meant.
fn its_chunks(input: &mut Input<'_>) {
    let mut writer = oracle::Writer::new();
    let (mut stream, mut want, mut timestamp) = (Vec::new(), Vec::new(), input.pick(&STARTS));
    while !input.is_empty() && want.len() < 40 {
        let step = input.byte();
        if step == 255 {
            // Into smaller chunks it does not split its control messages as specified.
            stream.extend(writer.set_chunk_size(u32::from(input.u16()) + 4));
            continue;
        }
        // Mostly small steps ahead; some back, some over the edge of 24 bits.
        timestamp = match step {
            0..200 => timestamp.wrapping_add(u32::from(step)),
            200..230 => timestamp.wrapping_sub(u32::from(step)),
            _ => timestamp.wrapping_add(0x00FF_FFF0 + u32::from(step & 0x1F)),
        };
        let (type_id, stream_id) = (input.pick(&[8, 9, 18, 20, 4]), u32::from(input.byte() % 2));
        let payload = body(input);
        let may_be_dropped = input.byte() & 7 == 0;
        let message = Written { type_id, timestamp, stream_id, payload };
        stream.extend(writer.write(&message, may_be_dropped));
        want.push(message);
    }
    let limits = ChunkLimits { max_message: 64 << 10, max_chunk_streams: 8, max_partial: 64 << 10 };
    let mut reader = ChunkReader::new(limits);
    let (mut rest, mut got) = (&stream[..], Vec::new());
    while let Some(message) = reader.feed(&mut rest).expect("it writes sound chunks") {
        let rtmp::chunk::Message { type_id, timestamp, stream_id, payload, .. } = message;
        got.push(Written { type_id, timestamp, stream_id, payload });
    }
    assert_eq!(got, want);
    assert_eq!((reader.bytes_read(), reader.reserved()), (stream.len() as u64, 0));
}

/// What a session of this project writes is read by both as it was meant: joins, skips, steps back, headers again.
fn our_chunks(input: &mut Input<'_>) {
    let base = i64::from(input.u16()) - 1000;
    let stream_id = u32::from(input.byte()) + 1;
    let mut writer = MediaWriter::new(stream_id, base);
    let (mut dts, mut previous) = (base + i64::from(input.pick(&STARTS)), [None; 3]);
    let (mut pieces, mut want) = (Vec::<Bytes>::new(), Vec::new());
    for _ in 0..40 {
        if input.is_empty() {
            break;
        }
        let track = input.pick(&[Track::Video, Track::Audio, Track::Data]);
        let step = input.byte();
        dts += match step {
            0..200 => i64::from(step),
            200..240 => -i64::from(step),
            _ => 0x00FF_FFF0 + i64::from(step & 0x1F),
        };
        let payload = body(input);
        let (a, b) = payload.split_at(payload.len().min(usize::from(input.byte())));
        let last = &mut previous[usize::from(track.csid() - Track::Video.csid())];
        let wire = WireForm::new(track, dts, last.replace(dts), &[a, b]);
        assert_eq!(wire.payload().collect::<Vec<_>>().concat(), payload);
        let sent_at = match input.byte() % 8 {
            // Skipped by this session.
            0 => continue,
            1 => {
                writer.write_at(&wire, dts + 40, &mut pieces);
                dts + 40
            }
            _ => {
                writer.write(&wire, &mut pieces);
                dts
            }
        };
        let timestamp = (sent_at.max(base) - base) as u32;
        want.push(Written { type_id: track.type_id(), timestamp, stream_id, payload });
    }
    let stream = pieces.concat();
    assert_eq!(oracle::read(&stream, CHUNK_SIZE).expect("this project writes sound chunks"), want);

    let limits = ChunkLimits { max_message: 64 << 10, max_chunk_streams: 4, max_partial: 64 << 10 };
    let mut reader = ChunkReader::new(limits);
    let chunk_size = [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0];
    assert_eq!(reader.feed(&mut &chunk_size[..]), Ok(None));
    let (mut rest, mut got) = (&stream[..], Vec::new());
    while let Some(message) = reader.feed(&mut rest).expect("this project writes sound chunks") {
        let rtmp::chunk::Message { type_id, timestamp, stream_id, payload, .. } = message;
        got.push(Written { type_id, timestamp, stream_id, payload });
    }
    assert_eq!(got, want);
}

/// Not empty: it writes nothing for a message without a payload.
fn body(input: &mut Input<'_>) -> Bytes {
    let (len, seed) = (usize::from(input.u16() % 9000) + 1, input.byte());
    (0..len).map(|at| (at * 7 + at / 251) as u8 ^ seed).collect::<Vec<_>>().into()
}

/// Values that both know mean the same to both, whoever writes them.
fn values(input: &mut Input<'_>) {
    let Ok(values) = amf0::decode_all(Bytes::copy_from_slice(input.rest()), &Limits::default()) else { return };
    let values: Vec<_> = values.iter().map(sorted).collect();
    let Some(theirs) = oracle::write_values(&values) else { return };
    let ours = encode(&values);
    let read_by_it = oracle::read_values(&ours).expect("this project writes sound AMF0");
    assert_eq!(encode(&read_by_it), ours);
    let read = amf0::decode_all(theirs.into(), &Limits::default()).expect("it writes sound AMF0");
    assert_eq!(encode(&read.iter().map(sorted).collect::<Vec<_>>()), ours);
}

/// The value as far as both can tell it: properties in no order, each name once.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(props) | Value::EcmaArray(props) => {
            let props: BTreeMap<_, _> = props.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            Value::Object(props.into_iter().collect())
        }
        Value::StrictArray(values) => Value::StrictArray(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Compared as bytes, NaN is itself.
fn encode(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| amf0::encode(value, &mut out));
    out.freeze()
}

const STARTS: [u32; 4] = [0, 0x00FF_FF00, 0x7FFF_FF00, 0xFFFF_FF00];
