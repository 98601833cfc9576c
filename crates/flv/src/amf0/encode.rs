//! AMF0 values to bytes.

use bytes::{BufMut, BytesMut};

use super::{Props, Value};

/// Appends a value. Uses the stack in proportion to its nesting, which is the caller's to bound.
pub fn encode(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Number(number) => {
            out.put_u8(0x00);
            out.put_f64(*number);
        }
        Value::Boolean(flag) => out.put_slice(&[0x01, u8::from(*flag)]),
        Value::String(text) if text.len() <= usize::from(u16::MAX) => {
            out.put_u8(0x02);
            put_short(text, out);
        }
        Value::String(text) | Value::LongString(text) => put_long(0x0C, text, out),
        Value::Object(props) => {
            out.put_u8(0x03);
            put_props(props, out);
        }
        Value::EcmaArray(props) => {
            out.put_u8(0x08);
            out.put_u32(props.len() as u32);
            put_props(props, out);
        }
        Value::StrictArray(values) => {
            out.put_u8(0x0A);
            out.put_u32(values.len() as u32);
            for value in values {
                encode(value, out);
            }
        }
        Value::Date { ms, tz } => {
            out.put_u8(0x0B);
            out.put_f64(*ms);
            out.put_i16(*tz);
        }
        Value::Null => out.put_u8(0x05),
        Value::Undefined => out.put_u8(0x06),
        Value::Unsupported => out.put_u8(0x0D),
        Value::Reference(index) => {
            out.put_u8(0x07);
            out.put_u16(*index);
        }
        Value::Xml(text) => put_long(0x0F, text, out),
        Value::TypedObject { name, props } => {
            out.put_u8(0x10);
            put_short(name, out);
            put_props(props, out);
        }
    }
}

fn put_props(props: &Props, out: &mut BytesMut) {
    for (name, value) in props.iter() {
        put_short(name, out);
        encode(value, out);
    }
    out.put_slice(&[0, 0, 0x09]);
}

fn put_short(text: &[u8], out: &mut BytesMut) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.put_u16(len);
    out.put_slice(&text[..usize::from(len)]);
}

fn put_long(marker: u8, text: &[u8], out: &mut BytesMut) {
    out.put_u8(marker);
    out.put_u32(text.len() as u32);
    out.put_slice(text);
}
