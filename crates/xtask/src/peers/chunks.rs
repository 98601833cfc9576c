//! A reader of a publisher's chunk stream that keeps the beginning of each message and skips the rest: what it costs per
//! byte is the least that a server can get by with.

use anyhow::{Result, bail};

/// Payload bytes kept of each message: enough for a stamp, and for every control message.
pub(crate) const HEAD: usize = 48;

/// A whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// RTMP 1.0, 7.1.
    pub(crate) type_id: u8,
    /// Payload bytes.
    pub(crate) len: u32,
    /// The first of them, at most [`HEAD`].
    pub(crate) head: &'a [u8],
}

/// The reader of one connection, from the first byte after the handshake on.
#[derive(Debug)]
pub(crate) struct ChunkParser {
    chunk_size: u32,
    /// Few, so a search is faster than a hash.
    streams: Vec<Stream>,
    /// The chunk whose payload is being read: its stream's place, and the bytes still to come.
    chunk: Option<(usize, u32)>,
    /// The beginning of a header that the last read cut off.
    pending: Vec<u8>,
}

impl ChunkParser {
    pub(crate) fn new() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE, streams: Vec::new(), chunk: None, pending: Vec::new() }
    }

    /// Takes all of `input`; `on_message` gets each message that becomes whole.
    pub(crate) fn feed(&mut self, mut input: &[u8], on_message: &mut impl FnMut(Message<'_>)) -> Result<()> {
        while !input.is_empty() {
            if let Some((at, left)) = self.chunk {
                let (piece, rest) = input.split_at(input.len().min(left as usize));
                input = rest;
                let left = left - piece.len() as u32;
                self.chunk = (left > 0).then_some((at, left));
                self.streams[at].take(piece);
                self.finish(at, on_message);
            } else if self.pending.is_empty() {
                match self.header(input)? {
                    Some((header, len)) => {
                        input = &input[len..];
                        self.begin(&header, on_message);
                    }
                    None => {
                        self.pending.extend_from_slice(input);
                        return Ok(());
                    }
                }
            } else {
                self.pending.push(input[0]);
                input = &input[1..];
                if let Some((header, len)) = self.header(&self.pending)? {
                    let taken = std::mem::take(&mut self.pending);
                    self.begin(&header, on_message);
                    // Bytes that might have been an extended timestamp and are payload.
                    self.feed(&taken[len..], on_message)?;
                }
            }
        }
        Ok(())
    }

    /// The header at the beginning of `bytes` with what it leaves out filled in, and its length; None if it is cut off.
    fn header(&self, bytes: &[u8]) -> Result<Option<(Header, usize)>> {
        let Some((fmt, csid, basic)) = basic_header(bytes) else {
            return Ok(None);
        };
        let at = self.streams.iter().position(|stream| stream.header.csid == csid);
        let mut header = match at {
            Some(at) => self.streams[at].header,
            // librtmp opens its control stream with type 1.
            None if fmt < 2 => Header { csid, ..Header::default() },
            None => bail!("a type {fmt} header is the first on chunk stream {csid}"),
        };
        let end = basic + FIELDS_LEN[usize::from(fmt)];
        let Some(fields) = bytes.get(basic..end) else {
            return Ok(None);
        };
        if let [a, b, c, ..] = *fields {
            header.time = u32::from_be_bytes([0, a, b, c]);
            header.is_extended = header.time == EXTENDED;
        }
        if let [_, _, _, a, b, c, type_id, ..] = *fields {
            header.len = u32::from_be_bytes([0, a, b, c]);
            header.type_id = type_id;
        }
        if !header.is_extended {
            return Ok(Some((header, end)));
        }
        let extended = &bytes[end..bytes.len().min(end + 4)];
        if fmt == 3 && !header.time.to_be_bytes().starts_with(extended) {
            // Many writers leave the extended timestamp out of type 3 chunks.
            return Ok(Some((header, end)));
        }
        let Ok(time) = <[u8; 4]>::try_from(extended) else {
            return Ok(None);
        };
        header.time = u32::from_be_bytes(time);
        Ok(Some((header, end + 4)))
    }

    fn begin(&mut self, header: &Header, on_message: &mut impl FnMut(Message<'_>)) {
        let at = self.streams.iter().position(|stream| stream.header.csid == header.csid).unwrap_or_else(|| {
            self.streams.push(Stream::default());
            self.streams.len() - 1
        });
        let stream = &mut self.streams[at];
        stream.header = *header;
        let left = header.len.saturating_sub(stream.taken).min(self.chunk_size);
        self.chunk = (left > 0).then_some((at, left));
        self.finish(at, on_message);
    }

    /// Hands the stream's message over if it is whole, and obeys those that speak of the chunk stream (RTMP 1.0, 5.4).
    fn finish(&mut self, at: usize, on_message: &mut impl FnMut(Message<'_>)) {
        let stream = &mut self.streams[at];
        let Header { len, type_id, .. } = stream.header;
        if stream.taken < len {
            return;
        }
        let head = stream.head;
        let head = &head[..HEAD.min(stream.taken as usize)];
        stream.taken = 0;
        let value = head.first_chunk().map(|&bytes| u32::from_be_bytes(bytes));
        match (type_id, value) {
            (SET_CHUNK_SIZE, Some(size @ 1..)) => self.chunk_size = size & 0x7FFF_FFFF,
            (ABORT, Some(csid)) => {
                if let Some(aborted) = self.streams.iter_mut().find(|stream| stream.header.csid == csid) {
                    aborted.taken = 0;
                }
            }
            _ => {}
        }
        on_message(Message { type_id, len, head });
    }
}

/// What a chunk stream keeps from chunk to chunk.
#[derive(Debug)]
struct Stream {
    header: Header,
    /// Payload bytes of the unfinished message.
    taken: u32,
    head: [u8; HEAD],
}

impl Default for Stream {
    fn default() -> Self {
        Self { header: Header::default(), taken: 0, head: [0; HEAD] }
    }
}

impl Stream {
    fn take(&mut self, piece: &[u8]) {
        if let Some(room) = self.head.get_mut(self.taken as usize..) {
            let kept = piece.len().min(room.len());
            room[..kept].copy_from_slice(&piece[..kept]);
        }
        self.taken += piece.len() as u32;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Header {
    csid: u32,
    time: u32,
    is_extended: bool,
    len: u32,
    type_id: u8,
}

/// Format, chunk stream id and length of a basic header (RTMP 1.0, 5.3.1.1); None if it is cut off.
fn basic_header(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let &first = bytes.first()?;
    let (csid, len) = match first & 0x3F {
        0 => (64 + u32::from(*bytes.get(1)?), 2),
        1 => (64 + u32::from(*bytes.get(1)?) + 256 * u32::from(*bytes.get(2)?), 3),
        csid => (u32::from(csid), 1),
    };
    Some((first >> 6, csid, len))
}

const FIELDS_LEN: [usize; 4] = [11, 7, 3, 0];
const DEFAULT_CHUNK_SIZE: u32 = 128;
/// The time field that says that 32 bits follow (RTMP 1.0, 5.3.1.3).
const EXTENDED: u32 = 0x00FF_FFFF;
const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = (u8, u32, Vec<u8>);

    fn read(parser: &mut ChunkParser, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut on_message = |m: Message<'_>| seen.push((m.type_id, m.len, m.head.to_vec()));
        parser.feed(bytes, &mut on_message).unwrap();
        seen
    }

    /// All bytes at once, cut in two at every place, and one by one.
    fn in_any_pieces(bytes: &[u8], expected: &[Seen]) {
        assert_eq!(read(&mut ChunkParser::new(), bytes), expected);
        for at in 0..=bytes.len() {
            let mut parser = ChunkParser::new();
            let mut seen = read(&mut parser, &bytes[..at]);
            seen.extend(read(&mut parser, &bytes[at..]));
            assert_eq!(seen, expected, "cut at {at}");
        }
        let mut parser = ChunkParser::new();
        let seen: Vec<_> = bytes.iter().flat_map(|&byte| read(&mut parser, &[byte])).collect();
        assert_eq!(seen, expected, "byte by byte");
    }

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    fn message(type_id: u8, payload: &[u8]) -> Seen {
        (type_id, payload.len() as u32, payload[..payload.len().min(HEAD)].to_vec())
    }

    #[test]
    fn every_header_form_is_read_wherever_it_is_cut() {
        let (long, short) = (payload(300), payload(5));
        let mut bytes = vec![4, 0, 0, 9, 0, 1, 44, 9, 1, 0, 0, 0];
        bytes.extend(&long[..128]);
        bytes.extend([5, 0, 0, 9, 0, 0, 5, 8, 1, 0, 0, 0]);
        bytes.extend(&short);
        bytes.push(0xC4);
        bytes.extend(&long[128..256]);
        bytes.push(0xC4);
        bytes.extend(&long[256..]);
        bytes.extend([0x45, 0, 0, 2, 0, 0, 5, 8]);
        bytes.extend(&short);
        bytes.extend([0x85, 0, 0, 7]);
        bytes.extend(&short);
        bytes.push(0xC5);
        bytes.extend(&short);
        // Chunk stream ids of two and three bytes, and a message without payload.
        bytes.extend([0x00, 10, 0, 0, 9, 0, 0, 5, 18, 1, 0, 0, 0]);
        bytes.extend(&short);
        bytes.extend([0x01, 10, 1, 0, 0, 9, 0, 0, 0, 20, 1, 0, 0, 0]);
        let small = message(8, &short);
        let expected = [
            small.clone(),
            message(9, &long),
            small.clone(),
            small.clone(),
            small,
            message(18, &short),
            message(20, &[]),
        ];
        in_any_pieces(&bytes, &expected);
    }

    #[test]
    fn the_chunk_size_is_obeyed_and_abort_drops_what_is_unfinished() {
        let long = payload(200);
        let mut bytes = vec![4, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0];
        bytes.extend(&long[..128]);
        bytes.extend([2, 0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 4]);
        bytes.extend([2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0]);
        bytes.extend([0x44, 0, 0, 0, 0, 0, 200, 9]);
        bytes.extend(&long);
        in_any_pieces(&bytes, &[message(2, &[0, 0, 0, 4]), message(1, &[0, 0, 0x10, 0]), message(9, &long)]);
    }

    #[test]
    fn extended_timestamps_are_skipped_in_type_3_chunks_if_they_are_there() {
        for repeated in [true, false] {
            let long = payload(300);
            let time = [1, 2, 3, 4];
            let mut bytes = vec![4, 0xFF, 0xFF, 0xFF, 0, 1, 44, 9, 1, 0, 0, 0];
            bytes.extend(time);
            for (n, chunk) in long.chunks(128).enumerate() {
                if n > 0 {
                    bytes.push(0xC4);
                    bytes.extend(&time[..if repeated { 4 } else { 0 }]);
                }
                bytes.extend(chunk);
            }
            // A delta without extension ends it.
            bytes.extend([0x84, 0, 0, 1]);
            bytes.extend(&long[..128]);
            bytes.push(0xC4);
            bytes.extend(&long[128..256]);
            bytes.push(0xC4);
            bytes.extend(&long[256..]);
            in_any_pieces(&bytes, &[message(9, &long), message(9, &long)]);
        }
    }

    #[test]
    fn a_stream_that_begins_without_a_header_is_an_error() {
        assert!(ChunkParser::new().feed(&[0xC4, 1], &mut |_| {}).is_err());
    }

    #[test]
    fn what_a_session_of_this_project_writes_is_read() {
        use rtmp::wire::{MediaWriter, Track, WireForm};
        let mut writer = MediaWriter::new(1, 0);
        let mut bytes = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0];
        let body = payload(10_000);
        let mut previous = None;
        for dts in [0, 33, 66, 1 << 25, (1 << 25) + 33] {
            let mut pieces: Vec<bytes::Bytes> = Vec::new();
            writer.write(&WireForm::new(Track::Video, dts, previous, &[&body]), &mut pieces);
            previous = Some(dts);
            bytes.extend(pieces.iter().flat_map(|piece| piece.to_vec()));
        }
        let mut expected = vec![message(1, &[0, 0, 0x10, 0])];
        expected.extend(std::iter::repeat_n(message(9, &body), 5));
        assert_eq!(read(&mut ChunkParser::new(), &bytes), expected);
    }
}
