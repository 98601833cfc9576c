//! What the other side of a publish session says.

use std::io;

use bytes::BytesMut;
use flv::{Kind, amf0::Value, mux};
use fuzz::peer::{HANDSHAKE, Peer};

use crate::{body, connect, hex, nested, save};

/// Acts of a peer behind the byte that says how far it has come.
struct Acts(Vec<u8>, Peer);

impl Acts {
    fn at(stage: u8) -> Self {
        Self(vec![stage, 0, 200, 30], Peer::default())
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        for bytes in bytes.chunks(usize::from(u16::MAX)) {
            self.0.push(1);
            self.0.extend((bytes.len() as u16).to_be_bytes());
            self.0.extend(bytes);
        }
        self
    }

    fn message(mut self, csid: u8, type_id: u8, payload: &[u8]) -> Self {
        let bytes = self.1.message(csid, type_id, 40, 1, payload);
        self.raw(&bytes)
    }

    fn command(mut self, stream_id: u32, values: &[Value]) -> Self {
        let bytes = self.1.command(stream_id, values);
        self.raw(&bytes)
    }

    fn again(mut self, times: u8) -> Self {
        self.0.extend([6, times]);
        self
    }

    fn turn(mut self, which: u8) -> Self {
        self.0.extend([7, 8, which]);
        self
    }

    fn save(self, target: &str, name: &str) -> io::Result<()> {
        save(target, name, &self.0)
    }
}

/// What breaks sessions of rml_rtmp 0.8, from either side, after `stage`.
fn hostile(target: &str, stage: u8) -> io::Result<()> {
    let at = || Acts::at(stage);
    at().message(3, 20, b"\x02\0\x0bonFCPublish").save(target, "hostile-command-of-one-value")?;
    at().message(3, 20, b"\x02\0\x07_result\0\x3f\xf0\0\0\0\0\0\0").save(target, "hostile-command-of-two-values")?;
    at().message(4, 18, b"\x02\0\x0d@setDataFrame").save(target, "hostile-data-frame-alone")?;
    at().message(4, 18, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData")
        .save(target, "hostile-data-frame-of-one-value")?;
    let mut peer = Peer::default();
    let long = peer.command(0, &[Value::str("_result"), Value::Number(1.0), Value::str(&"x".repeat(300))]);
    let ping = peer.message(2, 4, 0, 0, &[0, 6, 1, 2, 3, 4]);
    at().raw(&[&long[..140], &ping, &long[140..]].concat()).save(target, "hostile-interleaved")?;
    at().message(3, 20, &[&b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0"[..], &nested(900)].concat())
        .save(target, "hostile-nested-objects")?;
    at().message(3, 20, &[&b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0"[..], &[5; 3000]].concat())
        .save(target, "hostile-nulls")?;
    at().message(2, 1, &[0x7F, 0xFF, 0xFF, 0xFF])
        .raw(&hex("06 000000 ffffff 09 01000000 aabbccdd"))
        .save(target, "hostile-claim-of-16-mib")?;
    at().message(2, 4, &[0, 6, 1, 2, 3, 4]).again(255).again(20).save(target, "hostile-pings")?;
    at().message(2, 5, &[0, 0, 0, 1])
        .message(6, 9, &body(2000))
        .again(20)
        .save(target, "hostile-window-of-one-byte")?;
    for name in ["connect", "createStream", "publish", "_result", "onStatus"] {
        let call = [Value::str(name), Value::Number(1.0), Value::Null, Value::str("in")];
        at().command(0, &call).again(20).save(target, &format!("hostile-flood-{name}"))?;
    }
    Ok(())
}

pub(crate) fn publisher() -> io::Result<()> {
    let call =
        |name: &str, arguments: &[Value]| [&[Value::str(name), Value::Number(2.0), Value::Null], arguments].concat();
    Acts::at(0)
        .raw(&HANDSHAKE)
        .message(2, 1, &[0, 0, 0x10, 0])
        .command(0, &connect())
        .command(0, &call("releaseStream", &[Value::str("in")]))
        .command(0, &call("FCPublish", &[Value::str("in")]))
        .command(0, &call("createStream", &[]))
        .command(1, &call("publish", &[Value::str("in?a=b"), Value::str("live")]))
        .turn(0)
        .message(4, 18, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09")
        .message(4, 9, b"\x17\0\0\0\0avcC")
        .message(4, 8, b"\xaf\x01aac")
        .command(0, &call("FCUnpublish", &[Value::str("in")]))
        .command(0, &call("deleteStream", &[Value::Number(1.0)]))
        .save("ingest", "a-publication")?;
    let mut aggregate = BytesMut::new();
    mux::write_tag(&mut aggregate, Kind::Video, 5000, b"\x17\x01v");
    mux::write_tag(&mut aggregate, Kind::Audio, 5010, b"\xaf\x01a");
    Acts::at(4).message(4, 22, &aggregate).message(4, 22, &aggregate[..20]).save("ingest", "aggregates")?;
    Acts::at(3).turn(1).message(4, 9, b"\x17\x01").save("ingest", "rejected")?;
    Acts::at(3).message(4, 9, b"\x17\x01").save("ingest", "media-before-the-verdict")?;
    Acts::at(0).raw(b"GET / HTTP/1.1\r\n\r\n").save("ingest", "a-browser")?;
    hostile("ingest", 1)
}

pub(crate) fn server() -> io::Result<()> {
    let status = |level: &str, code: &str, description: &str| {
        let info = [("level", level), ("code", code), ("description", description)];
        let info = Value::Object(info.into_iter().map(|(name, text)| (name, Value::str(text))).collect());
        vec![Value::str("onStatus"), Value::Number(0.0), Value::Null, info]
    };
    let result = |transaction, value| vec![Value::str("_result"), Value::Number(transaction), Value::Null, value];
    let started = status("status", "NetStream.Publish.Start", "S3CR3TKEY is published");
    Acts::at(0)
        .raw(&HANDSHAKE)
        .message(2, 5, &[0, 0x26, 0x25, 0xA0])
        .message(2, 6, &[0, 0x26, 0x25, 0xA0, 2])
        .message(2, 1, &[0, 0, 0xEA, 0x60])
        .command(0, &result(1.0, Value::Null))
        .command(0, &[Value::str("onBWDone")])
        .command(0, &result(2.0, Value::Undefined))
        .command(0, &[Value::str("onFCPublish")])
        .command(0, &result(4.0, Value::Number(1.0)))
        .command(1, &started)
        .turn(0)
        .command(1, &status("status", "NetStream.Unpublish.Success", ""))
        .save("publish", "a-publication")?;
    Acts::at(3)
        .command(1, &status("error", "NetStream.Publish.BadName", "S3CR3TKEY?sign=S1GNATURE is taken"))
        .save("publish", "refused")?;
    Acts::at(4)
        .command(1, &status("warning", "NetStream.S3CR3 TKEY", "T0K3N\0APP S1GNATUR"))
        .again(40)
        .save("publish", "warnings")?;
    Acts::at(1).command(0, &[Value::str("_error"), Value::Number(1.0)]).save("publish", "refused-without-a-word")?;
    Acts::at(2).command(0, &result(4.0, Value::Number(f64::NAN))).save("publish", "a-stream-that-is-no-number")?;
    Acts::at(0).raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").save("publish", "a-web-server")?;
    hostile("publish", 1)
}
