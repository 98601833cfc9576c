//! Writes the inputs that a fuzzer starts from into `corpus/`: pieces of the fixtures, sessions as they go, the examples
//! of configuration files, and what is known to break other implementations.

mod media;
mod messages;
mod sessions;
mod texts;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use flv::amf0::{self, Value};

fn main() -> io::Result<()> {
    media::demuxer()?;
    messages::amf0_messages()?;
    messages::chunks()?;
    sessions::publisher()?;
    sessions::server()?;
    texts::configurations()?;
    texts::urls()?;
    messages::differences()
}

fn connect() -> Vec<Value> {
    let properties = [
        ("app", Value::str("live")),
        ("type", Value::str("nonprivate")),
        ("flashVer", Value::str("FMLE/3.0")),
        ("tcUrl", Value::str("rtmp://h/live")),
        ("capabilities", Value::Number(239.0)),
        ("fourCcList", Value::StrictArray(vec![Value::str("hvc1"), Value::Null])),
    ];
    vec![Value::str("connect"), Value::Number(1.0), Value::Object(properties.into_iter().collect())]
}

fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| amf0::encode(value, &mut out));
    out.to_vec()
}

fn nested(levels: usize) -> Vec<u8> {
    b"\x03\0\x01a".repeat(levels)
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn save(target: &str, name: &str, input: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), input)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
