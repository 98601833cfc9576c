//! What a relay does per tag and per output, without sockets and without a clock: the same instructions in every run.

use std::{
    collections::VecDeque,
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use flv::{DemuxLimits, Demuxer, Kind, mux};
use relay::{
    Action, Batch, Cursor, Failover, FailoverPolicy, InputKind, Log, LogPolicy, OutputPolicy, Report, Stretch,
    TimelinePolicy,
};
use rtmp::wire::MediaWriter;

use super::stream::{Rate, Stream};

/// Relays the first `tags` tags of a stream to `outputs` outputs, beginning with its headers.
pub(crate) fn run(outputs: usize, tags: usize, rate: Rate) -> Result<()> {
    let mut relay = Relay::new(outputs);
    let pieces = pieces(tags, rate)?;
    relay_tags(&mut relay, &pieces);
    black_box(&relay.queue);
    // Audio behind the last frame waits for the next one.
    let taken = relay.outputs.iter().map(|output| output.tags).min().unwrap_or(tags as u64);
    ensure!(taken + 10 > tags as u64, "an output took {taken} of {tags} tags");
    Ok(())
}

/// What is counted, by this name.
#[inline(never)]
fn relay_tags(relay: &mut Relay, pieces: &[Bytes]) {
    for piece in pieces {
        relay.take(piece);
    }
}

/// The stream as FLV, a tag to a piece: as it comes over HTTP when it is live.
fn pieces(tags: usize, rate: Rate) -> Result<Vec<Bytes>> {
    let mut stream = Stream::new(rate)?;
    let mut first = BytesMut::from(&mux::file_header(true, true)[..]);
    for header in stream.headers() {
        mux::write_tag(&mut first, header.kind, 0, &header.body);
    }
    let mut pieces = vec![first.freeze()];
    for due in stream.schedule().take(tags) {
        let (kind, timestamp, body) = stream.tag(&due, due.at.as_micros() as u64);
        let mut piece = BytesMut::new();
        mux::write_tag(&mut piece, kind, timestamp, body);
        pieces.push(piece.freeze());
    }
    Ok(pieces)
}

struct Relay {
    demuxer: Demuxer,
    failover: Failover,
    log: Log,
    outputs: Vec<Output>,
    /// Takes what a write call would.
    queue: VecDeque<Bytes>,
    start: Instant,
    /// Up to where the log has been served.
    from: u64,
}

struct Output {
    cursor: Cursor,
    writer: Option<MediaWriter>,
    tags: u64,
}

impl Relay {
    fn new(outputs: usize) -> Self {
        let start = Instant::now();
        let inputs = [("source".to_owned(), InputKind::Pull)];
        let policy = LogPolicy::default();
        let mut failover = Failover::new(FailoverPolicy::default(), &TimelinePolicy::default(), policy, inputs, start);
        failover.handle(0, Report::Connected, start);
        let output = || Output { cursor: Cursor::new(OutputPolicy::default()), writer: None, tags: 0 };
        Self {
            demuxer: Demuxer::new(DemuxLimits::default()),
            failover,
            log: Log::new(policy),
            outputs: (0..outputs).map(|_| output()).collect(),
            queue: VecDeque::with_capacity(256),
            start,
            from: 0,
        }
    }

    fn take(&mut self, piece: &Bytes) {
        self.demuxer.push(piece.clone());
        while let Some(tag) = self.demuxer.next_tag().expect("the stream's own framing is sound") {
            let is_video = tag.kind == Kind::Video;
            let now = self.start + Duration::from_millis(tag.timestamp.into());
            self.failover.handle(0, Report::Bytes(tag.body.len() as u64), now);
            self.failover.handle(0, Report::Tag(tag), now);
            while let Some(action) = self.failover.next_action() {
                if let Action::Emit(placed) = action {
                    self.log.push(&placed, now);
                }
            }
            if is_video {
                self.serve(now);
            }
        }
    }

    /// Outputs wake at each video frame.
    fn serve(&mut self, now: Instant) {
        let queue = &mut self.queue;
        let stretch = Stretch::new(&self.log, self.from, BATCH);
        self.from = self.log.end();
        for Output { cursor, writer, tags } in &mut self.outputs {
            if let (Some(stretch), Some(writer)) = (&stretch, writer.as_mut())
                && cursor.step(stretch, now, || writer.continue_with(stretch.run()))
            {
                black_box(stretch.run().slices());
                *tags += stretch.tags();
                continue;
            }
            cursor.read(&self.log, now, BATCH, |form, dts| {
                writer.get_or_insert_with(|| MediaWriter::new(1, dts)).write_at(form, dts, queue);
                *tags += 1;
            });
            queue.clear();
        }
    }
}

const BATCH: Batch = Batch { tags: 64, bytes: 256 << 10 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_takes_every_tag() {
        run(3, 500, Rate { video_kbps: 3018, fps: 30 }).unwrap();
    }
}
