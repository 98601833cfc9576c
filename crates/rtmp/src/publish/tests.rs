mod hostile;
mod oracle;

use bytes::{BufMut, BytesMut};
use flv::amf0::{self, Props};

use super::*;
use crate::{chunk::ChunkReader, outbound::Outbound};

fn session_to(url: &str) -> Publish {
    Publish::new(PublishConfig::new(Target::parse(url).unwrap()))
}

/// A server of few words: it reads what the session sends, and says what the test tells it to.
struct Server {
    session: Publish,
    reader: ChunkReader,
    said: Outbound,
    /// Bytes per piece in which the session gets what is said.
    piece: usize,
}

impl Server {
    /// The handshake is done and connect is sent.
    fn connected_to(session: Publish) -> Self {
        let mut server = Self { session, reader: ChunkReader::new(LIMITS), said: Outbound::new(), piece: usize::MAX };
        let hello = server.session.take_output().unwrap();
        assert_eq!((hello.len(), hello[0]), (1537, 3));
        let plain = [&[3][..], &[0; 8], &[0xA5; 1528], &hello[1..]].concat();
        server.session.handle_input(&plain).unwrap();
        let mut output = server.session.take_output().unwrap();
        assert_eq!(output.split_to(1536), plain[1..1537], "C2 echoes S1");
        server.said.set_chunk_size();
        let mut input = &output[..];
        let connect = server.reader.feed(&mut input).unwrap().unwrap();
        assert!(input.is_empty(), "connect comes alone");
        assert_eq!(amf0::decode_all(connect.payload, &AMF_LIMITS).unwrap()[0], Value::str("connect"));
        server
    }

    fn new() -> Self {
        Self::connected_to(session_to("rtmp://h/live/the-key?sign=secret-sign"))
    }

    fn live() -> Self {
        let mut server = Self::new();
        server.say_all(&[accepted(), stream(4.0, 1.0), started()]).unwrap();
        assert_eq!(server.session.next_event(), Some(PublishEvent::Started { stream_id: 1 }));
        server.heard();
        server
    }

    fn say_all(&mut self, commands: &[Vec<Value>]) -> Result<(), PublishError> {
        for command in commands {
            self.said.command(0, command);
        }
        self.hand_over()
    }

    fn say(&mut self, command: &[Value]) -> Result<(), PublishError> {
        self.said.command(0, command);
        self.hand_over()
    }

    fn say_raw(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        self.said.raw(bytes);
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), PublishError> {
        let said = self.said.take().unwrap_or_default();
        said.chunks(self.piece.min(said.len().max(1))).try_for_each(|piece| self.session.handle_input(piece))
    }

    /// What the session has sent since the last look, control messages left out: stream and values.
    fn heard(&mut self) -> Vec<(u32, Vec<Value>)> {
        let output = self.session.take_output().unwrap_or_default();
        let (mut input, mut commands) = (&output[..], Vec::new());
        while let Some(message) = self.reader.feed(&mut input).unwrap() {
            if message.type_id == COMMAND {
                commands.push((message.stream_id, amf0::decode_all(message.payload, &AMF_LIMITS).unwrap()));
            }
        }
        commands
    }

    fn heard_names(&mut self) -> Vec<String> {
        self.heard().iter().map(|(_, values)| values[0].as_str().unwrap().to_owned()).collect()
    }
}

fn reply(name: &str, transaction: f64, arguments: &[Value]) -> Vec<Value> {
    [&[Value::str(name), Value::Number(transaction)], arguments].concat()
}

fn info(level: &str, code: &str, description: &str) -> Value {
    object([("level", Value::str(level)), ("code", Value::str(code)), ("description", Value::str(description))])
}

fn accepted() -> Vec<Value> {
    let info = info("status", "NetConnection.Connect.Success", "Connection succeeded");
    reply("_result", 1.0, &[Value::Object(Props::new()), info])
}

fn stream(transaction: f64, id: f64) -> Vec<Value> {
    reply("_result", transaction, &[Value::Null, Value::Number(id)])
}

fn status(level: &str, code: &str, description: &str) -> Vec<Value> {
    reply("onStatus", 0.0, &[Value::Null, info(level, code, description)])
}

fn started() -> Vec<Value> {
    status("status", "NetStream.Publish.Start", "Started publishing")
}

fn refused(step: Step, code: &str, description: &str) -> PublishError {
    PublishError::Refused { step, code: code.into(), description: description.into() }
}

#[test]
fn connect_says_where_to_and_as_what() {
    let mut session = session_to("rtmps://h/live2?backup=1/k");
    session.handle_input(&[&[3][..], &[0; 3072]].concat()).unwrap();
    let output = session.take_output().unwrap();
    let mut input = &output[1537 + 1536..];
    assert_eq!(input[..16], [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0], "SetChunkSize 4096 comes first");
    let connect = ChunkReader::new(LIMITS).feed(&mut input).unwrap().unwrap();
    let tc_url = Value::str("rtmps://h/live2?backup=1");
    let want = object([
        ("app", Value::str("live2?backup=1")),
        ("type", Value::str("nonprivate")),
        ("flashVer", Value::str("FMLE/3.0 (compatible; FMSc/1.0)")),
        ("swfUrl", tc_url.clone()),
        ("tcUrl", tc_url),
    ]);
    let values = amf0::decode_all(connect.payload, &AMF_LIMITS).unwrap();
    assert_eq!(values, [Value::str("connect"), Value::Number(1.0), want]);
}

#[test]
fn the_stream_is_published_step_by_step() {
    let mut server = Server::new();
    assert_eq!(server.session.step(), Step::Connect);
    server.say(&accepted()).unwrap();
    let key = Value::str("the-key?sign=secret-sign");
    let want = [
        reply("releaseStream", 2.0, &[Value::Null, key.clone()]),
        reply("FCPublish", 3.0, &[Value::Null, key.clone()]),
        reply("createStream", 4.0, &[Value::Null]),
    ];
    assert_eq!(server.heard(), want.map(|values| (0, values)));

    assert_eq!(server.session.step(), Step::CreateStream);
    server.say(&stream(4.0, 77.0)).unwrap();
    let publish = reply("publish", 5.0, &[Value::Null, key.clone(), Value::str("live")]);
    assert_eq!(server.heard(), [(77, publish)]);

    assert_eq!(server.session.step(), Step::Publish);
    server.say(&started()).unwrap();
    assert_eq!(server.session.step(), Step::Live);
    assert_eq!(server.session.next_event(), Some(PublishEvent::Started { stream_id: 77 }));

    server.session.close();
    let want = [
        reply("FCUnpublish", 6.0, &[Value::Null, key]),
        reply("deleteStream", 7.0, &[Value::Null, Value::Number(77.0)]),
    ];
    assert_eq!(server.heard(), want.map(|values| (0, values)));
    assert_eq!(server.session.step(), Step::Closed);
    server.say(&status("error", "NetStream.Publish.BadName", "")).unwrap();
}

#[test]
fn replies_come_in_many_shapes() {
    let releases: [&[Vec<Value>]; 6] = [
        &[],
        &[reply("_error", 2.0, &[Value::Null, info("error", "NetConnection.Call.Failed", "")])],
        &[reply("_result", 2.0, &[]), reply("_result", 3.0, &[Value::Undefined])],
        &[vec![Value::str("onFCPublish")], vec![Value::str("onBWDone")]],
        &[reply("onBWDone", 0.0, &[]), reply("onBWDone", 0.0, &[Value::Null, Value::Number(8192.0)])],
        &[reply("_result", 0.0, &[Value::Null]), vec![Value::Number(1.0)], vec![Value::Null]],
    ];
    for replies in releases {
        for (transaction, id) in [(4.0, 1.0), (0.0, 5.0)] {
            for piece in [1, 7, usize::MAX] {
                let mut server = Server { piece, ..Server::new() };
                server.said.window(2_500_000);
                server.say_all(&[reply("onBWDone", 0.0, &[Value::Null]), accepted()]).unwrap();
                server.said.peer_bandwidth(2_500_000);
                server.said.user_control(0, [0, 0, 0, 1]);
                server.say_all(replies).unwrap();
                server.say_all(&[stream(transaction, id), started()]).unwrap();
                let want = PublishEvent::Started { stream_id: id as u32 };
                assert_eq!(server.session.next_event(), Some(want), "{replies:?}");
            }
        }
    }
}

#[test]
fn amf3_commands_are_amf0_behind_a_zero() {
    let mut server = Server::new();
    let mut payload = BytesMut::from(&[0][..]);
    accepted().iter().for_each(|value| amf0::encode(value, &mut payload));
    let mut chunk = BytesMut::from(&[3, 0, 0, 0, 0, 0, payload.len() as u8, 17, 0, 0, 0, 0][..]);
    chunk.put_slice(&payload);
    server.say_raw(&chunk).unwrap();
    assert_eq!(server.session.step(), Step::CreateStream);
}

#[test]
fn control_messages_and_chunk_sizes_may_come_inside_a_command() {
    let mut server = Server::new();
    let mut payload = BytesMut::new();
    reply("_result", 1.0, &[Value::str(&"x".repeat(300))]).iter().for_each(|value| amf0::encode(value, &mut payload));
    // Back to 128 bytes, then 200 in the middle of the command.
    let mut chunk = BytesMut::from(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 128][..]);
    chunk.put_slice(&[3, 0, 0, 0, 0, 1, (payload.len() - 256) as u8, 20, 0, 0, 0, 0]);
    chunk.put_slice(&payload[..128]);
    chunk.put_slice(&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]);
    chunk.put_slice(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 200]);
    chunk.put_u8(0xC3);
    chunk.put_slice(&payload[128..]);
    server.say_raw(&chunk).unwrap();
    assert_eq!(server.session.step(), Step::CreateStream);
    let output = server.session.take_output().unwrap();
    assert_eq!(output[..18], [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 7, 1, 2, 3, 4], "the ping is answered");
}

#[test]
fn an_answer_to_publish_counts_as_a_start() {
    let mut server = Server::new();
    server.say_all(&[accepted(), stream(4.0, 1.0), reply("_result", 5.0, &[Value::Null]), started()]).unwrap();
    assert_eq!(server.session.next_event(), Some(PublishEvent::Started { stream_id: 1 }));
    assert_eq!(server.session.next_event(), None, "the status after it is no second start");
}

#[test]
fn refusals_say_where_and_why() {
    let no = |code: &str| info("error", code, "no\r\n");
    let cases = [
        (
            vec![reply("_error", 1.0, &[Value::Null, no("NetConnection.Connect.Rejected")])],
            Step::Connect,
            "NetConnection.Connect.Rejected",
        ),
        (
            vec![reply("_result", 1.0, &[Value::Null, no("NetConnection.Connect.InvalidApp")])],
            Step::Connect,
            "NetConnection.Connect.InvalidApp",
        ),
        (
            vec![reply("onStatus", 0.0, &[no("NetConnection.Connect.Rejected")])],
            Step::Connect,
            "NetConnection.Connect.Rejected",
        ),
        (
            vec![accepted(), reply("_error", 4.0, &[no("NetConnection.Call.Failed")])],
            Step::CreateStream,
            "NetConnection.Call.Failed",
        ),
        (
            vec![accepted(), stream(4.0, 1.0), status("error", "NetStream.Publish.BadName", "no")],
            Step::Publish,
            "NetStream.Publish.BadName",
        ),
        (
            vec![accepted(), stream(4.0, 1.0), status("status", "NetStream.Publish.Denied", "no")],
            Step::Publish,
            "NetStream.Publish.Denied",
        ),
        (
            vec![accepted(), stream(4.0, 1.0), started(), status("error", "NetStream.Publish.Failed", "no")],
            Step::Live,
            "NetStream.Publish.Failed",
        ),
        (
            vec![accepted(), stream(4.0, 1.0), started(), status("status", "NetStream.Unpublish.Success", "no")],
            Step::Live,
            "NetStream.Unpublish.Success",
        ),
    ];
    for (replies, step, code) in cases {
        let err = Server::new().say_all(&replies).unwrap_err();
        assert_eq!(err, refused(step, code, "no"));
        assert_eq!(err.to_string(), format!("{code}: no (at {step})"));
        assert_eq!(err.kind(), "rejected");
    }
    let bare = Server::new().say(&[Value::str("_error")]).unwrap_err();
    assert_eq!(bare, refused(Step::Connect, "_error", ""));
    assert_eq!(bare.to_string(), "_error (at connect)");
}

#[test]
fn the_cause_decides_when_to_try_again() {
    for (code, description, want) in [
        ("NetStream.Publish.BadName", "Already publishing", Retry::Slow),
        ("NetStream.Publish.Denied", "", Retry::Slow),
        ("NetStream.Publish.Rejected", "", Retry::Slow),
        ("NetConnection.Connect.InvalidApp", "", Retry::Slow),
        ("NetConnection.Connect.AuthFailed", "", Retry::Slow),
        ("NetConnection.Connect.Rejected", "code=403 need auth; authmod=adobe", Retry::Slow),
        ("NetConnection.Connect.Rejected", "server is full", Retry::Normal),
        ("NetStream.Unpublish.Success", "", Retry::Normal),
    ] {
        assert_eq!(refused(Step::Publish, code, description).retry(), want, "{code}");
    }
    assert_eq!(PublishError::ClosedEarly { step: Step::Connect }.retry(), Retry::Normal);
    assert_eq!(PublishError::NoStreamId.retry(), Retry::Normal);
}

#[test]
fn a_refusal_does_not_repeat_the_key() {
    let words = "stream the-key?sign=secret-sign (token secret-sign) is taken";
    let err = Server::new().say(&status("error", "NetStream.Publish.BadName", words)).unwrap_err();
    assert_eq!(err, refused(Step::Connect, "NetStream.Publish.BadName", "stream *** (token ***) is taken"));
}

#[test]
fn warnings_are_told_and_bounded() {
    let mut server = Server::live();
    let warning = status("warning", "NetStream.Publish.Slow", "the-key?sign=secret-sign is slow");
    server.say_all(&vec![warning; 100]).unwrap();
    let want = PublishEvent::Warning { code: "NetStream.Publish.Slow".into(), description: "*** is slow".into() };
    assert_eq!(server.session.next_event(), Some(want));
    assert_eq!(std::iter::from_fn(|| server.session.next_event()).count(), MAX_EVENTS - 1);
}

#[test]
fn streams_need_a_number() {
    for id in [Value::Null, Value::Number(-1.0), Value::Number(1.5), Value::Number(f64::NAN), Value::Number(1e12)] {
        let mut server = Server::new();
        let answer = reply("_result", 4.0, &[Value::Null, id]);
        assert_eq!(server.say_all(&[accepted(), answer]), Err(PublishError::NoStreamId));
    }
}

#[test]
fn what_is_received_is_acknowledged_as_a_running_total() {
    let mut server = Server::live();
    let before = server.session.link.bytes_read();
    server.said.window(2000);
    // Media from a server is none of ours.
    for _ in 0..2 {
        let mut audio = BytesMut::from(&[4, 0, 0, 0, 0, 3, 0xE8, 8, 1, 0, 0, 0][..]);
        audio.put_bytes(0xAF, 1000);
        server.say_raw(&audio).unwrap();
    }
    let totals = [before + 16 + 1012, before + 16 + 2 * 1012].map(|total| (total as u32).to_be_bytes());
    let want: Vec<u8> =
        totals.iter().flat_map(|total| [&[2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0][..], total].concat()).collect();
    assert_eq!(server.session.take_output().unwrap(), want);
}

#[test]
fn the_longest_target_fits() {
    let server = format!("rtmp://{}:1936/{}", "h".repeat(255), "a".repeat(1024));
    let target = Target::from_parts(&server, "k".repeat(2048).as_bytes()).unwrap();
    let flash_version = "ü".repeat(500);
    let mut server = Server::connected_to(Publish::new(PublishConfig { target, flash_version }));
    server.say_all(&[accepted(), stream(4.0, 1.0), started()]).unwrap();
    server.session.close();
    let names = ["releaseStream", "FCPublish", "createStream", "publish", "FCUnpublish", "deleteStream"];
    assert_eq!(server.heard_names(), names);
}

#[test]
fn a_session_closed_early_has_nothing_to_unpublish() {
    let mut server = Server::new();
    assert_eq!(server.session.peer_closed(), PublishError::ClosedEarly { step: Step::Connect });
    server.session.close();
    assert_eq!(server.session.take_output(), None);
}
