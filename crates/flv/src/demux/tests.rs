mod damage;
mod framing;
mod refusals;
mod splits;

use bytes::BytesMut;

use super::*;
use crate::Kind;

const SMALL: DemuxLimits = DemuxLimits { max_tag_size: 4096, resync_window: 4096 };

/// What a demuxer makes of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    tags: Vec<Tag>,
    end: Result<(), Error>,
    counters: Counters,
}

impl Outcome {
    fn kind(&self) -> Option<ErrorKind> {
        self.end.err().map(|error| error.kind)
    }
}

/// Demuxes `pieces` to the end, draining after each.
fn demux<'a>(limits: DemuxLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut demuxer = Demuxer::new(limits);
    let mut tags = Vec::new();
    let fed = pieces.into_iter().try_for_each(|piece| {
        demuxer.push(Bytes::copy_from_slice(piece));
        drain(&mut demuxer, &mut tags)
    });
    let end = fed.and_then(|()| demuxer.finish());
    // Whatever the end, what was whole before it is there.
    let drained = drain(&mut demuxer, &mut tags);
    assert!(drained.is_ok() || drained == end);
    Outcome { tags, end, counters: demuxer.counters() }
}

fn drain(demuxer: &mut Demuxer, tags: &mut Vec<Tag>) -> Result<(), Error> {
    while let Some(tag) = demuxer.next_tag()? {
        tags.push(tag);
    }
    Ok(())
}

fn whole(stream: &[u8]) -> Outcome {
    demux(SMALL, [stream])
}

fn header() -> Vec<u8> {
    mux::file_header(true, true).to_vec()
}

fn raw(kind: Kind, timestamp: u32, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    mux::write_tag(&mut out, kind, timestamp, body);
    out.to_vec()
}

/// A tag whose body tells `number`, `len` bytes of it.
fn sample(number: u32, len: usize) -> Tag {
    let kind = if number.is_multiple_of(3) { Kind::Video } else { Kind::Audio };
    let body = (0..len).map(|at| 0x40 | (at as u8 ^ number as u8) & 0x3F).collect::<Vec<_>>();
    Tag { kind, timestamp: number * 23, body: body.into() }
}

fn samples(numbers: std::ops::Range<u32>) -> Vec<Tag> {
    numbers.map(|number| sample(number, 20 + number as usize * 7 % 50)).collect()
}

fn bytes_of(tags: &[Tag]) -> Vec<u8> {
    tags.iter().flat_map(|tag| raw(tag.kind, tag.timestamp, &tag.body)).collect()
}

/// The tags with PreviousTagSize values made by `trailer(size of the body, bytes written before the value)`.
fn with_trailers(tags: &[Tag], trailer: impl Fn(u32, u32) -> u32) -> Vec<u8> {
    let mut out = header();
    for tag in tags {
        let len = tag.body.len() as u32;
        out.extend(mux::tag_header(tag.kind, tag.timestamp, len));
        out.extend(&tag.body);
        out.extend(trailer(len, out.len() as u32).to_be_bytes());
    }
    out
}
