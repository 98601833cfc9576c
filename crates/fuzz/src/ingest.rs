//! The server side of a publish session; the fuzzer plays the publisher and the owner's verdict.

use bytes::Bytes;
use flv::amf0::{Limits, Value};
use rtmp::ingest::{Ingest, IngestError, IngestEvent, IngestLimits};

use crate::{
    peer::{HANDSHAKE, Peer},
    session::{Act, Language, Session, play_twice},
};

pub(crate) fn run(data: &[u8]) {
    let (acts, cuts) = LANGUAGE.script(data, beginning);
    let said = acts.iter().map(|act| if let Act::Said(bytes) = act { bytes.len() } else { 0 }).sum::<usize>();

    let played = play_twice(Server::new, &acts, cuts);
    let held = played.events.iter().map(|event| if let IngestEvent::Tag(tag) = event { tag.body.len() } else { 0 });
    assert!(held.sum::<usize>() <= said, "more bytes of tags than were sent");
}

fn beginning(peer: &mut Peer) -> [Act; 4] {
    let app = Value::Object([("app", Value::str("live"))].into_iter().collect());
    [
        Act::Said(HANDSHAKE.to_vec()),
        Act::Said(peer.command(0, &[Value::str("connect"), Value::Number(1.0), app]).to_vec()),
        Act::Said(
            peer.command(1, &[Value::str("publish"), Value::Number(2.0), Value::Null, Value::str("in?a=b")]).to_vec(),
        ),
        Act::Turn(ACCEPT),
    ]
}

/// The session and what has happened to it.
struct Server {
    session: Ingest,
    is_waiting: bool,
    is_accepted: bool,
    is_rejected: bool,
    is_over: bool,
}

impl Server {
    fn new() -> Self {
        let amf = Limits { depth: 4, values: 64, string: 1000 };
        let (max_message, max_unaccepted_message) = (8 << 10, 4 << 10);
        let session = Ingest::new(IngestLimits { max_message, max_unaccepted_message, amf, ..IngestLimits::default() });
        Self { session, is_waiting: false, is_accepted: false, is_rejected: false, is_over: false }
    }
}

impl Session for Server {
    type Event = IngestEvent;
    type Error = IngestError;

    fn handle_input(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        self.session.handle_input(bytes)
    }

    fn next_event(&mut self) -> Option<IngestEvent> {
        let event = self.session.next_event()?;
        assert!(!self.is_over && !self.is_rejected, "{event:?} behind the end");
        match &event {
            IngestEvent::Publish { .. } => {
                assert!(!self.is_waiting && !self.is_accepted, "a second publisher");
                self.is_waiting = true;
            }
            IngestEvent::Tag(_) => assert!(self.is_accepted, "media of a publisher that was not accepted"),
            IngestEvent::Unpublished => {
                assert!(self.is_accepted, "the end of what never began");
                self.is_over = true;
            }
        }
        assert_eq!(self.session.is_unpublished() && self.is_over, self.is_over, "an end that is taken back");
        Some(event)
    }

    fn take_output(&mut self) -> Option<Bytes> {
        self.session.take_output()
    }

    fn turn(&mut self, which: u8) {
        if which == ACCEPT {
            self.session.accept();
            self.is_accepted |= self.is_waiting && !self.is_rejected;
        } else {
            self.session.reject("NetStream.Publish.BadName", "in use");
            self.is_rejected |= self.is_waiting && !self.is_accepted;
        }
    }

    fn is_flooded(error: &IngestError) -> bool {
        *error == IngestError::Flooded
    }
}

const ACCEPT: u8 = 0;
const LANGUAGE: Language = Language {
    names: &[
        "connect",
        "createStream",
        "publish",
        "releaseStream",
        "FCPublish",
        "FCUnpublish",
        "deleteStream",
        "closeStream",
        "_checkbw",
        "getStreamLength",
        "_result",
        "@setDataFrame",
    ],
    texts: &["live", "in?a=b", "", "@setDataFrame", "onMetaData", "record"],
};
