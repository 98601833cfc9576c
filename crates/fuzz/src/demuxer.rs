//! The FLV demuxer: cuts of the stream make no difference, memory stays within the limits, what comes out came in.

use bytes::{Bytes, BytesMut};
use flv::{Counters, DemuxLimits, Demuxer, Error, Tag, mux};

use crate::input::{Cuts, Input};

/// Two bytes of choices, three of cuts, and the stream.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.pick(&LIMITS);
    let starts_with_header = input.byte() & 1 != 0;
    let cuts = Cuts::draw(&mut input);
    let mut stream = BytesMut::new();
    if starts_with_header {
        stream.extend_from_slice(&mux::file_header(true, true));
    }
    stream.extend_from_slice(input.rest());
    let stream = stream.freeze();

    let whole = demux(limits, [&stream[..]], &stream);
    let in_pieces = demux(limits, cuts.pieces(&stream), &stream);
    assert_eq!(in_pieces, whole, "cuts make a difference");
    whole.check(limits, &stream);
    muxed_again(limits, &whole.tags);
}

#[derive(Debug, PartialEq)]
struct Outcome {
    tags: Vec<Tag>,
    end: Result<(), Error>,
    counters: Counters,
}

impl Outcome {
    fn check(&self, limits: DemuxLimits, stream: &[u8]) {
        let len = stream.len() as u64;
        let mut framed = 0;
        for tag in &self.tags {
            assert!(!tag.body.is_empty() && tag.body.len() <= limits.max_tag_size as usize, "{tag:?}");
            // Whatever the body, it can be judged.
            let _ = (tag.class(), tag.is_keyframe(), tag.is_sequence_header());
            framed += 11 + tag.body.len() as u64;
        }
        assert!(framed + self.counters.skipped_bytes <= len, "{framed} bytes of tags out of {len}");
        if let Err(error) = self.end {
            assert!(error.pos <= len, "{error} in a stream of {len}");
        }
    }
}

fn demux<'a>(limits: DemuxLimits, pieces: impl IntoIterator<Item = &'a [u8]>, stream: &[u8]) -> Outcome {
    let mut demuxer = Demuxer::new(limits);
    let (mut tags, mut pushed, mut position) = (Vec::new(), 0, 0);
    let fed = pieces.into_iter().try_for_each(|piece| {
        demuxer.push(Bytes::copy_from_slice(piece));
        pushed += piece.len() as u64;
        let drained = drain(&mut demuxer, &mut tags);
        assert!((position..=pushed).contains(&demuxer.position()), "position {} after {position}", demuxer.position());
        position = demuxer.position();
        // Damage keeps a window and a tag; either may begin with a tag rolled back.
        let max_tag = limits.max_tag_size as usize + 26;
        let bound = limits.resync_window.saturating_add(2 * max_tag + piece.len());
        assert!(pushed - position <= bound as u64, "{} bytes held, {bound} allowed", pushed - position);
        drained
    });
    let end = fed.and_then(|()| demuxer.finish());
    let drained = drain(&mut demuxer, &mut tags);
    match fed {
        Err(error) => {
            demuxer.push(Bytes::copy_from_slice(stream));
            assert_eq!(demuxer.next_tag(), Err(error), "an error is final");
        }
        Ok(()) => assert!(drained.is_ok() || drained == end, "what was whole is lost at the end"),
    }
    Outcome { tags, end, counters: demuxer.counters() }
}

fn drain(demuxer: &mut Demuxer, tags: &mut Vec<Tag>) -> Result<(), Error> {
    while let Some(tag) = demuxer.next_tag()? {
        tags.push(tag);
    }
    Ok(())
}

/// What came out makes a sound stream, which comes out the same.
fn muxed_again(limits: DemuxLimits, tags: &[Tag]) {
    let mut stream = BytesMut::from(&mux::file_header(true, true)[..]);
    for tag in tags {
        mux::write_tag(&mut stream, tag.kind, tag.timestamp, &tag.body);
    }
    let again = demux(limits, [&stream[..]], &stream);
    assert_eq!((again.end, again.counters), (Ok(()), Counters::default()));
    assert_eq!(again.tags, tags);
}

const LIMITS: [DemuxLimits; 3] = [
    DemuxLimits { max_tag_size: 150, resync_window: 300 },
    DemuxLimits { max_tag_size: 4096, resync_window: 4096 },
    DemuxLimits { max_tag_size: 8 << 20, resync_window: 1 << 20 },
];
