//! The RTMP server that every output publishes to: one thread, one buffer, no copies.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    net::{
        listen,
        sockopt::{set_socket_linger, set_socket_recv_buffer_size},
    },
};
use rustls::ServerConfig;

use super::{
    chunks::Message,
    clock::Clock,
    connection::{Connection, Outcome},
    tally::Tally,
};

/// How an output's connections are treated once they are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Read,
    /// Nothing is read any more.
    Ignore,
    /// So many bytes are read in a second.
    Throttle(u64),
    /// Reset after this time.
    Reset(Duration),
}

/// A running sink. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// For as many outputs as there are treatments; the stream key of each is its place among them.
    pub(crate) fn start(clock: Clock, treatments: Vec<Treatment>, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // Again, with room for a thousand outputs that connect at once.
        listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tally = Arc::new(Mutex::new(Tally::new(treatments.len())));
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server {
            listener,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            tls,
            treatments,
            clock,
            tally: Arc::clone(&tally),
            connections: HashMap::new(),
            next_token: LISTENER + 1,
            timed: Vec::new(),
            buffer: vec![0; BUFFER],
            plain: vec![0; BUFFER],
        };
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            if let Err(error) = server.run(&stopping) {
                lock(&server.tally).complaints.push(format!("the sink has ended: {error:#}"));
            }
        })?;
        Ok(Self { address, tally, stop, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has counted; it waits for as long as this is held.
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the sink has been printed by then.
            let _ = thread.join();
        }
    }
}

struct Server {
    listener: TcpListener,
    epoll: OwnedFd,
    tls: Option<Arc<ServerConfig>>,
    treatments: Vec<Treatment>,
    clock: Clock,
    tally: Arc<Mutex<Tally>>,
    connections: HashMap<u64, Accepted>,
    next_token: u64,
    /// Connections that are not read whenever they can be.
    timed: Vec<Timed>,
    buffer: Vec<u8>,
    plain: Vec<u8>,
}

struct Accepted {
    connection: Connection,
    /// The output that it belongs to, once it is known.
    output: Option<usize>,
}

struct Timed {
    token: u64,
    treatment: Treatment,
    since: Instant,
    /// Bytes that might have been read since.
    allowed: u64,
}

impl Server {
    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        epoll::add(&self.epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS];
        while !stop.load(Relaxed) {
            let wait = if self.timed.is_empty() { STOP_INTERVAL } else { TIMED_INTERVAL };
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
            let ready = match epoll::wait(&self.epoll, &mut events, Some(&wait)) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => 0,
                Err(error) => return Err(error).context("waiting for events"),
            };
            let tally = Arc::clone(&self.tally);
            let mut tally = lock(&tally);
            for event in &events[..ready] {
                let Event { data, .. } = *event;
                match data.u64() {
                    LISTENER => self.accept(&mut tally)?,
                    token => self.read(token, usize::MAX, &mut tally),
                }
            }
            self.serve_timed(&mut tally);
        }
        Ok(())
    }

    fn accept(&mut self, tally: &mut Tally) -> Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            let token = self.next_token;
            self.next_token += 1;
            match Connection::new(socket, self.tls.as_ref()) {
                Ok(connection) => {
                    epoll::add(&self.epoll, connection.socket(), EventData::new_u64(token), EventFlags::IN)?;
                    self.connections.insert(token, Accepted { connection, output: None });
                }
                Err(error) => tally.complaints.push(format!("{error:#}")),
            }
        }
        Ok(())
    }

    /// Reads a connection once, `limit` bytes at most.
    fn read(&mut self, token: u64, limit: usize, tally: &mut Tally) {
        let Some(accepted) = self.connections.get_mut(&token) else { return };
        let output = accepted.output;
        let clock = self.clock;
        // Asked once: what one read has brought has come at one time.
        let mut micros = None;
        let mut count = |output: usize, message: &Message<'_>| {
            tally.message(output, message, *micros.get_or_insert_with(|| clock.micros()));
        };
        let limit = limit.min(self.buffer.len());
        let mut early = Vec::new();
        let read = accepted.connection.read(&mut self.buffer[..limit], &mut self.plain, &mut |message| match output {
            Some(output) => count(output, &message),
            None => early.push((message.type_id, message.len, message.head.to_vec())),
        });
        match read {
            Ok(Outcome::Going) => {}
            Ok(Outcome::Accepted(key)) => {
                let key = key.split('?').next().unwrap_or_default();
                match key.parse::<usize>().ok().filter(|&output| output < self.treatments.len()) {
                    Some(output) => {
                        accepted.output = Some(output);
                        for (type_id, len, head) in &early {
                            count(output, &Message { type_id: *type_id, len: *len, head });
                        }
                        tally.accepted += 1;
                        self.treat(token, self.treatments[output]);
                    }
                    None => {
                        tally.complaints.push(format!("no output has the key {key:?}"));
                        self.connections.remove(&token);
                    }
                }
            }
            Ok(Outcome::Closed) => {
                tally.closed += 1;
                self.connections.remove(&token);
            }
            Err(error) => {
                tally.closed += 1;
                tally.complaints.push(format!("output {output:?}: {error:#}"));
                self.connections.remove(&token);
            }
        }
    }

    fn treat(&mut self, token: u64, treatment: Treatment) {
        let Some(Accepted { connection, .. }) = self.connections.get(&token) else { return };
        if matches!(treatment, Treatment::Ignore | Treatment::Throttle(_)) {
            // Held back bytes stay in the relay, not in a window that the kernel would open ever wider.
            let _ = set_socket_recv_buffer_size(connection.socket(), SMALL_BUFFER);
            let _ = epoll::delete(&self.epoll, connection.socket());
        }
        if treatment != Treatment::Read {
            self.timed.push(Timed { token, treatment, since: Instant::now(), allowed: 0 });
        }
    }

    fn serve_timed(&mut self, tally: &mut Tally) {
        let mut timed = std::mem::take(&mut self.timed);
        timed.retain_mut(|timed| {
            if let Treatment::Throttle(per_second) = timed.treatment {
                let allowed = (timed.since.elapsed().as_secs_f64() * per_second as f64) as u64;
                // What it did not have in time is not made up for.
                let limit = std::mem::replace(&mut timed.allowed, allowed).abs_diff(allowed);
                if limit > 0 {
                    self.read(timed.token, limit as usize, tally);
                }
            }
            if let Treatment::Reset(after) = timed.treatment
                && timed.since.elapsed() >= after
                && let Some(Accepted { connection, .. }) = self.connections.remove(&timed.token)
            {
                // Closing then discards what is queued and sends a reset.
                let _ = set_socket_linger(connection.socket(), Some(Duration::ZERO));
                tally.closed += 1;
            }
            self.connections.contains_key(&timed.token)
        });
        self.timed.append(&mut timed);
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sink's thread, as the system names it.
pub(crate) const THREAD: &str = "sink";

const LISTENER: u64 = 0;
const BACKLOG: i32 = 4096;
const BUFFER: usize = 256 << 10;
const SMALL_BUFFER: usize = 32 << 10;
const EVENTS: usize = 256;
const STOP_INTERVAL: Duration = Duration::from_millis(50);
const TIMED_INTERVAL: Duration = Duration::from_millis(5);
