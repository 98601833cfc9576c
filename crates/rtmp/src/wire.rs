//! Media messages as RTMP chunks: the form that every output shares, and what one session adds to it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Payload bytes per chunk, in every session this crate writes (RTMP 1.0, 5.4.1).
///
/// Larger chunks are reported as an anomaly by some platforms; smaller ones only cost headers.
pub const CHUNK_SIZE: usize = 4096;

/// The largest payload of a message in bytes: its length is a 24-bit field (RTMP 1.0, 5.3.1.2.1).
pub const MAX_PAYLOAD: usize = 0x00FF_FFFF;

/// A media track of a publish session. Its value is the chunk stream that it has to itself.
///
/// All are below 32, the first that nginx-rtmp refuses, and none is written by a session's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Track {
    /// Video messages, type 9.
    Video = 8,
    /// Audio messages, type 8.
    Audio = 9,
    /// AMF0 data messages, type 18.
    Data = 10,
}

impl Track {
    /// The chunk stream id.
    pub fn csid(self) -> u8 {
        self as u8
    }

    /// The message type (RTMP 1.0, 7.1).
    pub fn type_id(self) -> u8 {
        match self {
            Self::Video => 9,
            Self::Audio => 8,
            Self::Data => 18,
        }
    }

    fn index(self) -> usize {
        usize::from(self.csid() - Self::Video.csid())
    }
}

/// One message in chunks of [`CHUNK_SIZE`] behind a fmt-1 header whose delta counts from the message before it on its
/// track: the same bytes for every session that sent that predecessor. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireForm {
    track: Track,
    dts: i64,
    /// The DTS that the header's delta counts from; none if no delta can be written.
    follows: Option<i64>,
    payload_len: u32,
    chunks: Bytes,
}

impl WireForm {
    /// Makes the chunks of the message whose payload is `payload_parts` one after the other, copied once.
    ///
    /// `dts` and `previous`, the DTS of the message before it on the track, are in ms. Bytes beyond [`MAX_PAYLOAD`] are
    /// left out: no message can carry them.
    pub fn new(track: Track, dts: i64, previous: Option<i64>, payload_parts: &[&[u8]]) -> Self {
        let payload_len = payload_parts.iter().map(|part| part.len()).sum::<usize>().min(MAX_PAYLOAD);
        let follows = previous.filter(|&previous| plain_delta(previous, dts).is_some());
        let delta = follows.and_then(|previous| plain_delta(previous, dts)).unwrap_or(0);

        let separators = payload_len.saturating_sub(1) / CHUNK_SIZE;
        let mut chunks = BytesMut::with_capacity(FMT1_LEN + payload_len + separators);
        put_fmt1(&mut chunks, track, delta, payload_len as u32);
        let mut left = payload_len;
        for part in payload_parts {
            let mut part = &part[..part.len().min(left)];
            while part.has_remaining() {
                let done = payload_len - left;
                if done > 0 && done.is_multiple_of(CHUNK_SIZE) {
                    chunks.put_u8(FMT3 | track.csid());
                }
                let room = CHUNK_SIZE - done % CHUNK_SIZE;
                let piece = part.len().min(room);
                chunks.put_slice(&part[..piece]);
                part.advance(piece);
                left -= piece;
            }
        }
        Self { track, dts, follows, payload_len: payload_len as u32, chunks: chunks.freeze() }
    }

    /// The track it belongs to.
    pub fn track(&self) -> Track {
        self.track
    }

    /// Its DTS in ms.
    pub fn dts(&self) -> i64 {
        self.dts
    }

    /// Payload bytes, without chunk headers.
    pub fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// All bytes held, chunk headers included: what the form costs in memory and on the wire.
    pub fn bytes_len(&self) -> usize {
        self.chunks.len()
    }

    /// The payload in slices of at most [`CHUNK_SIZE`] bytes that share this form's memory.
    pub fn payload(&self) -> impl Iterator<Item = Bytes> + use<> {
        let mut body = self.body();
        std::iter::from_fn(move || {
            if body.is_empty() {
                return None;
            }
            let slice = body.split_to(body.len().min(CHUNK_SIZE));
            body.advance(body.len().min(1));
            Some(slice)
        })
    }

    /// The chunks without the first one's header.
    fn body(&self) -> Bytes {
        self.chunks.slice(FMT1_LEN..)
    }
}

/// Forms that follow one another on their tracks, ready to be sent by every session that sent what comes before them.
#[derive(Clone, Debug)]
pub struct Run {
    slices: Vec<Bytes>,
    bytes: usize,
    /// By track: the DTS that its first form follows, and that of its last.
    tracks: [Option<(i64, i64)>; 3],
}

impl Run {
    /// The forms one after the other. None if one of them does not follow the one before it on its track by a delta
    /// that can be shared.
    pub fn new<'a>(forms: impl IntoIterator<Item = &'a WireForm>) -> Option<Self> {
        let mut run = Self { slices: Vec::new(), bytes: 0, tracks: [None; 3] };
        for form in forms {
            let follows = form.follows?;
            let track = &mut run.tracks[form.track.index()];
            *track = match *track {
                None => Some((follows, form.dts)),
                Some((first, last)) if last == follows => Some((first, form.dts)),
                Some(_) => return None,
            };
            run.bytes += form.chunks.len();
            run.slices.push(form.chunks.clone());
        }
        Some(run)
    }

    /// The forms' bytes, one slice each.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// Their bytes together.
    pub fn bytes_len(&self) -> usize {
        self.bytes
    }
}

/// What one publish session adds to the shared forms: its message stream id, its zero on the timeline, and a header of
/// its own wherever it did not send a form's predecessor.
///
/// No message starts with fmt 2 or 3, and no delta is ever extended: peers disagree on what those mean.
#[derive(Debug)]
pub struct MediaWriter {
    stream_id: u32,
    base: i64,
    /// The DTS last sent on each track.
    last: [Option<i64>; 3],
}

impl MediaWriter {
    /// A writer for message stream `stream_id` whose timestamps are DTS − `base`, in ms modulo 2^32. A DTS before
    /// `base` is sent as 0.
    pub fn new(stream_id: u32, base: i64) -> Self {
        Self { stream_id, base, last: [None; 3] }
    }

    /// Whether `run` continues what was sent, so that its bytes can be sent as they are. Then they count as sent.
    pub fn continue_with(&mut self, run: &Run) -> bool {
        let fits = |(track, last): (&Option<(i64, i64)>, &Option<i64>)| match track {
            Some((follows, _)) => *last == Some(*follows),
            None => true,
        };
        if !run.tracks.iter().zip(&self.last).all(fits) {
            return false;
        }
        for (track, last) in run.tracks.iter().zip(&mut self.last) {
            *last = track.map_or(*last, |(_, dts)| Some(dts));
        }
        true
    }

    /// Appends the message's bytes to `out`: the shared form as it is, or a private header and the shared body.
    pub fn write(&mut self, wire: &WireForm, out: &mut impl Extend<Bytes>) {
        self.write_at(wire, wire.dts, out);
    }

    /// Like [`write`](Self::write), stamped with `dts` instead of the form's own, as for a header sent again at a
    /// keyframe.
    pub fn write_at(&mut self, wire: &WireForm, dts: i64, out: &mut impl Extend<Bytes>) {
        let last = self.last[wire.track.index()];
        if dts == wire.dts && last.is_some() && last == wire.follows {
            self.last[wire.track.index()] = Some(dts);
            out.extend([wire.chunks.clone()]);
            return;
        }
        let dts = dts.max(self.base);
        let last = self.last[wire.track.index()].replace(dts);
        let mut head = BytesMut::with_capacity(FMT0_LEN + EXTENDED_LEN);
        if let Some(delta) = last.and_then(|last| plain_delta(last, dts)) {
            put_fmt1(&mut head, wire.track, delta, wire.payload_len);
            out.extend([head.freeze(), wire.body()]);
            return;
        }
        // Truncation is the modulus: timestamps roll over at 2^32 (RTMP 1.0, 4).
        let timestamp = dts.wrapping_sub(self.base) as u32;
        put_fmt0(&mut head, wire.track, timestamp, wire.payload_len, self.stream_id);
        if timestamp < EXTENDED {
            out.extend([head.freeze(), wire.body()]);
            return;
        }
        head.put_u32(timestamp);
        let mut separator = BytesMut::with_capacity(1 + EXTENDED_LEN);
        separator.put_u8(FMT3 | wire.track.csid());
        separator.put_u32(timestamp);
        let separator = separator.freeze();
        let mut start = head.freeze();
        for slice in wire.payload() {
            out.extend([std::mem::replace(&mut start, separator.clone()), slice]);
        }
        if wire.payload_len == 0 {
            out.extend([start]);
        }
    }
}

/// The step from `previous` to `dts` if a header can carry it without the extended field.
fn plain_delta(previous: i64, dts: i64) -> Option<u32> {
    u32::try_from(dts.checked_sub(previous)?).ok().filter(|&delta| delta < EXTENDED)
}

/// RTMP 1.0, 5.3.1.2.1.
fn put_fmt0(head: &mut BytesMut, track: Track, timestamp: u32, len: u32, stream_id: u32) {
    head.put_u8(track.csid());
    head.put_uint(u64::from(timestamp.min(EXTENDED)), 3);
    head.put_uint(u64::from(len), 3);
    head.put_u8(track.type_id());
    head.put_u32_le(stream_id);
}

/// RTMP 1.0, 5.3.1.2.2.
fn put_fmt1(head: &mut BytesMut, track: Track, delta: u32, len: u32) {
    head.put_u8(FMT1 | track.csid());
    head.put_uint(u64::from(delta), 3);
    head.put_uint(u64::from(len), 3);
    head.put_u8(track.type_id());
}

/// The 24-bit field's value that says that 32 bits follow (RTMP 1.0, 5.3.1.3).
const EXTENDED: u32 = 0x00FF_FFFF;
const EXTENDED_LEN: usize = 4;
const FMT0_LEN: usize = 12;
const FMT1_LEN: usize = 8;
const FMT1: u8 = 0x40;
const FMT3: u8 = 0xC0;

#[cfg(test)]
mod tests;
