//! Bytes to AMF0 values, within limits.

use bytes::{Buf, Bytes};

use super::{Limits, Props, Value};
use crate::{Error, ErrorKind};

/// Takes one value off the front of `message`; its strings are slices of it. After an error `message` is unchanged.
pub fn decode(message: &mut Bytes, limits: &Limits) -> Result<Value, Error> {
    let mut decoder = Decoder { cursor: Cursor::new(message, limits), message };
    let value = decoder.value(0)?;
    let taken = decoder.cursor.at;
    message.advance(taken);
    Ok(value)
}

/// All values of `message` to its end. The limits hold for the message as a whole.
#[expect(clippy::needless_pass_by_value, reason = "a message is decoded once: callers hand it over")]
pub fn decode_all(message: Bytes, limits: &Limits) -> Result<Vec<Value>, Error> {
    let mut decoder = Decoder { cursor: Cursor::new(&message, limits), message: &message };
    let mut values = Vec::new();
    while !decoder.cursor.rest().is_empty() {
        values.push(decoder.value(0)?);
    }
    Ok(values)
}

/// Checks what [`decode_all`] checks without building anything; the number of values, nested ones included.
pub fn scan(message: &[u8], limits: &Limits) -> Result<usize, Error> {
    let mut cursor = Cursor::new(message, limits);
    while !cursor.rest().is_empty() {
        skip(&mut cursor, 0)?;
    }
    Ok(cursor.values)
}

/// The string that a script tag's body begins with: its name (FLV spec v10.1, E.4.4.1).
pub fn metadata_name(body: &[u8]) -> Option<&[u8]> {
    let (&[0x02, high, low], rest) = body.split_first_chunk()? else {
        return None;
    };
    rest.get(..usize::from(u16::from_be_bytes([high, low])))
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    message: &'a Bytes,
}

impl Decoder<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        let cursor = &mut self.cursor;
        Ok(match cursor.head(depth)? {
            Head::Number => Value::Number(f64::from_be_bytes(cursor.array()?)),
            Head::Boolean => Value::Boolean(cursor.array::<1>()? != [0]),
            Head::String => {
                let text = cursor.short()?;
                Value::String(self.message.slice_ref(text))
            }
            Head::LongString => {
                let text = cursor.long()?;
                Value::LongString(self.message.slice_ref(text))
            }
            Head::Xml => {
                let text = cursor.long()?;
                Value::Xml(self.message.slice_ref(text))
            }
            Head::Object => Value::Object(self.props(depth, End::Needed)?),
            Head::EcmaArray => Value::EcmaArray(self.props(depth, End::of_ecma_array(depth))?),
            Head::TypedObject => {
                let name = cursor.short()?;
                let name = self.message.slice_ref(name);
                Value::TypedObject { name, props: self.props(depth, End::Needed)? }
            }
            Head::StrictArray(count) => {
                // A count is the peer's word: the vector grows with the values that are there.
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::StrictArray(values)
            }
            Head::Date => {
                Value::Date { ms: f64::from_be_bytes(cursor.array()?), tz: i16::from_be_bytes(cursor.array()?) }
            }
            Head::Reference => Value::Reference(u16::from_be_bytes(cursor.array()?)),
            Head::Null => Value::Null,
            Head::Undefined => Value::Undefined,
            Head::Unsupported => Value::Unsupported,
        })
    }

    fn props(&mut self, depth: usize, end: End) -> Result<Props, Error> {
        let mut props = Props::new();
        while let Some(name) = self.cursor.name(end)? {
            props.push(self.message.slice_ref(name), self.value(depth + 1)?);
        }
        Ok(props)
    }
}

fn skip(cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Error> {
    match cursor.head(depth)? {
        Head::Number => cursor.take(8).map(drop),
        Head::Boolean => cursor.take(1).map(drop),
        Head::String => cursor.short().map(drop),
        Head::LongString | Head::Xml => cursor.long().map(drop),
        Head::Object => skip_props(cursor, depth, End::Needed),
        Head::EcmaArray => skip_props(cursor, depth, End::of_ecma_array(depth)),
        Head::TypedObject => {
            cursor.short()?;
            skip_props(cursor, depth, End::Needed)
        }
        Head::StrictArray(count) => (0..count).try_for_each(|_| skip(cursor, depth + 1)),
        Head::Date => {
            cursor.take(8)?;
            cursor.take(2).map(drop)
        }
        Head::Reference => cursor.take(2).map(drop),
        Head::Null | Head::Undefined | Head::Unsupported => Ok(()),
    }
}

fn skip_props(cursor: &mut Cursor<'_>, depth: usize, end: End) -> Result<(), Error> {
    while cursor.name(end)?.is_some() {
        skip(cursor, depth + 1)?;
    }
    Ok(())
}

/// How a value begins: its marker, and the count that some forms carry.
enum Head {
    Number,
    Boolean,
    String,
    LongString,
    Xml,
    Object,
    EcmaArray,
    TypedObject,
    StrictArray(u32),
    Date,
    Reference,
    Null,
    Undefined,
    Unsupported,
}

/// Whether properties must be closed by an end marker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Needed,
    /// The end of the message closes them as well.
    OrMessageEnd,
}

impl End {
    /// Some encoders leave out the end marker of the outermost array.
    fn of_ecma_array(depth: usize) -> Self {
        if depth == 0 { Self::OrMessageEnd } else { Self::Needed }
    }
}

struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
    values: usize,
    limits: Limits,
}

impl<'a> Cursor<'a> {
    fn new(message: &'a [u8], limits: &Limits) -> Self {
        Self { message, at: 0, values: 0, limits: *limits }
    }

    fn rest(&self) -> &'a [u8] {
        &self.message[self.at..]
    }

    /// Takes a marker, and counts the value against the limits. `depth` is the number of containers around it.
    fn head(&mut self, depth: usize) -> Result<Head, Error> {
        let at = self.at;
        let [marker] = self.array()?;
        self.values += 1;
        if self.values > self.limits.values {
            return Err(fault(at, ErrorKind::AmfTooMany(self.limits.values)));
        }
        let is_container = matches!(marker, 0x03 | 0x08 | 0x0A | 0x10);
        if is_container && depth >= self.limits.depth {
            return Err(fault(at, ErrorKind::AmfTooDeep(self.limits.depth)));
        }
        Ok(match marker {
            0x00 => Head::Number,
            0x01 => Head::Boolean,
            0x02 => Head::String,
            0x03 => Head::Object,
            0x05 => Head::Null,
            0x06 => Head::Undefined,
            0x07 => Head::Reference,
            0x08 => {
                // The count is advisory: the end marker decides.
                self.take(4)?;
                Head::EcmaArray
            }
            0x0A => Head::StrictArray(u32::from_be_bytes(self.array()?)),
            0x0B => Head::Date,
            0x0C => Head::LongString,
            0x0D => Head::Unsupported,
            0x0F => Head::Xml,
            0x10 => Head::TypedObject,
            _ => return Err(fault(at, ErrorKind::AmfMarker(marker))),
        })
    }

    /// Takes a property's name; None when the properties end here.
    fn name(&mut self, end: End) -> Result<Option<&'a [u8]>, Error> {
        let rest = self.rest();
        if end == End::OrMessageEnd && matches!(rest, [] | [0] | [0, 0]) {
            self.at = self.message.len();
            return Ok(None);
        }
        if rest.starts_with(&[0, 0, 0x09]) {
            self.at += 3;
            return Ok(None);
        }
        self.short().map(Some)
    }

    fn short(&mut self) -> Result<&'a [u8], Error> {
        let at = self.at;
        let len = u16::from_be_bytes(self.array()?);
        self.text(at, usize::from(len))
    }

    fn long(&mut self) -> Result<&'a [u8], Error> {
        let at = self.at;
        let len = u32::from_be_bytes(self.array()?);
        self.text(at, len as usize)
    }

    fn text(&mut self, at: usize, len: usize) -> Result<&'a [u8], Error> {
        if len > self.limits.string {
            return Err(fault(at, ErrorKind::AmfStringTooLong(len)));
        }
        self.take(len)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, _) = self.rest().split_first_chunk().ok_or(fault(self.at, ErrorKind::AmfTruncated))?;
        self.at += N;
        Ok(*bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let bytes = self.rest().get(..len).ok_or(fault(self.at, ErrorKind::AmfTruncated))?;
        self.at += len;
        Ok(bytes)
    }
}

fn fault(at: usize, kind: ErrorKind) -> Error {
    Error::new(at as u64, kind)
}
