//! RTMP chunks (RTMP 1.0, 5.3), read strictly and written plainly.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};

/// A whole message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) type_id: u8,
    pub(super) timestamp: u32,
    pub(super) stream_id: u32,
    pub(super) chunk_stream: u32,
    pub(super) form: u8,
    pub(super) payload: Bytes,
}

/// Puts messages together.
#[derive(Debug)]
pub(super) struct Reader {
    input: BytesMut,
    chunk_size: usize,
    streams: BTreeMap<u32, Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    timestamp: u32,
    delta: u32,
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
    form: u8,
    partial: BytesMut,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { input: BytesMut::new(), chunk_size: 128, streams: BTreeMap::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    pub(super) fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// True when no message is half read.
    pub(super) fn between_messages(&self) -> bool {
        self.input.is_empty() && self.streams.values().all(|stream| stream.partial.is_empty())
    }

    /// The next whole message; None when more bytes are needed. SetChunkSize is obeyed and also given out.
    pub(super) fn next(&mut self) -> Result<Option<Message>, String> {
        loop {
            let mut chunk = &self.input[..];
            let before = chunk.len();
            let done = read_chunk(&mut chunk, self.chunk_size, &mut self.streams)?;
            let consumed = before - chunk.len();
            let Some(done) = done else { return Ok(None) };
            self.input.advance(consumed);
            let Some(message) = done else { continue };
            if message.type_id == 1 {
                let mut payload = &message.payload[..];
                let size = payload.try_get_u32().map_err(|_| "SetChunkSize without a size")?;
                if size == 0 || size > 0x7FFF_FFFF {
                    return Err(format!("SetChunkSize {size}"));
                }
                self.chunk_size = size as usize;
            }
            return Ok(Some(message));
        }
    }
}

/// None: the chunk is not here as a whole. Some(None): a chunk, and the message goes on.
fn read_chunk(
    input: &mut &[u8],
    chunk_size: usize,
    streams: &mut BTreeMap<u32, Stream>,
) -> Result<Option<Option<Message>>, String> {
    let Ok(basic) = input.try_get_u8() else { return Ok(None) };
    let form = basic >> 6;
    let id = match basic & 0x3F {
        0 => match input.try_get_u8() {
            Ok(low) => u32::from(low) + 64,
            Err(_) => return Ok(None),
        },
        1 => match input.try_get_u16_le() {
            Ok(low) => u32::from(low) + 64,
            Err(_) => return Ok(None),
        },
        id => u32::from(id),
    };
    let header_len = [11, 7, 3, 0][usize::from(form)];
    if input.len() < header_len {
        return Ok(None);
    }
    let (mut header, rest) = input.split_at(header_len);
    *input = rest;
    let known = streams.get(&id);
    if form != 0 && known.is_none() {
        return Err(format!("form {form} on chunk stream {id}, which is new"));
    }
    let midway = known.is_some_and(|stream| !stream.partial.is_empty());
    if midway && form != 3 {
        return Err(format!("form {form} inside a message on chunk stream {id}"));
    }
    let time = if form < 3 { Some(header.get_uint(3) as u32) } else { None };
    let extended = time.map_or_else(|| known.is_some_and(|stream| stream.extended), |time| time == 0xFF_FFFF);
    let length = if form < 2 { header.get_uint(3) as usize } else { known.map_or(0, |stream| stream.length) };
    let type_id = if form < 2 { header.get_u8() } else { known.map_or(0, |stream| stream.type_id) };
    let stream_id = if form == 0 { header.get_u32_le() } else { known.map_or(0, |stream| stream.stream_id) };
    let long_time = match extended.then(|| input.try_get_u32()) {
        Some(Err(_)) => return Ok(None),
        Some(Ok(time)) => Some(time),
        None => None,
    };
    let have = known.map_or(0, |stream| stream.partial.len());
    let payload_len = (length - have).min(chunk_size);
    if input.len() < payload_len {
        return Ok(None);
    }
    let (payload, rest) = input.split_at(payload_len);
    *input = rest;

    let stream = streams.entry(id).or_default();
    if !midway {
        let value = if extended { long_time } else { time };
        match (form, value) {
            (0, Some(absolute)) => {
                stream.timestamp = absolute;
                stream.delta = 0;
            }
            (1 | 2, Some(delta)) => {
                stream.delta = delta;
                stream.timestamp = stream.timestamp.wrapping_add(delta);
            }
            _ => stream.timestamp = stream.timestamp.wrapping_add(stream.delta),
        }
        stream.extended = extended;
        stream.length = length;
        stream.type_id = type_id;
        stream.stream_id = stream_id;
        stream.form = form;
    }
    stream.partial.extend_from_slice(payload);
    if stream.partial.len() < stream.length {
        return Ok(Some(None));
    }
    Ok(Some(Some(Message {
        type_id: stream.type_id,
        timestamp: stream.timestamp,
        stream_id: stream.stream_id,
        chunk_stream: id,
        form: stream.form,
        payload: std::mem::take(&mut stream.partial).freeze(),
    })))
}

/// A message in chunks of a size, as pieces that other messages may stand between.
pub(super) fn write(chunk_stream: u8, type_id: u8, stream_id: u32, payload: &[u8], chunk_size: usize) -> Vec<Vec<u8>> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut header = vec![chunk_stream, 0, 0, 0, length[1], length[2], length[3], type_id];
    header.extend_from_slice(&stream_id.to_le_bytes());
    let mut pieces: Vec<Vec<u8>> = payload
        .chunks(chunk_size)
        .enumerate()
        .map(|(n, part)| {
            let mut piece = if n == 0 { header.clone() } else { vec![0xC0 | chunk_stream] };
            piece.extend_from_slice(part);
            piece
        })
        .collect();
    if pieces.is_empty() {
        pieces.push(header);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_from_their_chunks_at_any_split() {
        let payload: Vec<u8> = (0..300).map(|n| n as u8).collect();
        let bytes = write(3, 20, 1, &payload, 128).concat();
        for split in 0..bytes.len() {
            let mut reader = Reader::new();
            reader.push(&bytes[..split]);
            assert!(reader.next().unwrap().is_none());
            reader.push(&bytes[split..]);
            let message = reader.next().unwrap().expect("a whole message");
            assert_eq!((message.type_id, message.stream_id, message.chunk_stream), (20, 1, 3));
            assert_eq!(message.payload, payload);
            assert!(reader.between_messages());
        }
    }

    #[test]
    fn deltas_and_extended_timestamps_add_up() {
        let mut reader = Reader::new();
        reader.push(b"\x08\xFF\xFF\xFF\0\0\x01\x09\x01\0\0\0\x01\0\0\0A");
        reader.push(b"\x48\0\0\x28\0\0\x01\x09B");
        reader.push(b"\xC8C");
        let times: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).map(|message| message.timestamp).collect();
        assert_eq!(times, [0x0100_0000, 0x0100_0028, 0x0100_0050]);
    }

    #[test]
    fn a_delta_without_a_first_message_is_an_offence() {
        let mut reader = Reader::new();
        reader.push(b"\x48\0\0\x28\0\0\x01\x09B");
        assert!(reader.next().unwrap_err().contains("which is new"));
    }
}
