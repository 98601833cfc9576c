//! What one more output costs: in memory (log, cursor, wire form), and over loopback TCP with the real output task.

use std::{
    collections::VecDeque,
    hint::black_box,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flv::Class;
use relay::{Batch, Cursor, Flush, Log, LogPolicy, OutputPolicy, Placed, RetryPolicy};
use relayd::{
    config::{Origin, OutputConfig, OutputTls},
    egress::Egress,
    events::{EventBus, Ledger},
    fanout::Fanout,
    lanes::{Lanes, Seat},
    output::{Flushers, Output, OutputMeter, OutputState, PublishPoints},
    resolver::Resolver,
    test_hooks::Hook,
    tls::TlsConfigs,
};
use rtmp::{
    ingest::{Ingest, IngestEvent, IngestLimits},
    url::Target,
    wire::MediaWriter,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_util::sync::CancellationToken;

/// The `n`-th frame: 10 KB, a keyframe every 50.
fn frame(n: i64) -> Placed {
    let class = if n % 50 == 0 { Class::Key } else { Class::Inter };
    Placed { class, dts: n * 40, body: Bytes::from_static(&[0x27; FRAME]) }
}

struct Reader {
    cursor: Cursor,
    writer: Option<MediaWriter>,
    queue: VecDeque<Bytes>,
}

impl Reader {
    fn new() -> Self {
        Self { cursor: Cursor::new(OutputPolicy::default()), writer: None, queue: VecDeque::with_capacity(64) }
    }

    fn read(&mut self, log: &Log, now: Instant) {
        let (writer, queue) = (&mut self.writer, &mut self.queue);
        self.cursor.read(log, now, Batch { tags: 64, bytes: 256 << 10 }, |form, dts| {
            writer.get_or_insert_with(|| MediaWriter::new(1, dts)).write_at(form, dts, queue);
        });
        // Stands for the write call, which is measured over loopback.
        self.queue.clear();
    }
}

fn in_memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout/memory");
    for outputs in [1usize, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(outputs as u64));
        group.bench_function(BenchmarkId::from_parameter(outputs), |bencher| {
            let mut log = Log::new(LogPolicy { max_time: Duration::from_secs(10), max_bytes: 32 << 20 });
            let mut readers: Vec<_> = (0..outputs).map(|_| Reader::new()).collect();
            let (mut n, now) = (0, Instant::now());
            bencher.iter(|| {
                log.push(&frame(n), now);
                n += 1;
                for reader in &mut readers {
                    reader.read(&log, now);
                }
                black_box(&readers);
            });
        });
    }
    group.finish();
}

/// Accepts publishers and reads what they send into nothing.
async fn sink(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(drain(stream));
    }
}

async fn drain(mut stream: TcpStream) {
    let mut session = Ingest::new(IngestLimits::default());
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let mut accepted = false;
    while !accepted {
        buffer.clear();
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) || session.handle_input(&buffer).is_err() {
            return;
        }
        while let Some(event) = session.next_event() {
            if matches!(event, IngestEvent::Publish { .. }) {
                session.accept();
                accepted = true;
            }
        }
        while let Some(reply) = session.take_output() {
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
    drop(session);
    loop {
        buffer.clear();
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

fn output(id: usize, to: SocketAddr, flush: Flush) -> OutputConfig {
    OutputConfig {
        id: id.to_string(),
        name: String::new(),
        origin: Origin::File,
        target: Target::parse(&format!("rtmp://{to}/live/{id}")).expect("a sound URL"),
        enabled: true,
        policy: OutputPolicy {
            flush,
            max_lag: Duration::from_secs(60),
            max_lag_bytes: usize::MAX,
            ..OutputPolicy::default()
        },
        connect_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        retry: RetryPolicy::OUTPUT,
        tls: OutputTls::default(),
        bind: None,
    }
}

struct Loopback {
    runtime: Runtime,
    _lanes: (Lanes, Seat),
    fanout: Arc<Fanout>,
    meters: Vec<Arc<OutputMeter>>,
    cancel: CancellationToken,
    n: i64,
}

impl Loopback {
    /// `outputs` live sessions to a sink of this process.
    fn new(outputs: usize, flush: Flush) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let fanout = Arc::new(Fanout::new(LogPolicy { max_time: Duration::from_secs(60), max_bytes: 64 << 20 }));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let to = listener.local_addr().expect("an address");
        runtime.spawn(sink(listener));
        let ledger = Ledger::new(String::new(), EventBus::default());
        let (cancel, tls) = (CancellationToken::new(), TlsConfigs::load().native());
        let meters: Vec<_> = (0..outputs)
            .map(|_| Arc::new(OutputMeter::new(String::new(), ledger.clone(), OutputState::Idle)))
            .collect();
        let lanes = Lanes::start().expect("threads");
        let resolver = Resolver::system();
        let (seat, flushers) = (lanes.for_relay(), Flushers::default());
        for (id, meter) in meters.iter().enumerate() {
            let task = Output {
                config: output(id, to, flush),
                fanout: Arc::clone(&fanout),
                head: fanout.subscribe(),
                flushers: flushers.clone(),
                lane: seat.lane().clone(),
                meter: Arc::clone(meter),
                tls: Arc::clone(&tls),
                egress: Egress::Trusted,
                resolver: resolver.clone(),
                hook: Hook::default(),
                points: PublishPoints::default(),
                cancel: cancel.clone(),
            };
            seat.lane().handle().spawn(task.run());
        }
        let mut loopback = Self { runtime, _lanes: (lanes, seat), fanout, meters, cancel, n: 0 };
        loopback.push();
        while loopback.meters.iter().any(|meter| meter.state() != OutputState::Live) {
            std::thread::yield_now();
        }
        loopback
    }

    fn push(&mut self) {
        self.fanout.push(&[frame(self.n)], Instant::now());
        self.n += 1;
    }

    /// Relays `frames`, `at_once` of them at a time, each time until every output has taken them.
    fn relay(&mut self, frames: u64, at_once: u64) -> Duration {
        let taken = |loopback: &Self| loopback.meters.iter().map(|meter| meter.tags.load(Relaxed)).min().unwrap_or(0);
        let start = Instant::now();
        let mut left = frames;
        while left > 0 {
            let now = left.min(at_once);
            left -= now;
            let target = taken(self) + now;
            (0..now).for_each(|_| self.push());
            while taken(self) < target {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        start.elapsed()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
    }
}

fn over_loopback(criterion: &mut Criterion) {
    // Three frames of 25 to 30 per second fall into 100 ms; the wait itself is no cost and is left out.
    for (name, flush, at_once) in [("frame", Flush::Frame, 1), ("three_frames", Flush::Frame, 3)] {
        let mut group = criterion.benchmark_group(format!("fanout/loopback/{name}"));
        group.sample_size(10);
        for outputs in [1usize, 10, 100, 1_000] {
            group.throughput(Throughput::Elements(outputs as u64));
            group.bench_function(BenchmarkId::from_parameter(outputs), |bencher| {
                let mut loopback = Loopback::new(outputs, flush);
                bencher.iter_custom(|frames| loopback.relay(frames, at_once));
            });
        }
        group.finish();
    }
}

const FRAME: usize = 10_000;

criterion_group!(benches, in_memory, over_loopback);
criterion_main!(benches);
