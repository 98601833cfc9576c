//! AMF0, the encoding of script data and RTMP commands (AMF0 spec, 2007). Decoding is bounded by [`Limits`] in depth,
//! number and length, and strings are slices of the message.

mod decode;
mod encode;

use bytes::Bytes;

pub use decode::{decode, decode_all, metadata_name, scan};
pub use encode::encode;

/// An AMF0 value (AMF0 spec, 2.1). Strings are raw bytes; UTF-8 is expected and not checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// 0x00.
    Number(f64),
    /// 0x01.
    Boolean(bool),
    /// 0x02; when longer than 65,535 bytes it is encoded as 0x0C.
    String(Bytes),
    /// 0x0C.
    LongString(Bytes),
    /// 0x03.
    Object(Props),
    /// 0x08. The count on the wire is advisory, and is written as the number of properties.
    EcmaArray(Props),
    /// 0x0A.
    StrictArray(Vec<Self>),
    /// 0x0B.
    Date {
        /// Milliseconds since 1970-01-01 UTC.
        ms: f64,
        /// Time zone offset in minutes; reserved, 0 by the specification.
        tz: i16,
    },
    /// 0x05.
    Null,
    /// 0x06.
    Undefined,
    /// 0x0D.
    Unsupported,
    /// 0x07: the index of an earlier complex value, not resolved.
    Reference(u16),
    /// 0x0F.
    Xml(Bytes),
    /// 0x10.
    TypedObject {
        /// The class.
        name: Bytes,
        /// Its properties.
        props: Props,
    },
}

impl Value {
    /// A string of its own; a long one when it does not fit the short form.
    pub fn str(text: &str) -> Self {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        if text.len() > usize::from(u16::MAX) { Self::LongString(bytes) } else { Self::String(bytes) }
    }

    /// The text of either string form; None for other values and for text that is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::LongString(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The number; None for other values.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The properties of an object, typed object or ECMA array; None for other values.
    pub fn as_props(&self) -> Option<&Props> {
        match self {
            Self::Object(props) | Self::EcmaArray(props) | Self::TypedObject { props, .. } => Some(props),
            _ => None,
        }
    }
}

/// Properties in the order of the wire. Names may repeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Props(Vec<(Bytes, Value)>);

impl Props {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first property of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value)
    }

    /// Appends a property. A name longer than 65,535 bytes is cut when encoded.
    pub fn push(&mut self, name: impl Into<Bytes>, value: Value) {
        self.0.push((name.into(), value));
    }

    /// The properties in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Bytes, &Value)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Bytes>> FromIterator<(N, Value)> for Props {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(properties: I) -> Self {
        Self(properties.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// What a peer's message may hold. Exceeding one is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers inside one another; decoding uses the stack in proportion.
    pub depth: usize,
    /// Values in the message, the nested ones included.
    pub values: usize,
    /// Bytes of one string.
    pub string: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, values: 4096, string: 65_536 }
    }
}

#[cfg(test)]
mod tests;
