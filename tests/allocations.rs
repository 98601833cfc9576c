//! What is allocated per tag, counted by a heap profiler: a handful per input tag, none per output and tag.
//!
//! A binary of its own: the profiler is the process's allocator, and counts every thread.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use flv::{DemuxLimits, Demuxer, Kind, mux};
use relay::{
    Action, Batch, Cursor, Failover, FailoverPolicy, InputKind, Log, LogPolicy, OutputPolicy, Report, TimelinePolicy,
};
use rtmp::wire::MediaWriter;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// 25 fps with a keyframe per second and an audio tag per frame, in pieces of 16 KiB.
fn pieces(tags: u32) -> Vec<Bytes> {
    let mut body = BytesMut::from(&mux::file_header(true, true)[..]);
    mux::write_tag(&mut body, Kind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
    mux::write_tag(&mut body, Kind::Audio, 0, &[0xAF, 0, 0x12, 0x10]);
    for n in 0..tags / 2 {
        let mut video = vec![0; 10_000];
        video[..5].copy_from_slice(&[if n % 25 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
        mux::write_tag(&mut body, Kind::Video, n * 40, &video);
        mux::write_tag(&mut body, Kind::Audio, n * 40, &[0xAF, 1, 0x21, 0x10]);
    }
    let body = body.freeze();
    (0..body.len()).step_by(16 << 10).map(|at| body.slice(at..(at + (16 << 10)).min(body.len()))).collect()
}

struct Output {
    cursor: Cursor,
    writer: Option<MediaWriter>,
    queue: VecDeque<Bytes>,
    tags: u64,
}

struct Relay {
    demuxer: Demuxer,
    failover: Failover,
    log: Log,
    outputs: Vec<Output>,
    start: Instant,
    dts: i64,
}

impl Relay {
    fn new(outputs: usize) -> Self {
        let start = Instant::now();
        let inputs = [("primary".to_owned(), InputKind::Pull)];
        let policy = LogPolicy::default();
        let mut failover = Failover::new(FailoverPolicy::default(), &TimelinePolicy::default(), policy, inputs, start);
        failover.handle(0, Report::Connected, start);
        let output = || Output {
            cursor: Cursor::new(OutputPolicy::default()),
            writer: None,
            queue: VecDeque::with_capacity(256),
            tags: 0,
        };
        Self {
            demuxer: Demuxer::new(DemuxLimits::default()),
            failover,
            log: Log::new(policy),
            outputs: (0..outputs).map(|_| output()).collect(),
            start,
            dts: 0,
        }
    }

    fn take(&mut self, piece: Bytes) {
        self.demuxer.push(piece);
        while let Some(tag) = self.demuxer.next_tag().expect("the body is sound") {
            let now = self.start + Duration::from_millis(self.dts.unsigned_abs());
            self.failover.handle(0, Report::Bytes(tag.body.len() as u64), now);
            self.failover.handle(0, Report::Tag(tag), now);
            while let Some(action) = self.failover.next_action() {
                if let Action::Emit(placed) = action {
                    self.dts = placed.dts;
                    self.log.push(&placed, now);
                }
            }
            for Output { cursor, writer, queue, tags } in &mut self.outputs {
                cursor.read(&self.log, now, Batch { tags: 64, bytes: 256 << 10 }, |form, dts| {
                    writer.get_or_insert_with(|| MediaWriter::new(1, dts)).write_at(form, dts, queue);
                    *tags += 1;
                });
                queue.clear();
            }
        }
    }
}

/// Allocations per input tag, measured over the second half of a run of `tags`.
fn allocations_per_tag(outputs: usize) -> f64 {
    let tags = 2_000;
    let pieces = pieces(tags);
    let mut relay = Relay::new(outputs);
    let (warm_up, measured) = pieces.split_at(pieces.len() / 2);
    for piece in warm_up {
        relay.take(piece.clone());
    }
    let before = (dhat::HeapStats::get().total_blocks, relay.log.end());
    for piece in measured {
        relay.take(piece.clone());
    }
    let after = (dhat::HeapStats::get().total_blocks, relay.log.end());
    assert!(relay.outputs.iter().all(|output| output.tags == relay.log.end()), "every output took every tag");
    (after.0 - before.0) as f64 / (after.1 - before.1) as f64
}

#[test]
fn a_handful_per_input_tag_and_none_per_output_and_tag() {
    let _profiler = dhat::Profiler::builder().testing().build();
    // The first clone of a tag's bytes makes them shared: one allocation, however many outputs follow.
    let one = allocations_per_tag(1);
    let many = allocations_per_tag(101);
    let each = (many - one) / 100.0;
    println!("{one:.2} allocations per input tag; {each:.4} per output and tag");
    assert!(one < 6.0, "{one:.2} allocations per input tag");
    assert!(each < 0.001, "{each:.4} allocations per output and tag");
}
