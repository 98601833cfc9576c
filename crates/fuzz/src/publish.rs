//! The client side of a publish session; the fuzzer plays the server. Whatever it says, no text that the session makes
//! of it holds the key or a token.

use bytes::Bytes;
use flv::amf0::Value;
use rtmp::{
    publish::{Publish, PublishConfig, PublishError, PublishEvent, Step},
    url::Target,
};

use crate::{
    peer::{HANDSHAKE, Peer},
    session::{Act, Language, Session, play_twice},
};

pub(crate) fn run(data: &[u8]) {
    let (acts, cuts) = LANGUAGE.script(data, beginning);

    let played = play_twice(Client::new, &acts, cuts);
    let starts = played.events.iter().filter(|event| matches!(event, PublishEvent::Started { .. })).count();
    assert!(starts <= 1, "started {starts} times");
}

fn beginning(peer: &mut Peer) -> [Act; 4] {
    let result = |transaction, value| [Value::str("_result"), Value::Number(transaction), Value::Null, value];
    [
        Act::Said(HANDSHAKE.to_vec()),
        Act::Said(peer.command(0, &result(1.0, Value::Null)).to_vec()),
        Act::Said(peer.command(0, &result(4.0, Value::Number(1.0))).to_vec()),
        Act::Said(peer.command(0, &result(5.0, Value::Null)).to_vec()),
    ]
}

/// The session and how far it has come.
struct Client {
    session: Publish,
    step: Step,
    is_started: bool,
}

impl Client {
    fn new() -> Self {
        let target = Target::parse("rtmp://h/app?token=T0K3NAPP/S3CR3TKEY?sign=S1GNATURE").expect("a target");
        let session = Publish::new(PublishConfig::new(target));
        Self { session, step: Step::Handshake, is_started: false }
    }
}

impl Session for Client {
    type Event = PublishEvent;
    type Error = PublishError;

    fn handle_input(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let outcome = self.session.handle_input(bytes);
        assert!(self.session.step() >= self.step, "a step back from {}", self.step);
        self.step = self.session.step();
        if let Err(error) = &outcome {
            check_text(&format!("{error} {error:?}"));
            if let PublishError::Refused { code, description, .. } = error {
                check_length(code, description);
            }
            let _ = (error.retry(), error.kind());
        }
        outcome
    }

    fn next_event(&mut self) -> Option<PublishEvent> {
        let event = self.session.next_event()?;
        check_text(&format!("{event:?}"));
        match &event {
            PublishEvent::Started { .. } => {
                assert!(self.step >= Step::Live, "started at {}", self.step);
                self.is_started = true;
            }
            PublishEvent::Warning { code, description } => check_length(code, description),
        }
        Some(event)
    }

    fn take_output(&mut self) -> Option<Bytes> {
        assert!(self.is_started || self.step != Step::Live, "live without a start");
        self.session.take_output()
    }

    fn turn(&mut self, _: u8) {
        self.session.close();
        self.step = Step::Closed;
        check_text(&self.session.peer_closed().to_string());
    }

    fn is_flooded(error: &PublishError) -> bool {
        *error == PublishError::Flooded
    }
}

fn check_text(text: &str) {
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
    // A beginning of eight characters is a key that was cut.
    for secret in ["S3CR3TKE", "T0K3NAPP", "S1GNATUR"] {
        assert!(!text.contains(secret), "{secret} in {text:?}");
    }
}

fn check_length(code: &str, description: &str) {
    assert!(code.chars().count() <= 64 && description.chars().count() <= 200, "{code:?}: {description:?}");
}

const LANGUAGE: Language = Language {
    names: &["_result", "_error", "onStatus", "onBWDone", "onFCPublish", "onFCUnpublish", "close", "connect"],
    texts: &[
        "status",
        "error",
        "warning",
        "NetStream.Publish.Start",
        "NetStream.Publish.BadName",
        "NetConnection.Connect.Success",
        "NetConnection.Connect.Rejected",
        "NetStream.Unpublish.Success",
        "S3CR3TKEY?sign=S1GNATURE",
        "S3CR3TKEY",
        "S1GNATURE",
        "token=T0K3NAPP",
        "T0K3NAPP",
        "S3CR",
        "3TKEY",
        " ",
    ],
};
