//! AMF0: both readers judge alike, the limits hold, and what was read survives being written.

use bytes::{Bytes, BytesMut};
use flv::amf0::{self, Limits, Value};

use crate::input::Input;

/// Four bytes of limits, and the message.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        depth: usize::from(input.byte() % 20),
        values: usize::from(input.byte()) * 8,
        string: usize::from(input.u16()),
    };
    let message = Bytes::copy_from_slice(input.rest());
    let scanned = amf0::scan(&message, &limits);
    let values = match amf0::decode_all(message.clone(), &limits) {
        Ok(values) => values,
        Err(error) => {
            assert_eq!(scanned, Err(error), "the readers disagree");
            assert!(error.pos <= message.len() as u64, "{error}");
            return refused(message, &limits);
        }
    };
    let size = values.iter().map(|value| Size::of(value, &limits)).fold(Size::default(), Size::beside);
    assert_eq!(scanned, Ok(size.values), "the readers disagree");
    assert!(size.values <= limits.values && size.depth <= limits.depth, "{size:?} within {limits:?}");

    let encoded = encode(&values);
    let again = amf0::decode_all(encoded.clone(), &limits).expect("what was read can be written and read");
    assert_eq!(encode(&again), encoded, "what was read is not what was written");

    let mut rest = message.clone();
    for value in &values {
        let one = amf0::decode(&mut rest, &limits).expect("a value of a sound message");
        assert_eq!(encode(&[one]), encode(std::slice::from_ref(value)));
    }
    assert!(rest.is_empty());
    if let Some(Value::String(name)) = values.first() {
        assert_eq!(amf0::metadata_name(&message), Some(&name[..]));
    }
}

/// One value at a time either goes on to the fault or stops in front of it, and takes nothing with it.
fn refused(mut message: Bytes, limits: &Limits) {
    while !message.is_empty() {
        let before = message.clone();
        if amf0::decode(&mut message, limits).is_err() {
            assert_eq!(message, before, "a refused value is taken");
            return;
        }
        assert!(message.len() < before.len());
    }
}

fn encode(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| amf0::encode(value, &mut out));
    out.freeze()
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    values: usize,
    depth: usize,
}

impl Size {
    fn of(value: &Value, limits: &Limits) -> Self {
        let fits = |text: &Bytes| assert!(text.len() <= limits.string, "{} bytes of text", text.len());
        let inner = match value {
            Value::String(text) | Value::LongString(text) | Value::Xml(text) => {
                fits(text);
                return Self { values: 1, depth: 0 };
            }
            Value::StrictArray(values) => {
                values.iter().map(|value| Self::of(value, limits)).fold(Self::default(), Self::beside)
            }
            Value::Object(props) | Value::EcmaArray(props) | Value::TypedObject { props, .. } => {
                if let Value::TypedObject { name, .. } = value {
                    fits(name);
                }
                props.iter().fold(Self::default(), |size, (name, value)| {
                    fits(name);
                    size.beside(Self::of(value, limits))
                })
            }
            _ => return Self { values: 1, depth: 0 },
        };
        Self { values: inner.values + 1, depth: inner.depth + 1 }
    }

    fn beside(self, other: Self) -> Self {
        Self { values: self.values + other.values, depth: self.depth.max(other.depth) }
    }
}
