//! A session that a fuzzer talks to, twice: once in whole pieces, once in small ones.

use std::fmt::{Debug, Display};

use bytes::Bytes;
use flv::amf0::{self, Limits};
use rtmp::chunk::{ChunkLimits, ChunkReader, Message};

use crate::{
    input::{Cuts, Input},
    peer::{self, HANDSHAKE, Peer},
};

/// What both sides of a publish session have in common, with the promises of each checked on the way.
pub(crate) trait Session {
    type Event: Debug + PartialEq;
    type Error: Clone + Debug + Display + PartialEq;

    fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    fn next_event(&mut self) -> Option<Self::Event>;
    fn take_output(&mut self) -> Option<Bytes>;
    /// What the session's owner does, of several things.
    fn turn(&mut self, which: u8);
    /// Whether the session gave up a peer that takes no answers. Acknowledgements fill the backlog as well, and how many
    /// there are depends on the pieces.
    fn is_flooded(error: &Self::Error) -> bool;
}

/// What happens to a session.
pub(crate) enum Act {
    Said(Vec<u8>),
    OutputTaken,
    Turn(u8),
}

/// What a peer may say.
pub(crate) struct Language {
    pub(crate) names: &'static [&'static str],
    pub(crate) texts: &'static [&'static str],
}

impl Language {
    /// Draws what happens to a session, and the cuts: a byte that says how much of `beginning` has been said already, three
    /// of cuts, then acts.
    pub(crate) fn script(&self, data: &[u8], beginning: fn(&mut Peer) -> [Act; 4]) -> (Vec<Act>, Cuts) {
        let mut input = Input::new(data);
        let (stage, cuts) = (input.byte() % 5, Cuts::draw(&mut input));
        let mut peer = Peer::default();
        let mut acts: Vec<_> = beginning(&mut peer).into_iter().take(usize::from(stage)).collect();
        acts.extend(self.acts(&mut input, &mut peer));
        (acts, cuts)
    }

    /// Draws acts until `input` is used up.
    fn acts(&self, input: &mut Input<'_>, peer: &mut Peer) -> Vec<Act> {
        let (mut acts, mut total) = (Vec::new(), 0);
        while !input.is_empty() && acts.len() < MAX_ACTS && total < MAX_SAID {
            let act = match input.byte() % 9 {
                0 => Act::Said(input.short().to_vec()),
                1 => {
                    let len = input.u16();
                    Act::Said(input.take(usize::from(len)).to_vec())
                }
                2..=4 => {
                    let stream_id = u32::from(input.byte() % 3);
                    Act::Said(peer.command(stream_id, &peer::command(input, self.names, self.texts)).to_vec())
                }
                5 => {
                    let type_id = match input.byte() {
                        n @ 0..32 => n,
                        n => TYPES[usize::from(n) % TYPES.len()],
                    };
                    let (csid, timestamp) = (2 + input.byte() % 8, input.u32());
                    Act::Said(peer.message(csid, type_id, timestamp, 1, input.short()).to_vec())
                }
                6 => {
                    let times = usize::from(input.byte());
                    let Some(Act::Said(last)) = acts.last() else { continue };
                    Act::Said(last.repeat(times.min(MAX_SAID / last.len().max(1))))
                }
                7 => Act::OutputTaken,
                _ => Act::Turn(input.byte()),
            };
            if let Act::Said(bytes) = &act {
                total += bytes.len();
            }
            acts.push(act);
        }
        acts
    }
}

/// How a session went.
#[derive(Debug, PartialEq)]
pub(crate) struct Played<S: Session> {
    pub(crate) events: Vec<S::Event>,
    /// Without the handshake and acknowledgements.
    pub(crate) answers: Vec<Message>,
    pub(crate) end: Result<(), S::Error>,
}

/// Plays `acts` in whole pieces and, with a second session, in `cuts`: both must go the same way.
pub(crate) fn play_twice<S: Session>(new: impl Fn() -> S, acts: &[Act], cuts: Cuts) -> Played<S> {
    let whole = play(new(), acts, None);
    let in_pieces = play(new(), acts, Some(cuts));
    let is_flooded = |played: &Played<S>| played.end.as_ref().is_err_and(S::is_flooded);
    if !is_flooded(&whole) && !is_flooded(&in_pieces) {
        assert_eq!(in_pieces.end, whole.end, "cuts make a difference");
        assert_eq!(in_pieces.events, whole.events, "cuts make a difference");
        assert_eq!(in_pieces.answers, whole.answers, "cuts make a difference");
    }
    whole
}

fn play<S: Session>(mut session: S, acts: &[Act], cuts: Option<Cuts>) -> Played<S> {
    let (mut events, mut output, mut end) = (Vec::new(), Vec::new(), Ok(()));
    for act in acts {
        match act {
            Act::Said(bytes) => {
                end = match cuts {
                    None => session.handle_input(bytes),
                    Some(cuts) => cuts.pieces(bytes).try_for_each(|piece| session.handle_input(piece)),
                };
            }
            Act::OutputTaken => take(&mut session, &mut output),
            Act::Turn(which) => session.turn(*which),
        }
        events.extend(std::iter::from_fn(|| session.next_event()));
        if let Err(error) = &end {
            take(&mut session, &mut output);
            for bytes in [&HANDSHAKE[..], &[0xC2], &[0; 64]] {
                assert_eq!(session.handle_input(bytes).as_ref(), Err(error), "an error is final");
            }
            assert_eq!(session.next_event(), None, "an event after an error");
            assert_eq!(session.take_output(), None, "an answer after an error");
            break;
        }
    }
    take(&mut session, &mut output);
    Played { events, answers: answers(&output), end }
}

fn take<S: Session>(session: &mut S, output: &mut Vec<u8>) {
    let taken = session.take_output().unwrap_or_default();
    assert!(taken.len() <= MAX_BACKLOG, "{} bytes wait for a peer that takes none", taken.len());
    output.extend(taken);
}

/// What the session sent behind its handshake, as its peer reads it.
fn answers(output: &[u8]) -> Vec<Message> {
    let mut input = output.get(HANDSHAKE.len()..).unwrap_or_default();
    let mut reader = ChunkReader::new(ANSWERS);
    let mut answers = Vec::new();
    while let Some(message) = reader.feed(&mut input).expect("a session writes sound chunks") {
        assert!(matches!(message.csid, 2 | 6), "{message:?} on a chunk stream of media");
        match message.type_id {
            ACKNOWLEDGEMENT => continue,
            4..=6 => {}
            20 => {
                let command = amf0::decode_all(message.payload.clone(), &Limits::default()).expect("sound AMF0");
                assert!(command.len() >= 3, "{command:?}");
            }
            _ => panic!("{message:?} is nothing that a session says"),
        }
        answers.push(message);
    }
    answers
}

const ACKNOWLEDGEMENT: u8 = 3;
const TYPES: [u8; 12] = [1, 2, 3, 4, 5, 6, 8, 9, 15, 17, 18, 22];
const MAX_ACTS: usize = 64;
const MAX_SAID: usize = 96 << 10;
/// What a session lets wait before it gives its peer up, and the answers to one message.
const MAX_BACKLOG: usize = (64 << 10) + (8 << 10);
const ANSWERS: ChunkLimits = ChunkLimits { max_message: 8 << 10, max_chunk_streams: 4, max_partial: 16 << 10 };
