//! What a peer writes: chunks and commands as an encoder or a server makes them, so that a fuzzer need not invent them.

use bytes::{BufMut, BytesMut};
use flv::amf0::{self, Value};

use crate::input::Input;

/// C0, C1 and C2, or S0, S1 and S2, without digests.
pub const HANDSHAKE: [u8; 1 + 2 * 1536] = {
    let mut bytes = [0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
};

/// A writer of chunks that begin with type 0 headers.
pub struct Peer {
    chunk_size: usize,
}

impl Default for Peer {
    /// At the first byte behind the handshake.
    fn default() -> Self {
        Self { chunk_size: 128 }
    }
}

impl Peer {
    /// A message that begins with a type 0 header, in chunks of the size last announced. Above 63, `csid` is none.
    pub fn message(&mut self, csid: u8, type_id: u8, timestamp: u32, stream_id: u32, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u8(csid);
        out.put_uint(u64::from(timestamp.min(EXTENDED)), 3);
        out.put_uint(payload.len() as u64, 3);
        out.put_u8(type_id);
        out.put_u32_le(stream_id);
        if timestamp >= EXTENDED {
            out.put_u32(timestamp);
        }
        for (n, piece) in payload.chunks(self.chunk_size).enumerate() {
            if n > 0 {
                out.put_u8(0xC0 | csid);
                if timestamp >= EXTENDED {
                    out.put_u32(timestamp);
                }
            }
            out.put_slice(piece);
        }
        if let (1, Some(size)) = (type_id, payload.first_chunk()) {
            self.chunk_size = (u32::from_be_bytes(*size) & 0x7FFF_FFFF).clamp(1, EXTENDED) as usize;
        }
        out
    }

    /// A command in AMF0.
    pub fn command(&mut self, stream_id: u32, values: &[Value]) -> BytesMut {
        let mut payload = BytesMut::new();
        values.iter().for_each(|value| amf0::encode(value, &mut payload));
        self.message(3, 20, 0, stream_id, &payload)
    }
}

/// A command of one of the `names`, with a transaction and arguments drawn from `input`, texts partly from `texts`.
pub(crate) fn command(input: &mut Input<'_>, names: &[&str], texts: &[&str]) -> Vec<Value> {
    let mut values = vec![Value::str(input.pick(names))];
    let count = input.byte() % 6;
    if count > 0 {
        values.push(Value::Number(match input.byte() {
            255 => f64::NAN,
            254 => 1.5,
            253 => 1e300,
            n => f64::from(n % 8),
        }));
    }
    values.extend((1..count).map(|_| value(input, texts, 2)));
    values
}

fn value(input: &mut Input<'_>, texts: &[&str], depth: usize) -> Value {
    match input.byte() % 8 {
        0 => Value::Null,
        1 => Value::Number(f64::from(input.u32())),
        2 => Value::str(input.pick(texts)),
        3 => Value::String(input.short().to_vec().into()),
        4 => Value::String([input.pick(texts).as_bytes(), input.short(), input.pick(texts).as_bytes()].concat().into()),
        5 if depth > 0 => Value::StrictArray((0..input.byte() % 4).map(|_| value(input, texts, depth - 1)).collect()),
        6 if depth > 0 => {
            let props = (0..input.byte() % 5).map(|_| {
                let name = input.pick(&["level", "code", "description", "app", "tcUrl", ""]);
                (name, value(input, texts, depth - 1))
            });
            Value::Object(props.collect())
        }
        _ => Value::Undefined,
    }
}

const EXTENDED: u32 = 0x00FF_FFFF;
