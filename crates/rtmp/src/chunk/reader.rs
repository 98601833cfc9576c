//! The reader's state machine.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::{ChunkLimits, Error, ErrorKind, Message};

/// Puts a peer's chunks together to messages, whatever the pieces they arrive in.
///
/// Messages of several chunk streams may be interleaved (RTMP 1.0, 5.3). SetChunkSize and Abort are obeyed at once and
/// not handed out.
///
/// A payload byte is copied once, from the input into its message's buffer. Memory grows with the bytes that have
/// arrived, never with a length that a header claims: a buffer is made as long as the message only if the peer has sent
/// as much before, be it in the same piece of input or as an earlier whole message, and only for one message at a time.
/// Any other doubles as it fills.
#[derive(Debug)]
pub struct ChunkReader {
    limits: ChunkLimits,
    chunk_size: usize,
    streams: HashMap<u32, Stream>,
    /// The header being received; empty inside a chunk's payload.
    header: HeaderBytes,
    /// The chunk whose payload is being received.
    chunk: Option<Chunk>,
    /// Bytes taken for an extended timestamp that turned out to be payload; they come before any input.
    returned: HeaderBytes,
    /// Payload bytes of all unfinished messages.
    partial: usize,
    /// Payload bytes of the longest message that has come whole.
    longest: usize,
    bytes_read: u64,
    failed: Option<Error>,
}

impl ChunkReader {
    /// A reader at the first byte behind the handshake.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: HashMap::new(),
            header: HeaderBytes::default(),
            chunk: None,
            returned: HeaderBytes::default(),
            partial: 0,
            longest: 0,
            bytes_read: 0,
            failed: None,
        }
    }

    /// Replaces the limits, as when a peer has shown who it is.
    pub fn set_limits(&mut self, limits: ChunkLimits) {
        self.limits = limits;
    }

    /// Takes bytes off `input` up to the end of the next message. None means that all input is taken and the next
    /// message is not whole: to be called until then. An error is final, and every later call returns it again.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.next_message(input);
        self.failed = outcome.as_ref().err().copied();
        outcome
    }

    /// Bytes taken since the handshake, for acknowledgements.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes of memory set aside for the payloads of unfinished messages.
    pub fn reserved(&self) -> usize {
        self.streams.values().map(|stream| stream.payload.capacity()).sum()
    }

    fn next_message(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            let message = if self.returned.is_empty() {
                if input.is_empty() {
                    return Ok(None);
                }
                let before = input.len();
                let message = self.step(input);
                self.bytes_read += (before - input.len()) as u64;
                message?
            } else {
                // What a step gives back again is no longer than what it took.
                let again = std::mem::take(&mut self.returned);
                let mut rest = again.as_slice();
                let message = self.step(&mut rest)?;
                self.returned.extend(rest);
                message
            };
            if let Some(message) = message
                && let Some(message) = self.obey(message)?
            {
                return Ok(Some(message));
            }
        }
    }

    /// One header byte, or as much of a chunk's payload as there is. `input` is not empty.
    fn step(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        if let Some(chunk) = self.chunk {
            return self.payload(chunk, input);
        }
        let Some((&byte, rest)) = input.split_first() else {
            return Ok(None);
        };
        *input = rest;
        self.header.push(byte);
        match self.parse_header()? {
            Parsed::Incomplete => Ok(None),
            Parsed::Header { header, len } => {
                let after = self.header.split_off(len);
                self.header = HeaderBytes::default();
                self.returned = after;
                self.begin_chunk(&header)
            }
        }
    }

    fn parse_header(&self) -> Result<Parsed, Error> {
        let bytes = self.header.as_slice();
        let Some((fmt, csid, basic_len)) = basic_header(bytes) else {
            return Ok(Parsed::Incomplete);
        };
        let stream = self.streams.get(&csid);
        // librtmp opens its control stream with type 1, which says all that a message needs but its stream.
        if stream.is_none() && fmt > 1 {
            return Err(self.fault(ErrorKind::NoHeader { csid, fmt }));
        }
        if stream.is_some_and(|stream| stream.unfinished) && fmt < 3 {
            return Err(self.fault(ErrorKind::HeaderInsideMessage { csid, fmt }));
        }
        let fields_end = basic_len + FIELDS_LEN[usize::from(fmt)];
        let Some(fields) = bytes.get(basic_len..fields_end) else {
            return Ok(Parsed::Incomplete);
        };

        let mut header = stream.map(|stream| stream.header).unwrap_or_default();
        header.fmt = fmt;
        header.csid = csid;
        if let [a, b, c, ..] = *fields {
            header.time = u32::from_be_bytes([0, a, b, c]);
            header.is_extended = header.time == EXTENDED;
        }
        if let [_, _, _, a, b, c, type_id, ..] = *fields {
            header.len = u32::from_be_bytes([0, a, b, c]) as usize;
            header.type_id = type_id;
        }
        if let [.., a, b, c, d] = *fields
            && fmt == 0
        {
            header.stream_id = u32::from_le_bytes([a, b, c, d]);
        }
        if !header.is_extended {
            return Ok(Parsed::Header { header, len: fields_end });
        }

        let extended = &bytes[fields_end..];
        if fmt == 3 && !is_prefix_of_time(extended, header.time) {
            // Many writers leave the extended timestamp out of type 3 chunks: these bytes are payload.
            return Ok(Parsed::Header { header, len: fields_end });
        }
        let Ok(time) = <[u8; 4]>::try_from(extended) else {
            return Ok(Parsed::Incomplete);
        };
        if fmt < 3 {
            header.time = u32::from_be_bytes(time);
        }
        Ok(Parsed::Header { header, len: fields_end + time.len() })
    }

    fn begin_chunk(&mut self, header: &Header) -> Result<Option<Message>, Error> {
        let ChunkLimits { max_message, max_chunk_streams, .. } = self.limits;
        if header.len > max_message {
            return Err(self.fault(ErrorKind::MessageTooLarge { len: header.len, max: max_message }));
        }
        if !self.streams.contains_key(&header.csid) && self.streams.len() >= max_chunk_streams {
            return Err(self.fault(ErrorKind::TooManyChunkStreams(max_chunk_streams)));
        }
        let stream = self.streams.entry(header.csid).or_default();
        stream.header = *header;
        if !stream.unfinished {
            stream.unfinished = true;
            // A type 3 header repeats the time field before it, as a delta even if that was a timestamp
            // (RTMP 1.0, 5.3.1.2.4).
            stream.timestamp = if header.fmt == 0 { header.time } else { stream.timestamp.wrapping_add(header.time) };
        }
        let left = (header.len - stream.payload.len()).min(self.chunk_size);
        if left == 0 {
            return Ok(self.finish_message(header.csid));
        }
        self.chunk = Some(Chunk { csid: header.csid, left });
        Ok(None)
    }

    fn payload(&mut self, chunk: Chunk, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        let room = self.limits.max_partial.saturating_sub(self.partial);
        if room == 0 {
            return Err(self.fault(ErrorKind::TooMuchUnfinished(self.limits.max_partial)));
        }
        // No more than there is room for, so that the offence has its place however the bytes arrive.
        let (piece, rest) = input.split_at(chunk.left.min(room).min(input.len()));
        *input = rest;
        self.partial += piece.len();
        let stream = self.streams.entry(chunk.csid).or_default();
        let missing = stream.header.len.saturating_sub(stream.payload.len());
        let gathered = stream.payload.len();
        if stream.payload.capacity() - gathered < piece.len() {
            let is_only_one = self.partial == gathered + piece.len();
            let earned = if is_only_one { self.longest.max(piece.len() + rest.len()) } else { piece.len() };
            stream.payload.reserve(missing.min(gathered.max(earned)));
        }
        stream.payload.extend_from_slice(piece);
        let left = chunk.left - piece.len();
        self.chunk = (left > 0).then_some(Chunk { left, ..chunk });
        let is_whole = missing == piece.len();
        Ok(if is_whole { self.finish_message(chunk.csid) } else { None })
    }

    fn finish_message(&mut self, csid: u32) -> Option<Message> {
        let stream = self.streams.get_mut(&csid)?;
        let payload = stream.take_payload();
        self.partial -= payload.len();
        self.longest = self.longest.max(payload.len());
        let Header { type_id, stream_id, .. } = stream.header;
        Some(Message { type_id, timestamp: stream.timestamp, stream_id, csid, payload })
    }

    /// Keeps the messages that speak of the chunk stream itself (RTMP 1.0, 5.4.1 and 5.4.2).
    fn obey(&mut self, message: Message) -> Result<Option<Message>, Error> {
        let first = message.payload.first_chunk().map(|&bytes| u32::from_be_bytes(bytes));
        match message.type_id {
            SET_CHUNK_SIZE => {
                // The highest bit is reserved, and no message is longer than 24 bits can say.
                let size = first.map(|size| size & 0x7FFF_FFFF).filter(|&size| size > 0);
                let size = size.ok_or_else(|| self.fault(ErrorKind::ChunkSize))?;
                self.chunk_size = size.min(EXTENDED) as usize;
            }
            ABORT => {
                let csid = first.ok_or_else(|| self.fault(ErrorKind::Abort))?;
                if let Some(stream) = self.streams.get_mut(&csid) {
                    self.partial -= stream.take_payload().len();
                }
            }
            _ => return Ok(Some(message)),
        }
        Ok(None)
    }

    fn fault(&self, kind: ErrorKind) -> Error {
        Error { pos: self.bytes_read, kind }
    }
}

/// What a chunk stream keeps from chunk to chunk.
#[derive(Debug, Default)]
struct Stream {
    header: Header,
    timestamp: u32,
    payload: BytesMut,
    /// A message has begun and is not whole.
    unfinished: bool,
}

impl Stream {
    fn take_payload(&mut self) -> Bytes {
        self.unfinished = false;
        std::mem::take(&mut self.payload).freeze()
    }
}

/// A chunk's header with what it leaves out filled in from the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    fmt: u8,
    csid: u32,
    /// A timestamp in a type 0 header, else a delta; the extended one where there is one.
    time: u32,
    is_extended: bool,
    len: usize,
    type_id: u8,
    stream_id: u32,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    csid: u32,
    left: usize,
}

enum Parsed {
    Incomplete,
    /// The header takes `len` of the bytes held; any more are payload.
    Header {
        header: Header,
        len: usize,
    },
}

/// Up to one header's bytes.
#[derive(Debug, Default)]
struct HeaderBytes {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl HeaderBytes {
    fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    fn extend(&mut self, more: &[u8]) {
        let end = self.len + more.len();
        self.bytes[self.len..end].copy_from_slice(more);
        self.len = end;
    }

    fn split_off(&self, at: usize) -> Self {
        let mut rest = Self::default();
        rest.extend(&self.as_slice()[at..]);
        rest
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Format, chunk stream id and length of a basic header (RTMP 1.0, 5.3.1.1); None if it is not all there.
fn basic_header(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let &first = bytes.first()?;
    let (csid, len) = match first & 0x3F {
        0 => (64 + u32::from(*bytes.get(1)?), 2),
        1 => (64 + u32::from(*bytes.get(1)?) + 256 * u32::from(*bytes.get(2)?), 3),
        csid => (u32::from(csid), 1),
    };
    Some((first >> 6, csid, len))
}

/// Whether a type 3 chunk's first bytes may be the extended timestamp `time`, which some writers cut to 31 bits.
fn is_prefix_of_time(bytes: &[u8], time: u32) -> bool {
    [time, time & 0x7FFF_FFFF].iter().any(|time| time.to_be_bytes().starts_with(bytes))
}

/// Bytes behind the basic header by its format (RTMP 1.0, 5.3.1.2).
const FIELDS_LEN: [usize; 4] = [11, 7, 3, 0];
/// Basic header, fields and extended timestamp.
const MAX_HEADER: usize = 18;
const DEFAULT_CHUNK_SIZE: usize = 128;
/// The time field that says that 32 bits follow (RTMP 1.0, 5.3.1.3); also the longest length a header can claim.
const EXTENDED: u32 = 0x00FF_FFFF;
const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;
