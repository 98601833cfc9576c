mod hostile;
mod oracle;

use bytes::{BufMut, BytesMut};
use flv::amf0;
use proptest::prelude::*;

use super::*;
use crate::{
    HandshakeError,
    chunk::{self, ChunkReader, ErrorKind},
    command::property,
    outbound::Outbound,
    publish::{Publish, PublishConfig, PublishError, PublishEvent, Retry, Step},
    url::Target,
    wire::{MediaWriter, Track, WireForm},
};

/// A publisher of few words: it says what the test tells it to, and reads the answers.
struct Peer {
    session: Ingest,
    reader: ChunkReader,
    said: Outbound,
}

impl Peer {
    /// The handshake is done.
    fn new() -> Self {
        let mut session = Ingest::new(IngestLimits::default());
        session.handle_input(&[&[3][..], &[0; 2 * 1536]].concat()).unwrap();
        assert_eq!(session.take_output().unwrap().len(), 1 + 2 * 1536, "S0, S1 and S2");
        let reader = ChunkReader::new(IngestLimits::default().unaccepted());
        let mut peer = Self { session, reader, said: Outbound::new() };
        peer.said.set_chunk_size();
        peer
    }

    fn connected() -> Self {
        let mut peer = Self::new();
        peer.say(0, &call("connect", 1.0, &[object([("app", Value::str("live/"))])])).unwrap();
        peer.heard();
        peer
    }

    fn waiting() -> Self {
        let mut peer = Self::connected();
        peer.say(0, &call("createStream", 4.0, &[Value::Null])).unwrap();
        peer.say(1, &call("publish", 5.0, &[Value::Null, Value::str("in?a=b%3D&c"), Value::str("live")])).unwrap();
        let want = IngestEvent::Publish { app: Bytes::from("live"), key: StreamKey::new("in?a=b%3D&c".into()) };
        assert_eq!(peer.session.next_event(), Some(want));
        peer.heard();
        peer
    }

    fn live() -> Self {
        let mut peer = Self::waiting();
        peer.session.accept();
        peer.heard();
        peer
    }

    fn say(&mut self, stream_id: u32, command: &[Value]) -> Result<(), IngestError> {
        self.said.command(stream_id, command);
        self.say_raw(&[])
    }

    fn say_raw(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        self.said.raw(bytes);
        self.session.handle_input(&self.said.take().unwrap_or_default())
    }

    /// One message in one chunk.
    fn send(&mut self, type_id: u8, timestamp: u8, payload: &[u8]) -> Result<(), IngestError> {
        let mut chunk = BytesMut::from(&[5, 0, 0, timestamp][..]);
        chunk.put_uint(payload.len() as u64, 3);
        chunk.put_slice(&[type_id, 1, 0, 0, 0]);
        chunk.put_slice(payload);
        self.say_raw(&chunk)
    }

    /// Type, stream and payload of what the session has sent since the last look.
    fn heard(&mut self) -> Vec<(u8, u32, Bytes)> {
        let output = self.session.take_output().unwrap_or_default();
        let (mut input, mut messages) = (&output[..], Vec::new());
        while let Some(message) = self.reader.feed(&mut input).unwrap() {
            messages.push((message.type_id, message.stream_id, message.payload));
        }
        messages
    }

    fn heard_commands(&mut self) -> Vec<(u32, Vec<Value>)> {
        let commands = self.heard().into_iter().filter(|(type_id, ..)| *type_id == COMMAND);
        commands.map(|(_, stream, payload)| (stream, amf0::decode_all(payload, &Limits::default()).unwrap())).collect()
    }

    fn tags(&mut self) -> Vec<Tag> {
        std::iter::from_fn(|| self.session.next_event())
            .map(|event| match event {
                IngestEvent::Tag(tag) => tag,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn call(name: &str, transaction: f64, arguments: &[Value]) -> Vec<Value> {
    [&[Value::str(name), Value::Number(transaction)], arguments].concat()
}

fn script(timestamp: u32, body: &[u8]) -> Tag {
    Tag { kind: Kind::Script, timestamp, body: Bytes::copy_from_slice(body) }
}

#[test]
fn connect_is_answered_with_what_publishers_wait_for() {
    let mut peer = Peer::new();
    peer.say(0, &call("connect", 1.0, &[object([("app", Value::str("live"))])])).unwrap();
    let heard = peer.heard();
    let kinds: Vec<_> = heard.iter().map(|(type_id, ..)| *type_id).collect();
    // SetChunkSize is the reader's, and would show as garbled commands if it were missing.
    assert_eq!(kinds, [5, 6, 20, 20]);
    assert_eq!(heard[0].2[..], [0, 0x26, 0x25, 0xA0]);
    assert_eq!(heard[1].2[..], [0, 0x26, 0x25, 0xA0, 2]);
    let result = amf0::decode_all(heard[2].2.clone(), &Limits::default()).unwrap();
    assert_eq!(result[..2], [Value::str("_result"), Value::Number(1.0)]);
    assert_eq!(property(result[3].as_props().unwrap(), "code"), b"NetConnection.Connect.Success");
    let done = amf0::decode_all(heard[3].2.clone(), &Limits::default()).unwrap();
    assert_eq!(done[0], Value::str("onBWDone"));
}

#[test]
fn calls_are_answered_by_transaction() {
    let mut peer = Peer::connected();
    for (name, transaction) in [("releaseStream", 2.0), ("_checkbw", 7.0)] {
        peer.say(0, &call(name, transaction, &[Value::Null, Value::str("in")])).unwrap();
        let want = call("_result", transaction, &[Value::Null, Value::Undefined]);
        assert_eq!(peer.heard_commands(), [(0, want)]);
    }
    peer.say(0, &call("FCPublish", 3.0, &[Value::Null, Value::str("in")])).unwrap();
    assert_eq!(peer.heard_commands()[0].1[0], Value::str("onFCPublish"));
    peer.say(0, &call("createStream", 4.0, &[Value::Null])).unwrap();
    assert_eq!(peer.heard_commands(), [(0, call("_result", 4.0, &[Value::Null, Value::Number(1.0)]))]);
    peer.say(0, &call("getStreamLength", 6.0, &[Value::Null, Value::str("in")])).unwrap();
    assert_eq!(peer.heard_commands(), []);
}

#[test]
fn an_accepted_publisher_is_told_so_on_its_stream() {
    let mut peer = Peer::waiting();
    peer.session.accept();
    let heard = peer.heard();
    assert_eq!((heard[0].0, &heard[0].2[..]), (4, &[0, 0, 0, 0, 0, 1][..]), "StreamBegin");
    assert_eq!((heard[1].0, heard[1].1), (20, 1));
    let status = amf0::decode_all(heard[1].2.clone(), &Limits::default()).unwrap();
    let info = status[3].as_props().unwrap();
    assert_eq!((property(info, "level"), property(info, "code")), (&b"status"[..], &b"NetStream.Publish.Start"[..]));
    peer.session.accept();
    assert_eq!(peer.heard(), [], "once");
}

#[test]
fn a_rejected_publisher_is_heard_no_more() {
    let mut peer = Peer::waiting();
    peer.session.reject("NetStream.Publish.BadName", "in use");
    let heard = peer.heard_commands();
    let info = heard[0].1[3].as_props().unwrap();
    assert_eq!((property(info, "level"), property(info, "code")), (&b"error"[..], &b"NetStream.Publish.BadName"[..]));
    peer.send(9, 0, b"\x17\x01").unwrap();
    peer.session.accept();
    assert_eq!((peer.session.next_event(), peer.session.take_output()), (None, None));
    assert!(!peer.session.is_unpublished());
}

#[test]
fn media_becomes_tags() {
    let mut peer = Peer::live();
    peer.send(9, 40, b"\x17\x01video").unwrap();
    peer.send(8, 43, b"\xaf\x01audio").unwrap();
    peer.send(8, 44, b"").unwrap();
    let tag = |kind, timestamp, body: &'static [u8]| Tag { kind, timestamp, body: Bytes::from_static(body) };
    let want =
        [tag(Kind::Video, 40, b"\x17\x01video"), tag(Kind::Audio, 43, b"\xaf\x01audio"), tag(Kind::Audio, 44, b"")];
    assert_eq!(peer.tags(), want);
}

#[test]
fn data_loses_what_is_not_the_tags() {
    let mut peer = Peer::live();
    peer.send(18, 1, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05").unwrap();
    peer.send(15, 2, b"\0\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05").unwrap();
    peer.send(18, 3, b"\x02\0\x0aonTextData\x05").unwrap();
    let (metadata, text) = (b"\x02\0\x0aonMetaData\x05", b"\x02\0\x0aonTextData\x05");
    assert_eq!(peer.tags(), [script(1, metadata), script(2, metadata), script(3, text)]);
}

#[test]
fn aggregates_become_tags() {
    let mut peer = Peer::live();
    let mut aggregate = BytesMut::new();
    flv::mux::write_tag(&mut aggregate, Kind::Video, 5000, b"\x17\x01v");
    flv::mux::write_tag(&mut aggregate, Kind::Audio, 5010, b"\xaf\x01a");
    peer.send(22, 100, &aggregate).unwrap();
    let tags: Vec<_> = peer.tags().iter().map(|tag| (tag.kind, tag.timestamp)).collect();
    assert_eq!(tags, [(Kind::Video, 100), (Kind::Audio, 110)]);
    let err = peer.send(22, 100, &aggregate[..20]).unwrap_err();
    assert_eq!(err, IngestError::AggregateTruncated { pos: 18 });
}

#[test]
fn a_polite_end_is_told_once() {
    for name in ["FCUnpublish", "deleteStream", "closeStream"] {
        let mut peer = Peer::live();
        assert!(!peer.session.is_unpublished());
        peer.say(0, &call(name, 6.0, &[Value::Null, Value::str("in")])).unwrap();
        peer.say(0, &call("deleteStream", 7.0, &[Value::Null, Value::Number(1.0)])).unwrap();
        peer.send(9, 0, b"\x27\x01").unwrap();
        assert_eq!(peer.session.next_event(), Some(IngestEvent::Unpublished), "{name}");
        assert_eq!(peer.session.next_event(), None, "{name}");
        assert!(peer.session.is_unpublished());
    }
}

#[test]
fn media_has_to_wait_for_the_verdict() {
    for type_id in [8, 9, 15, 18, 22] {
        for mut peer in [Peer::new(), Peer::connected(), Peer::waiting()] {
            let err = peer.send(type_id, 0, b"\x17\x01").unwrap_err();
            assert_eq!(err, IngestError::MediaBeforeAccept { type_id });
        }
    }
}

#[test]
fn commands_out_of_turn_are_refused() {
    let publish = call("publish", 5.0, &[Value::Null, Value::str("in")]);
    let connect = call("connect", 1.0, &[object([("app", Value::str("live"))])]);
    let create = call("createStream", 4.0, &[Value::Null]);
    let out_of_turn = |command| IngestError::OutOfTurn { command };
    assert_eq!(Peer::new().say(0, &publish), Err(out_of_turn("publish")));
    assert_eq!(Peer::new().say(0, &create), Err(out_of_turn("createStream")));
    assert_eq!(Peer::connected().say(0, &connect), Err(out_of_turn("connect")));
    assert_eq!(Peer::waiting().say(1, &publish), Err(out_of_turn("publish")));
    assert_eq!(Peer::live().say(1, &publish), Err(out_of_turn("publish")));
    assert_eq!(Peer::connected().say(1, &call("publish", 5.0, &[Value::Null])), Err(IngestError::NoStreamName));

    let mut peer = Peer::connected();
    let created = (0..9).try_for_each(|_| peer.say(0, &create));
    assert_eq!(created, Err(IngestError::TooManyStreams(8)));
}

#[test]
fn a_publisher_that_never_asked_is_acknowledged() {
    let mut peer = Peer::live();
    let mut acks = Vec::new();
    let body = vec![0xAF; 4000];
    for _ in 0..700 {
        peer.send(8, 0, &body).unwrap();
        acks.extend(peer.heard().into_iter().filter(|(type_id, ..)| *type_id == 3).map(|(_, _, total)| total));
    }
    let totals: Vec<_> = acks.iter().map(|total| u32::from_be_bytes(total[..].try_into().unwrap())).collect();
    assert_eq!(totals.len(), 2);
    assert!(totals[0] >= 1_250_000 && totals[1] - totals[0] >= 1_250_000, "running totals: {totals:?}");
}

#[test]
fn pings_are_answered() {
    let mut peer = Peer::live();
    peer.said.user_control(6, [1, 2, 3, 4]);
    peer.say_raw(&[]).unwrap();
    assert_eq!(peer.heard(), [(4, 0, Bytes::from_static(&[0, 7, 1, 2, 3, 4]))]);
    // An event without its argument, and one that nobody knows.
    peer.send(4, 0, &[0, 6]).unwrap();
    peer.send(4, 0, &[0, 26, 0, 0, 0, 0]).unwrap();
    assert_eq!(peer.heard(), []);
}

#[test]
fn large_messages_are_for_the_accepted() {
    let large = [5, 0, 0, 0, 0x70, 0, 0, 9, 1, 0, 0, 0];
    let refused = |err| matches!(err, IngestError::Chunk(chunk::Error { kind: ErrorKind::MessageTooLarge { .. }, .. }));
    assert!(refused(Peer::waiting().say_raw(&large).unwrap_err()));
    Peer::live().say_raw(&large).unwrap();
    assert!(refused(Peer::live().say_raw(&[5, 0, 0, 0, 0x80, 0, 1, 9, 1, 0, 0, 0]).unwrap_err()));
}

/// Moves bytes both ways until there are no more.
fn talk(publish: &mut Publish, ingest: &mut Ingest) -> Result<(), PublishError> {
    loop {
        let (there, back) = (publish.take_output(), ingest.take_output());
        if there.is_none() && back.is_none() {
            return Ok(());
        }
        ingest.handle_input(&there.unwrap_or_default()).unwrap();
        publish.handle_input(&back.unwrap_or_default())?;
    }
}

fn pair() -> (Publish, Ingest) {
    let target = Target::parse("rtmp://h/live/in?x=1").unwrap();
    let (mut publish, mut ingest) = (Publish::new(PublishConfig::new(target)), Ingest::new(IngestLimits::default()));
    talk(&mut publish, &mut ingest).unwrap();
    let want = IngestEvent::Publish { app: "live".into(), key: StreamKey::new("in?x=1".into()) };
    assert_eq!(ingest.next_event(), Some(want));
    (publish, ingest)
}

#[test]
fn the_two_sides_understand_each_other() {
    let (mut publish, mut ingest) = pair();
    ingest.accept();
    talk(&mut publish, &mut ingest).unwrap();
    assert_eq!(publish.next_event(), Some(PublishEvent::Started { stream_id: 1 }));
    let mut writer = MediaWriter::new(1, 0);
    let bodies = [b"\x17\x01".repeat(30_000), b"\x27\x01".repeat(5)].map(Bytes::from);
    let mut out = Vec::new();
    writer.write(&WireForm::new(Track::Video, 0, None, &[&bodies[0]]), &mut out);
    writer.write(&WireForm::new(Track::Video, 40, Some(0), &[&bodies[1]]), &mut out);
    out.iter().for_each(|piece| ingest.handle_input(piece).unwrap());
    for (timestamp, body) in [0, 40].into_iter().zip(bodies) {
        let tag = Tag { kind: Kind::Video, timestamp, body };
        assert_eq!(ingest.next_event(), Some(IngestEvent::Tag(tag)));
    }
    publish.close();
    talk(&mut publish, &mut ingest).unwrap();
    assert_eq!(ingest.next_event(), Some(IngestEvent::Unpublished));
}

#[test]
fn a_rejection_arrives_with_its_cause() {
    let (mut publish, mut ingest) = pair();
    ingest.reject("NetStream.Publish.BadName", "in?x=1 is taken");
    let err = talk(&mut publish, &mut ingest).unwrap_err();
    assert_eq!(err.to_string(), "NetStream.Publish.BadName: *** is taken (at publish)");
    assert_eq!((err.retry(), publish.step()), (Retry::Slow, Step::Publish));
}

proptest! {
    #[test]
    fn no_bytes_break_a_session(bytes in proptest::collection::vec(any::<u8>(), 0..2000), stage in 0..4) {
        let mut peer = match stage {
            0 => Peer::new(),
            1 => Peer::connected(),
            2 => Peer::waiting(),
            _ => Peer::live(),
        };
        // Refused or taken, it comes back.
        let _ = peer.say_raw(&bytes);
        prop_assert!(peer.session.take_output().unwrap_or_default().len() < 100_000);
    }
}
