//! The server's commands and control messages.

use bytes::BytesMut;
use flv::amf0::{self, Props, Value};

/// The values of a command, encoded.
pub(super) fn command(values: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for value in values {
        amf0::encode(value, &mut out);
    }
    out.to_vec()
}

/// An information object.
pub(super) fn info(level: &str, code: &str, description: &str) -> Value {
    let text = |name: &'static str, text| (name, Value::str(text));
    Value::Object([text("level", level), text("code", code), text("description", description)].into_iter().collect())
}

/// `onStatus` for a message stream.
pub(super) fn on_status(level: &str, code: &str, description: &str) -> Vec<u8> {
    command(&[Value::str("onStatus"), Value::Number(0.0), Value::Null, info(level, code, description)])
}

/// The properties of a connect `_result`.
pub(super) fn server_properties() -> Value {
    let mut props = Props::new();
    props.push("fmsVer", Value::str("FMS/3,0,1,123"));
    props.push("capabilities", Value::Number(31.0));
    Value::Object(props)
}

/// A command whose objects are nested `depth` deep.
pub(super) fn bomb(depth: usize) -> Vec<u8> {
    let mut out = command(&[Value::str("onBomb"), Value::Number(0.0)]);
    for _ in 0..depth {
        out.extend_from_slice(b"\x03\0\x01a");
    }
    out
}

/// A user control event (RTMP 1.0, 7.1.7).
pub(super) fn user_control(event: u16, value: u32) -> Vec<u8> {
    let mut out = event.to_be_bytes().to_vec();
    out.extend_from_slice(&value.to_be_bytes());
    out
}
