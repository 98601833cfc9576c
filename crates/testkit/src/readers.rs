//! RTMP chunk streams (RTMP 1.0, 5.3) as the programs out there read them. It shares no code with the `rtmp` crate, so
//! that it is a check of it.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};

/// Whose reading of the specification. They differ in the extended timestamp and in what a form-3 header that begins a
/// message adds to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// To the letter: 32 bits; an extended field of forms 1 and 2 is a delta, and stands in every form-3 chunk behind it
    /// (5.3.1.3). Form 3 that begins a message repeats the delta, or the time of a form 0 (5.3.1.2.4).
    Spec,
    /// SRS: 31 bits; an extended field is absolute whatever the form, and counts in a continuation only if it equals the
    /// clock. Otherwise its bytes are payload.
    Srs,
    /// librtmp before 2.4 and in OBS: no extended field in form-3 chunks.
    Librtmp,
    /// nginx-rtmp with `publish_time_fix`, as by default: like the specification, but form 3 that begins a message behind
    /// a form 0 adds nothing.
    Nginx,
}

impl Personality {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Spec, Self::Srs, Self::Librtmp, Self::Nginx];

    /// The bits that its timestamps have.
    pub fn mask(self) -> u32 {
        if self == Self::Srs { 0x7FFF_FFFF } else { u32::MAX }
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the payload is (RTMP 1.0, 7.1).
    pub type_id: u8,
    /// Absolute, in ms, in the bits of its reader.
    pub timestamp: u32,
    /// The message stream.
    pub stream_id: u32,
    /// The chunk stream that it came on.
    pub chunk_stream: u32,
    /// The form of its first chunk's header, 0 to 3.
    pub form: u8,
    /// The payload.
    pub payload: Bytes,
}

/// Puts messages together, and takes offence where its personality does.
#[derive(Debug)]
pub struct Reader {
    personality: Personality,
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

/// What stands before a chunk's payload.
struct Header {
    form: u8,
    id: u32,
    /// The 24-bit field of forms 0 to 2.
    time: Option<u32>,
    /// The 32-bit field, where this reader sees one.
    extended: Option<u32>,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

impl Reader {
    /// A reader at the beginning of a connection, with chunks of 128 bytes.
    pub fn new(personality: Personality) -> Self {
        Self { personality, input: BytesMut::new(), chunk_size: 128, streams: BTreeMap::new() }
    }

    /// One whose peer has announced its chunk size already.
    #[must_use]
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// Whose reading it has.
    pub fn personality(&self) -> Personality {
        self.personality
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The peer's chunk size in bytes.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// True when no message is half read.
    pub fn between_messages(&self) -> bool {
        self.input.is_empty() && self.streams.values().all(|stream| stream.partial.is_empty())
    }

    /// The next whole message; None when more bytes are needed. SetChunkSize is obeyed and also given out.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends would not go on after more bytes")]
    pub fn next(&mut self) -> Result<Option<Message>, String> {
        loop {
            let mut rest = &self.input[..];
            let Some(header) = self.header(&mut rest)? else { return Ok(None) };
            let have = self.streams.get(&header.id).map_or(0, |stream| stream.partial.len());
            let payload_len = header.length.saturating_sub(have).min(self.chunk_size);
            if rest.len() < payload_len {
                return Ok(None);
            }
            self.input.advance(self.input.len() - rest.len());
            let payload = self.input.split_to(payload_len);
            let Some(message) = self.take(&header, &payload) else { continue };
            if message.type_id == 1 {
                self.chunk_size = new_chunk_size(&message.payload)?;
            }
            return Ok(Some(message));
        }
    }

    /// Reads a header off `rest` and changes nothing; None when it is not here as a whole.
    fn header(&self, rest: &mut &[u8]) -> Result<Option<Header>, String> {
        let Some((form, id)) = basic_header(rest) else { return Ok(None) };
        let header_len = [11, 7, 3, 0][usize::from(form)];
        let Some((mut fields, after)) = rest.split_at_checked(header_len) else { return Ok(None) };
        *rest = after;
        let known = self.streams.get(&id);
        let midway = known.is_some_and(|stream| !stream.partial.is_empty());
        if form != 0 && known.is_none() {
            return Err(format!("form {form} on chunk stream {id}, which is new"));
        }
        if midway && form != 3 {
            return Err(format!("form {form} inside a message on chunk stream {id}"));
        }
        let time = (form < 3).then(|| fields.get_uint(3) as u32);
        let length = if form < 2 { fields.get_uint(3) as usize } else { known.map_or(0, |stream| stream.length) };
        let type_id = if form < 2 { fields.get_u8() } else { known.map_or(0, |stream| stream.type_id) };
        let stream_id = if form == 0 { fields.get_u32_le() } else { known.map_or(0, |stream| stream.stream_id) };
        let expected = match time {
            Some(time) => time == EXTENDED,
            None => self.personality != Personality::Librtmp && known.is_some_and(|stream| stream.extended),
        };
        let extended = if expected {
            let mut field = *rest;
            let Ok(value) = field.try_get_u32() else { return Ok(None) };
            let clock = known.map_or(0, |stream| stream.timestamp);
            let is_payload =
                self.personality == Personality::Srs && midway && clock > 0 && value & self.personality.mask() != clock;
            if !is_payload {
                *rest = field;
            }
            (!is_payload).then_some(value)
        } else {
            None
        };
        Ok(Some(Header { form, id, time, extended, length, type_id, stream_id }))
    }

    /// Adds a chunk to its message; gives the message when that is whole.
    fn take(&mut self, header: &Header, payload: &[u8]) -> Option<Message> {
        let stream = self.streams.entry(header.id).or_default();
        if stream.partial.is_empty() {
            stream.begin(self.personality, header);
        }
        stream.partial.extend_from_slice(payload);
        if stream.partial.len() < stream.length {
            return None;
        }
        Some(Message {
            type_id: stream.type_id,
            timestamp: stream.timestamp,
            stream_id: stream.stream_id,
            chunk_stream: header.id,
            form: stream.form,
            payload: std::mem::take(&mut stream.partial).freeze(),
        })
    }
}

impl Stream {
    fn begin(&mut self, personality: Personality, header: &Header) {
        let value = header.extended.or(header.time);
        match (personality, header.form) {
            (Personality::Srs, _) if header.extended.is_some() => self.timestamp = header.extended.unwrap_or_default(),
            (Personality::Nginx, 0) => (self.timestamp, self.delta) = (value.unwrap_or_default(), 0),
            (_, 0) => (self.timestamp, self.delta) = (value.unwrap_or_default(), value.unwrap_or_default()),
            _ => {
                self.delta = value.unwrap_or(self.delta);
                self.timestamp = self.timestamp.wrapping_add(self.delta);
            }
        }
        self.timestamp &= personality.mask();
        if let Some(time) = header.time {
            self.extended = time == EXTENDED;
        }
        self.length = header.length;
        self.type_id = header.type_id;
        self.stream_id = header.stream_id;
        self.form = header.form;
    }
}

/// Form and chunk stream id (RTMP 1.0, 5.3.1.1).
fn basic_header(input: &mut &[u8]) -> Option<(u8, u32)> {
    let first = input.try_get_u8().ok()?;
    let id = match first & 0x3F {
        0 => u32::from(input.try_get_u8().ok()?) + 64,
        1 => u32::from(input.try_get_u16_le().ok()?) + 64,
        id => u32::from(id),
    };
    Some((first >> 6, id))
}

fn new_chunk_size(mut payload: &[u8]) -> Result<usize, String> {
    let size = payload.try_get_u32().map_err(|_| "SetChunkSize without a size")?;
    if size == 0 || size > 0x7FFF_FFFF { Err(format!("SetChunkSize {size}")) } else { Ok(size as usize) }
}

/// The 24-bit field's value that says that 32 bits follow.
const EXTENDED: u32 = 0x00FF_FFFF;

#[cfg(test)]
mod tests;
