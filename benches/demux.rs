//! How fast FLV bytes become tags.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flv::{DemuxLimits, Demuxer, Kind, mux};

/// A body of `tags` video tags of 10 KB.
fn body(tags: u32) -> Bytes {
    let mut body = BytesMut::from(&mux::file_header(false, true)[..]);
    let mut payload = vec![0x5A; TAG];
    payload[..5].copy_from_slice(&[0x27, 1, 0, 0, 0]);
    for n in 0..tags {
        mux::write_tag(&mut body, Kind::Video, n * 40, &payload);
    }
    body.freeze()
}

/// Demuxes everything and reads every byte of every body.
fn demux(body: &Bytes, piece: usize) -> (u32, u64) {
    let mut demuxer = Demuxer::new(DemuxLimits::default());
    let (mut tags, mut sum) = (0, 0u64);
    let mut at = 0;
    while at < body.len() {
        let end = (at + piece).min(body.len());
        demuxer.push(body.slice(at..end));
        at = end;
        while let Some(tag) = demuxer.next_tag().expect("the body is sound") {
            let (words, rest) = tag.body.as_chunks::<8>();
            sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
            sum = sum.wrapping_add(rest.len() as u64);
            tags += 1;
        }
    }
    (tags, sum)
}

fn bench(criterion: &mut Criterion) {
    let body = body(TAGS);
    let mut group = criterion.benchmark_group("demux/10KB_tags");
    for (name, piece) in [("16KiB_pieces", 16 << 10), ("1460B_pieces", 1_460), ("256KiB_pieces", 256 << 10)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (tags, sum) = demux(&body, piece);
                assert_eq!(tags, TAGS);
                black_box(sum)
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("demux/per_tag");
    group.throughput(Throughput::Elements(u64::from(TAGS)));
    group.bench_function("16KiB_pieces", |bencher| bencher.iter(|| black_box(demux(&body, 16 << 10))));
    group.finish();
}

const TAG: usize = 10_000;
const TAGS: u32 = 2_000;

criterion_group!(benches, bench);
criterion_main!(benches);
