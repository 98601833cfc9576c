//! The reader of a peer's chunk stream: cuts make no difference, every byte is counted, memory stays within the limits.

use std::collections::HashSet;

use rtmp::chunk::{ChunkLimits, ChunkReader, Error, Message};

use crate::input::{Cuts, Input};

/// One byte of choices, three of cuts, and the stream.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.pick(&LIMITS);
    let cuts = Cuts::draw(&mut input);
    let stream = input.rest();
    let whole = read(limits, [stream]);
    assert_eq!(read(limits, cuts.pieces(stream)), whole, "cuts make a difference");

    let (messages, end) = whole;
    let payload = messages.iter().map(|message| message.payload.len()).sum::<usize>();
    assert!(payload + messages.len() <= stream.len(), "{payload} bytes out of {}", stream.len());
    for message in &messages {
        assert!(message.payload.len() <= limits.max_message && message.csid >= 2, "{message:?}");
        assert!(!matches!(message.type_id, 1 | 2), "{message:?} is the reader's own");
    }
    let used = messages.iter().map(|message| message.csid).collect::<HashSet<_>>().len();
    assert!(used <= limits.max_chunk_streams, "{used} chunk streams");
    if let Err(error) = end {
        assert!(error.pos <= stream.len() as u64, "{error}");
    }
}

fn read<'a>(limits: ChunkLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Result<(), Error>) {
    let mut reader = ChunkReader::new(limits);
    let (mut messages, mut fed) = (Vec::new(), 0);
    for piece in pieces {
        let mut input = piece;
        loop {
            let outcome = reader.feed(&mut input);
            let read = fed + (piece.len() - input.len()) as u64;
            assert_eq!(reader.bytes_read(), read, "bytes are counted once");
            // One buffer may be as long as its message, and the others twice as long as what they hold.
            let bound = limits.max_message + 2 * limits.max_partial + 512 * limits.max_chunk_streams;
            assert!(reader.reserved() <= bound, "{} bytes reserved, {bound} allowed", reader.reserved());
            match outcome {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    for more in [&[0xC2][..], &[0; 40], piece] {
                        assert_eq!(reader.feed(&mut &more[..]), Err(error), "an error is final");
                    }
                    return (messages, Err(error));
                }
            }
        }
        assert!(input.is_empty(), "input is left without a message");
        fed += piece.len() as u64;
    }
    (messages, Ok(()))
}

const LIMITS: [ChunkLimits; 3] = [
    ChunkLimits { max_message: 600, max_chunk_streams: 3, max_partial: 700 },
    ChunkLimits { max_message: 64 << 10, max_chunk_streams: 16, max_partial: 128 << 10 },
    ChunkLimits { max_message: 16 << 20, max_chunk_streams: 64, max_partial: 16 << 20 },
];
