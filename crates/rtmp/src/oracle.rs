//! Another implementation's chunks and AMF0, as a measure of this one's. For tests and fuzzing only: it must not be given
//! a peer's bytes.

use bytes::Bytes;
use flv::amf0::Value;
use rml_amf0::Amf0Value;
use rml_rtmp::{
    chunk_io::{ChunkDeserializer, ChunkSerializer},
    messages::MessagePayload,
    time::RtmpTimestamp,
};

/// What a message says, whatever chunk stream it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// RTMP 1.0, 5.4 and 7.1.
    pub type_id: u8,
    /// In ms, modulo 2^32.
    pub timestamp: u32,
    /// The message stream.
    pub stream_id: u32,
    /// Its bytes.
    pub payload: Bytes,
}

/// Writes chunks as rml_rtmp does: on a chunk stream by type, with the shortest header that will do.
pub struct Writer(ChunkSerializer);

impl Writer {
    /// At the first byte behind the handshake.
    #[expect(clippy::new_without_default, reason = "a writer begins a stream; nothing defaults to one")]
    pub fn new() -> Self {
        Self(ChunkSerializer::new())
    }

    /// The message that announces chunks of `size` bytes, which is not 0.
    pub fn set_chunk_size(&mut self, size: u32) -> Vec<u8> {
        let packet = self.0.set_max_chunk_size(size, RtmpTimestamp::new(0));
        packet.expect("any size but 0 will do").bytes
    }

    /// A message, which is not empty. After one that may be dropped, the next has a full header.
    pub fn write(&mut self, message: &Written, may_be_dropped: bool) -> Vec<u8> {
        let Written { type_id, timestamp, stream_id, ref payload } = *message;
        let message = MessagePayload {
            timestamp: RtmpTimestamp::new(timestamp),
            type_id,
            message_stream_id: stream_id,
            data: payload.clone(),
        };
        self.0.serialize(&message, false, may_be_dropped).expect("messages of less than 16 MiB").bytes
    }
}

/// The messages that rml_rtmp reads from a stream of whole chunks, SetChunkSize among them and not obeyed.
pub fn read(stream: &[u8], chunk_size: usize) -> Result<Vec<Written>, String> {
    let mut reader = ChunkDeserializer::new();
    reader.set_max_chunk_size(chunk_size).map_err(|error| error.to_string())?;
    let (mut messages, mut input) = (Vec::new(), stream);
    while let Some(message) = reader.get_next_message(input).map_err(|error| error.to_string())? {
        let MessagePayload { timestamp, type_id, message_stream_id, data } = message;
        messages.push(Written { type_id, timestamp: timestamp.value, stream_id: message_stream_id, payload: data });
        input = &[];
    }
    Ok(messages)
}

/// The values of a message as rml_amf0 reads them; properties sorted by name.
pub fn read_values(mut message: &[u8]) -> Result<Vec<Value>, String> {
    let values = rml_amf0::deserialize(&mut message).map_err(|error| error.to_string())?;
    Ok(values.into_iter().map(ours).collect())
}

/// A message of `values` as rml_amf0 writes it; None if it knows one of them not, or not by its bytes.
pub fn write_values(values: &[Value]) -> Option<Vec<u8>> {
    let values = values.iter().map(theirs).collect::<Option<Vec<_>>>()?;
    rml_amf0::serialize(&values).ok()
}

fn ours(value: Amf0Value) -> Value {
    match value {
        Amf0Value::Number(number) => Value::Number(number),
        Amf0Value::Boolean(flag) => Value::Boolean(flag),
        Amf0Value::Utf8String(text) => Value::String(text.into()),
        Amf0Value::Object(properties) => {
            let mut properties: Vec<_> = properties.into_iter().map(|(name, value)| (name, ours(value))).collect();
            properties.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(properties.into_iter().collect())
        }
        Amf0Value::StrictArray(values) => Value::StrictArray(values.into_iter().map(ours).collect()),
        Amf0Value::Null => Value::Null,
        Amf0Value::Undefined => Value::Undefined,
    }
}

fn theirs(value: &Value) -> Option<Amf0Value> {
    Some(match value {
        Value::Number(number) => Amf0Value::Number(*number),
        Value::Boolean(flag) => Amf0Value::Boolean(*flag),
        Value::String(text) => Amf0Value::Utf8String(std::str::from_utf8(text).ok()?.to_owned()),
        Value::Object(props) => {
            let property = |(name, value): (&Bytes, &Value)| {
                // An empty name is taken for the end.
                let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
                Some((name.to_owned(), theirs(value)?))
            };
            Amf0Value::Object(props.iter().map(property).collect::<Option<_>>()?)
        }
        Value::StrictArray(values) => Amf0Value::StrictArray(values.iter().map(theirs).collect::<Option<_>>()?),
        Value::Null => Amf0Value::Null,
        Value::Undefined => Amf0Value::Undefined,
        _ => return None,
    })
}
