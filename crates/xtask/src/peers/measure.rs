//! One party with N outputs, from its start to its figures.

use std::{
    ops::Range,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{
    clock::Clock,
    parties::{Party, Setting, Stage},
    process::own_cpu,
    sink::{self, Sink, Treatment},
    source,
    stream::{Rate, Track},
};

/// What a run is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) party: Party,
    /// One for each output.
    pub(crate) treatments: Vec<Treatment>,
    /// The outputs whose tags and delays are counted.
    pub(crate) counted: Range<usize>,
    pub(crate) rate: Rate,
    pub(crate) window: Duration,
    pub(crate) relayd: PathBuf,
    /// For the relay's files.
    pub(crate) folder: PathBuf,
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Relay's CPU time per 10^9 bytes of payload at the sink.
    pub(crate) cpu_per_gb: f64,
    /// Relay's CPU time per time.
    pub(crate) cores: f64,
    pub(crate) rss_mb: f64,
    /// In ms.
    pub(crate) video: Delay,
    pub(crate) audio: Delay,
    pub(crate) lost: f64,
    pub(crate) again: f64,
    /// Publishers accepted beyond one for each output, those that disturb included.
    pub(crate) reconnects: f64,
    /// From the relay's start to the first video on every output that counts, in seconds.
    pub(crate) live_after: f64,
    pub(crate) sink_cores: f64,
    pub(crate) source_cores: f64,
    /// What the stream stood still for because the relay did not take it, in seconds.
    pub(crate) stood: f64,
    /// Tags that relayd says it has left out.
    pub(crate) skipped: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Delay {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Run {
    pub(crate) fn measure(&self) -> Result<Figures> {
        let clock = Clock::start();
        let tls = self.party.is_encrypted().then(server_tls).transpose()?;
        let sink = Sink::start(clock, self.treatments.clone(), tls)?;
        let started = Instant::now();
        let is_reset =
            |(output, treatment): (usize, &Treatment)| matches!(treatment, Treatment::Reset(_)).then_some(output);
        let mut stage = self.party.start(&Setting {
            outputs: self.treatments.len(),
            sink: sink.address(),
            rate: self.rate,
            clock,
            relayd: &self.relayd,
            folder: &self.folder,
            eager: &self.treatments.iter().enumerate().filter_map(is_reset).collect::<Vec<_>>(),
        })?;
        self.wait_until_live(&mut stage, &sink, started)?;
        let live_after = started.elapsed();
        thread::sleep(SETTLE);
        self.window(&mut stage, &sink, live_after).with_context(|| complaints(&sink))
    }

    fn wait_until_live(&self, stage: &mut Stage, sink: &Sink, started: Instant) -> Result<()> {
        let patience = self.party.patience(self.treatments.len());
        loop {
            let live = sink.tally().live(self.counted.clone());
            if live == self.counted.len() {
                return Ok(());
            }
            stage.relay.check()?;
            stage.source.check()?;
            if started.elapsed() > patience {
                bail!(
                    "{live} of {} outputs have video after {patience:?}; {}; the relay's log ends with:\n{}",
                    self.counted.len(),
                    complaints(sink),
                    stage.relay.log_end()
                );
            }
            thread::sleep(POLL);
        }
    }

    fn window(&self, stage: &mut Stage, sink: &Sink, live_after: Duration) -> Result<Figures> {
        let numbers = |ahead| Track::ALL.map(|track| stage.source.next(track) + ahead);
        let all = 0..self.treatments.len();
        // Of tags that are still to come, so that none of them has been received.
        sink.tally().open_window(numbers(AHEAD));
        let (start, stood) = (Instant::now(), stage.source.stood());
        let (payload, cpu) = (sink.tally().payload(all.clone()), stage.relay.cpu()?);
        let (sink_cpu, source_cpu) = (own_cpu(sink::THREAD)?, own_cpu(source::THREAD)?);
        thread::sleep(self.window);
        let elapsed = start.elapsed().as_secs_f64();
        let payload = (sink.tally().payload(all) - payload) as f64;
        let cpu = stage.relay.cpu()?.since(&cpu).as_secs_f64();
        let sink_cpu = (own_cpu(sink::THREAD)? - sink_cpu).as_secs_f64();
        let source_cpu = (own_cpu(source::THREAD)? - source_cpu).as_secs_f64();
        let rss_kib = stage.relay.resident_kib()?;
        sink.tally().close_window(numbers(AHEAD));
        let stood = stage.source.stood() - stood;
        let grace = Instant::now() + GRACE;
        while !sink.tally().is_complete(self.counted.clone()) && Instant::now() < grace {
            thread::sleep(POLL);
        }
        stage.relay.check()?;
        stage.source.check()?;
        if stage.source.connections() > 1 {
            bail!("the relay has come {} times for its source", stage.source.connections());
        }
        let skipped = stage.admin.map(skipped).transpose()?;
        let counted = sink.tally().count(self.counted.clone());
        let accepted = sink.tally().accepted;
        let delay = |track: Track| {
            let ms = |quantile| counted.delays[track as usize].quantile(quantile).map_or(f64::NAN, |us| us / 1000.0);
            Delay { p50: ms(0.5), p99: ms(0.99) }
        };
        Ok(Figures {
            cpu_per_gb: cpu / (payload / 1e9),
            cores: cpu / elapsed,
            rss_mb: rss_kib as f64 * 1024.0 / 1e6,
            video: delay(Track::Video),
            audio: delay(Track::Audio),
            lost: counted.lost as f64,
            again: counted.again as f64,
            reconnects: accepted as f64 - self.treatments.len() as f64,
            live_after: live_after.as_secs_f64(),
            sink_cores: sink_cpu / elapsed,
            source_cores: source_cpu / elapsed,
            stood: stood.as_secs_f64(),
            skipped,
        })
    }
}

/// What relayd counts as left out, of all outputs together.
fn skipped(admin: std::net::SocketAddr) -> Result<f64> {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(admin).context("relayd's HTTP side")?;
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let samples: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("relayd_output_skipped_tags_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    if samples.is_empty() {
        bail!("relayd's metrics do not tell of skipped tags:\n{}", text.lines().next().unwrap_or_default());
    }
    Ok(samples.iter().sum())
}

fn complaints(sink: &Sink) -> String {
    let tally = sink.tally();
    let newest = tally.complaints.last().map_or("none", String::as_str);
    format!(
        "the sink: {} accepted, {} closed, {} complaints, the newest: {newest}",
        tally.accepted,
        tally.closed,
        tally.complaints.len()
    )
}

fn server_tls() -> Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../../../../fixtures/tls/localhost.pem"))?;
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../../../fixtures/tls/localhost.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

/// How many tags ahead of the source a window's borders lie.
const AHEAD: u64 = 4;
/// Between the last output's first video and the window.
const SETTLE: Duration = Duration::from_secs(3);
/// For the window's last tags to arrive.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
