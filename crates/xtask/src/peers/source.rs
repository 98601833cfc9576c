//! The live source: sends the stream in real time to one relay, over HTTP-FLV or by publishing over RTMP.

use std::{
    io::{self, Read, Write},
    iter::Peekable,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use flv::{Kind, mux};
use rtmp::{
    publish::{Publish, PublishConfig, PublishEvent},
    url::Target,
    wire::{self, MediaWriter, WireForm},
};
use rustix::net::{RecvFlags, recv, sockopt::set_socket_send_buffer_size};

use super::{
    clock::Clock,
    stream::{Due, Rate, Stream, Track},
};

/// A source with a thread of its own. Stops when dropped; whoever reads from it is to be ended before.
#[derive(Debug)]
pub(crate) struct Source {
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// The next number of each track.
    next: [AtomicU64; 2],
    stood_ms: AtomicU64,
    connections: AtomicU64,
    ended: Mutex<Option<String>>,
}

impl Source {
    /// Serves HTTP-FLV to one reader at a time. The stream begins when the first one comes; one that comes later finds
    /// it where it is, at the next keyframe.
    pub(crate) fn http(rate: Rate, clock: Clock) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let mut source = Self::spawn(rate, clock, move |playback| serve(&listener, playback))?;
        source.address = Some(address);
        Ok(source)
    }

    /// Publishes to an RTMP server.
    pub(crate) fn publish(rate: Rate, clock: Clock, url: &str) -> Result<Self> {
        let target = Target::parse(url).with_context(|| format!("{url} is no RTMP URL"))?;
        Self::spawn(rate, clock, move |playback| {
            let (mut connection, stream_id) = Connection::open(target)?;
            let mut writer = MediaWriter::new(stream_id, 0);
            playback.play(|kind, timestamp, body| connection.send(&mut writer, kind, timestamp, body))?;
            Ok(())
        })
    }

    fn spawn(
        rate: Rate,
        clock: Clock,
        run: impl FnOnce(&mut Playback<Box<dyn Iterator<Item = Due> + Send>>) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let stream = Stream::new(rate)?;
        let schedule: Box<dyn Iterator<Item = Due> + Send> = Box::new(stream.schedule());
        let mut playback =
            Playback { stream, schedule: schedule.peekable(), clock, start: None, shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            let ended = run(&mut playback);
            let ended = ended.err().map_or_else(|| "it was told to".to_owned(), |error| format!("{error:#}"));
            *playback.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        })?;
        Ok(Self { address: None, shared, thread: Some(thread) })
    }

    /// Where HTTP-FLV is served.
    pub(crate) fn url(&self) -> Result<String> {
        Ok(format!("http://{}/live.flv", self.address.context("this source publishes")?))
    }

    /// The number that the next tag of a track will have.
    pub(crate) fn next(&self, track: Track) -> u64 {
        self.shared.next[track as usize].load(Relaxed)
    }

    /// How long the stream has stood still because the relay did not take it.
    pub(crate) fn stood(&self) -> Duration {
        Duration::from_millis(self.shared.stood_ms.load(Relaxed))
    }

    /// How many readers have come.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Relaxed)
    }

    /// Fails if the source has ended.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => bail!("the source has ended: {reason}"),
            None => Ok(()),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it died of has been told by `check`.
            let _ = thread.join();
        }
    }
}

fn serve<I: Iterator<Item = Due>>(listener: &TcpListener, playback: &mut Playback<I>) -> Result<()> {
    let mut tag = BytesMut::new();
    while !playback.is_stopped() {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(ACCEPT_INTERVAL);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Ok(()) = greet(&mut socket) else { continue };
        playback.shared.connections.fetch_add(1, Relaxed);
        // A reader that leaves may come back.
        let _ = playback.play(|kind, timestamp, body| {
            tag.clear();
            mux::write_tag(&mut tag, kind, timestamp, body);
            socket.write_all(&tag)
        });
    }
    Ok(())
}

/// Reads the request's head and answers it, up to the file header.
fn greet(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(GREETING_LIMIT))?;
    tune(socket)?;
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n".to_vec();
    answer.extend_from_slice(&mux::file_header(true, true));
    socket.write_all(&answer)
}

/// Tags leave at once, and a relay that does not read is felt soon.
fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    Ok(set_socket_send_buffer_size(socket, SEND_BUFFER)?)
}

/// The stream, and how far it is.
struct Playback<I: Iterator<Item = Due>> {
    stream: Stream,
    schedule: Peekable<I>,
    clock: Clock,
    start: Option<Instant>,
    shared: Arc<Shared>,
}

impl<I: Iterator<Item = Due>> Playback<I> {
    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Relaxed)
    }

    /// Sends headers, and tags from the next keyframe on, until it is told to stop or `send` fails.
    fn play(&mut self, mut send: impl FnMut(Kind, u32, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut start = match self.start {
            Some(start) => {
                let position = start.elapsed();
                while self.schedule.next_if(|due| !due.is_key || due.at < position).is_some() {}
                start
            }
            None => *self.start.insert(Instant::now()),
        };
        let timestamp = self.schedule.peek().map_or(0, |due| due.at.as_millis() as u32);
        for header in self.stream.headers() {
            // FFmpeg takes metadata that is stamped otherwise for a track of subtitles.
            let timestamp = if header.kind == Kind::Script { 0 } else { timestamp };
            send(header.kind, timestamp, &header.body)?;
        }
        while !self.is_stopped()
            && let Some(due) = self.schedule.next()
        {
            let at = start + due.at;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let behind = at.elapsed();
            if behind > MAX_BEHIND {
                // What a relay did not take in time is not thrown after it: the whole stream is that much later.
                start += behind;
                self.start = Some(start);
                self.shared.stood_ms.fetch_add(behind.as_millis() as u64, Relaxed);
            }
            let (kind, timestamp, body) = self.stream.tag(&due, self.clock.micros());
            send(kind, timestamp, body)?;
            self.shared.next[due.track as usize].store(due.number + 1, Relaxed);
        }
        Ok(())
    }
}

/// A publisher's connection.
struct Connection {
    socket: TcpStream,
    session: Publish,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(target: Target) -> Result<(Self, u32)> {
        let socket = TcpStream::connect((target.host.as_str(), target.port))?;
        socket.set_read_timeout(Some(GREETING_LIMIT))?;
        tune(&socket)?;
        let mut connection =
            Self { socket, session: Publish::new(PublishConfig::new(target)), buffer: vec![0; 16 << 10] };
        loop {
            connection.flush()?;
            while let Some(event) = connection.session.next_event() {
                if let PublishEvent::Started { stream_id } = event {
                    return Ok((connection, stream_id));
                }
            }
            let read = connection.socket.read(&mut connection.buffer).context("the server's answer")?;
            if read == 0 {
                bail!("the server has closed the connection");
            }
            connection.session.handle_input(&connection.buffer[..read])?;
        }
    }

    fn send(&mut self, writer: &mut MediaWriter, kind: Kind, timestamp: u32, body: &[u8]) -> io::Result<()> {
        self.answer()?;
        let dts = i64::from(timestamp);
        let form = match kind {
            Kind::Video => WireForm::new(wire::Track::Video, dts, None, &[body]),
            Kind::Audio => WireForm::new(wire::Track::Audio, dts, None, &[body]),
            // The name that servers expect before the data itself.
            Kind::Script => WireForm::new(wire::Track::Data, dts, None, &[b"\x02\0\x0D@setDataFrame", body]),
        };
        let mut pieces: Vec<Bytes> = Vec::new();
        writer.write(&form, &mut pieces);
        self.socket.write_all(&pieces.concat())
    }

    /// Pings and acknowledgements that have come are taken, and the former answered.
    fn answer(&mut self) -> io::Result<()> {
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, read)) => self.session.handle_input(&self.buffer[..read]).map_err(io::Error::other)?,
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.session.take_output() {
            self.socket.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// The source's thread, as the system names it.
pub(crate) const THREAD: &str = "source";

const ACCEPT_INTERVAL: Duration = Duration::from_millis(5);
const GREETING_LIMIT: Duration = Duration::from_secs(10);
const MAX_BEHIND: Duration = Duration::from_millis(500);
const SEND_BUFFER: usize = 256 << 10;
