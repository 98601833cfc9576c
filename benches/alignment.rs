//! What it costs to keep an input aligned with what is relayed: per tag, while locked.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relay::{Alignment, Mark, Marks, Print, Track};

/// The `n`-th tag of a programme of 25 frames of 10 KB and 50 audio tags of 300 B per second.
struct Source {
    n: i64,
    frame: Vec<u8>,
    sound: Vec<u8>,
}

impl Source {
    fn new() -> Self {
        Self { n: 0, frame: vec![0x5A; 10_000], sound: vec![0x21; 300] }
    }

    fn next(&mut self) -> (Track, i64, &[u8]) {
        let (slot, place) = (self.n / 3, self.n % 3);
        self.n += 1;
        let (track, dts, body) = match place {
            0 => (Track::Video, slot * 40, &mut self.frame),
            _ => (Track::Audio, slot * 40 + (place - 1) * 20, &mut self.sound),
        };
        body[8..16].copy_from_slice(&self.n.to_be_bytes());
        (track, dts, body)
    }
}

fn push(marks: &mut Marks, (track, dts, body): (Track, i64, &[u8]), number: u64) {
    marks.push(track, Mark { print: Print::of(track, body), dts, raw: Some(dts as u32), number });
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alignment");
    group.throughput(Throughput::Elements(1));
    group.bench_function("locked", |bencher| {
        let (mut relayed, mut input) = (Marks::new(10_000), Alignment::new(10_000));
        let (mut ours, mut theirs) = (Source::new(), Source::new());
        for number in 0..750 {
            push(&mut relayed, theirs.next(), number);
            push(&mut input.marks, ours.next(), number);
        }
        input.update(&relayed);
        let mut number = 750;
        bencher.iter(|| {
            push(&mut relayed, theirs.next(), number);
            push(&mut input.marks, ours.next(), number);
            input.update(&relayed);
            number += 1;
            assert!(black_box(&input).is_locked());
        });
    });
    let mut source = Source::new();
    let frame = source.next().2.to_vec();
    group.bench_function("print_of_10KB", |bencher| bencher.iter(|| Print::of(Track::Video, black_box(&frame))));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
