//! Commands (RTMP 1.0, 7.1.1): a name, a transaction and arguments, all in AMF0.

use bytes::{Buf, Bytes};
use flv::amf0::{self, Limits, Props, Value};

use crate::chunk::Message;

/// AMF0 command.
pub(crate) const COMMAND: u8 = 20;
/// A command in AMF3, which in practice is a zero byte and AMF0.
pub(crate) const COMMAND_AMF3: u8 = 17;

/// A command as peers send it: only the name is sure to be there.
pub(crate) struct Command {
    pub(crate) name: Bytes,
    /// 0 when there is none.
    pub(crate) transaction: f64,
    pub(crate) arguments: Vec<Value>,
}

impl Command {
    /// The command in a message of type 20 or 17; None if it has no name.
    pub(crate) fn decode(message: &Message, limits: &Limits) -> Result<Option<Self>, flv::Error> {
        let mut payload = message.payload.clone();
        if message.type_id == COMMAND_AMF3 && payload.first() == Some(&0) {
            payload.advance(1);
        }
        let mut values = amf0::decode_all(payload, limits)?.into_iter();
        let Some(Value::String(name)) = values.next() else {
            return Ok(None);
        };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        Ok(Some(Self { name, transaction, arguments: values.collect() }))
    }

    /// The first argument that has properties: what a status or an error says.
    pub(crate) fn info(&self) -> Option<&Props> {
        self.arguments.iter().find_map(Value::as_props)
    }
}

/// The bytes of a string.
pub(crate) fn text(value: &Value) -> Option<&Bytes> {
    match value {
        Value::String(text) | Value::LongString(text) => Some(text),
        _ => None,
    }
}

/// The bytes of the property `name`, if it is a string.
pub(crate) fn property<'a>(props: &'a Props, name: &str) -> &'a [u8] {
    props.get(name).and_then(text).map_or(&[], |text| text)
}

/// An object of `pairs`.
pub(crate) fn object<const N: usize>(pairs: [(&'static str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().collect())
}
