//! The least that a relay with a system call per output and write can do: a loop that writes what it reads to every
//! socket.
//!
//! It fails over to nothing, repairs nothing, and stands still while one socket is full. What it costs is the kernel's. A
//! relay that costs less makes fewer calls.

use std::{
    ffi::OsString,
    io::{ErrorKind, IoSlice, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use flv::{Class, DemuxLimits, Demuxer, Tag};
use rtmp::{
    publish::{Publish, PublishConfig, PublishEvent},
    url::Target,
    wire::{MediaWriter, Run, Track, WireForm},
};

/// The task by which the rig starts it: the flush interval in ms or 0 for each frame, the source, the targets.
pub(crate) const FLOOR: &str = "peers-floor";

/// Relays until the source ends.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let args: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let [interval, source, targets @ ..] = &args[..] else { bail!("{FLOOR}: INTERVAL SOURCE TARGET…") };
    let interval = Some(interval.parse()?).filter(|&ms| ms > 0).map(Duration::from_millis);
    let outputs = targets.iter().map(|target| Output::open(target)).collect::<Result<_>>()?;
    Floor { outputs, forms: Vec::new(), last: [None; 3], has_begun: false }.relay(source, interval)
}

struct Floor {
    outputs: Vec<Output>,
    /// What has not been written.
    forms: Vec<WireForm>,
    /// The DTS last seen on each track.
    last: [Option<i64>; 3],
    has_begun: bool,
}

impl Floor {
    fn relay(&mut self, source: &str, interval: Option<Duration>) -> Result<()> {
        let mut socket = request(source)?;
        let mut demuxer = Demuxer::new(DemuxLimits::default());
        let mut buffer = vec![0; 64 << 10];
        let mut next = interval.map(|interval| Instant::now() + interval);
        loop {
            if let (Some(at), Some(interval)) = (next, interval) {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.write()?;
                    next = Some(at + interval);
                    continue;
                }
                socket.set_read_timeout(Some(left))?;
            }
            match socket.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(len) => demuxer.push(Bytes::copy_from_slice(&buffer[..len])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(tag) = demuxer.next_tag()? {
                if self.take(&tag) && interval.is_none() {
                    self.write()?;
                }
            }
        }
    }

    /// True behind a video frame. Headers are as good as frames here.
    fn take(&mut self, tag: &Tag) -> bool {
        let class = tag.class();
        let track = match class {
            Class::Metadata | Class::Script | Class::Empty => return false,
            Class::Audio | Class::AudioHeader => Track::Audio,
            _ => Track::Video,
        };
        self.has_begun |= class == Class::Key;
        let is_header = matches!(class, Class::AudioHeader | Class::VideoHeader);
        if !self.has_begun && !is_header {
            return false;
        }
        let (dts, last) = (i64::from(tag.timestamp), &mut self.last[usize::from(track.csid() - 8)]);
        self.forms.push(WireForm::new(track, dts, *last, &[&tag.body]));
        *last = Some(dts);
        track == Track::Video && !is_header
    }

    fn write(&mut self) -> Result<()> {
        let run = Run::new(&self.forms);
        for output in &mut self.outputs {
            match run.as_ref().filter(|run| output.writer.continue_with(run)) {
                Some(run) => write_all(&mut output.socket, run.slices())?,
                None => {
                    let mut slices = Vec::new();
                    self.forms.iter().for_each(|form| output.writer.write(form, &mut slices));
                    write_all(&mut output.socket, &slices)?;
                }
            }
        }
        self.forms.clear();
        Ok(())
    }
}

struct Output {
    socket: TcpStream,
    writer: MediaWriter,
}

impl Output {
    fn open(target: &str) -> Result<Self> {
        let target = Target::parse(target)?;
        let mut socket = TcpStream::connect((&*target.host, target.port))?;
        socket.set_nodelay(true)?;
        let mut publish = Publish::new(PublishConfig::new(target));
        let mut buffer = [0; 4 << 10];
        loop {
            while let Some(output) = publish.take_output() {
                socket.write_all(&output)?;
            }
            while let Some(event) = publish.next_event() {
                if let PublishEvent::Started { stream_id } = event {
                    return Ok(Self { socket, writer: MediaWriter::new(stream_id, 0) });
                }
            }
            let len = socket.read(&mut buffer)?;
            if len == 0 {
                bail!("the sink closed");
            }
            publish.handle_input(&buffer[..len])?;
        }
    }
}

fn write_all(socket: &mut TcpStream, bytes: &[Bytes]) -> Result<()> {
    let mut slices: Vec<_> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let written = socket.write_vectored(slices)?;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

/// Behind the response's head.
fn request(source: &str) -> Result<TcpStream> {
    let (host, path) = source.trim_start_matches("http://").split_once('/').context("not a URL")?;
    let mut socket = TcpStream::connect(host)?;
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(socket)
}
