//! The names of peers to addresses, for the whole process.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::sync::watch;

/// Asks the system for the addresses of names.
///
/// The system's call cannot be given up: one that meets name servers that do not answer holds its thread for half a minute,
/// long after whoever waited for it has gone. So the calls have threads of their own, a bounded number, and who asks
/// for a name that is being asked for already shares the answer.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

/// Why a name has no address.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct LookupError(Arc<io::Error>);

struct Inner {
    lookup: Box<Lookup>,
    /// A name whose call takes as long is slow.
    slow_after: Duration,
    calls: Mutex<Calls>,
}

type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;
type Answer = Result<Vec<SocketAddr>, LookupError>;

#[derive(Default)]
struct Calls {
    /// Who waits for each name.
    names: HashMap<String, watch::Sender<Option<Answer>>>,
    /// The names that nobody asks for yet.
    queue: VecDeque<String>,
    threads: usize,
    /// The names whose last call was slow.
    slow: HashSet<String>,
    /// Calls for such names.
    slow_calls: usize,
}

impl Resolver {
    /// Asks with getaddrinfo.
    pub fn system() -> Self {
        Self::new(SLOW, |host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// Asks with a function that returns when it has an answer. A name whose call takes `slow_after` is slow.
    pub(crate) fn new(
        slow_after: Duration,
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { lookup: Box::new(lookup), slow_after, calls: Mutex::default() }))
    }

    /// The addresses of a host. How long to wait for them is the caller's to say.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut waiter = self.0.ask(host)?;
        let answer = waiter.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        let no_thread = || Err(io::Error::other("there is no thread to ask the name servers").into());
        let mut addresses = answer.unwrap_or_else(no_thread)?;
        addresses.iter_mut().for_each(|address| address.set_port(port));
        Ok(addresses)
    }
}

impl Inner {
    /// Puts a name in the queue, unless it is there or being asked for.
    fn ask(self: &Arc<Self>, name: &str) -> Result<watch::Receiver<Option<Answer>>, LookupError> {
        let mut calls = self.calls();
        if let Some(waiters) = calls.names.get(name) {
            return Ok(waiters.subscribe());
        }
        let (waiters, waiter) = watch::channel(None);
        calls.names.insert(name.to_owned(), waiters);
        calls.queue.push_back(name.to_owned());
        if calls.threads == CALLS {
            return Ok(waiter);
        }
        calls.threads += 1;
        drop(calls);
        let inner = Arc::clone(self);
        let started = thread::Builder::new().name("names".to_owned()).spawn(move || inner.work());
        if let Err(error) = started {
            let mut calls = self.calls();
            calls.threads -= 1;
            // Another thread may have taken it.
            if let Some(place) = calls.queue.iter().position(|queued| queued == name) {
                calls.queue.remove(place);
                calls.names.remove(name);
                return Err(error.into());
            }
        }
        Ok(waiter)
    }

    /// Asks for one name after the other, until there is none that may be asked for.
    fn work(&self) {
        while let Some((name, was_slow)) = self.next() {
            let began = Instant::now();
            // A panic must not cost the others a call.
            let looked_up = catch_unwind(AssertUnwindSafe(|| (self.lookup)(&name)));
            let answer = looked_up.unwrap_or_else(|_| Err(io::Error::other("asking for the name has panicked")));
            let is_slow = began.elapsed() >= self.slow_after;
            self.answered(&name, was_slow, is_slow, answer.map_err(LookupError::from));
        }
    }

    fn next(&self) -> Option<(String, bool)> {
        let mut calls = self.calls();
        let Calls { names, queue, slow, slow_calls, threads } = &mut *calls;
        queue.retain(|name| {
            let awaited = names.get(name).is_some_and(|waiters| waiters.receiver_count() > 0);
            if !awaited {
                names.remove(name);
            }
            awaited
        });
        let may_be_asked = |name: &String| *slow_calls < SLOW_CALLS || !slow.contains(name);
        let Some(name) = queue.iter().position(may_be_asked).and_then(|place| queue.remove(place)) else {
            *threads -= 1;
            return None;
        };
        let was_slow = slow.contains(&name);
        *slow_calls += usize::from(was_slow);
        Some((name, was_slow))
    }

    fn answered(&self, name: &str, was_slow: bool, is_slow: bool, answer: Answer) {
        let mut calls = self.calls();
        calls.slow_calls -= usize::from(was_slow);
        if is_slow {
            // Sources choose where they redirect to: what is remembered is bounded. Who is forgotten shows itself again.
            if calls.slow.len() == SLOW_NAMES {
                calls.slow.clear();
            }
            calls.slow.insert(name.to_owned());
        } else {
            calls.slow.remove(name);
        }
        if let Some(waiters) = calls.names.remove(name) {
            waiters.send_replace(Some(answer));
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<io::Error> for LookupError {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Calls at a time, each on a thread of its own.
const CALLS: usize = 16;
/// A call that takes as long has met a name server that does not answer: glibc gives the first one five seconds by default.
const SLOW: Duration = Duration::from_secs(2);
/// Of these, for names whose last call was slow: the others must not wait behind them again and again.
const SLOW_CALLS: usize = CALLS / 2;
/// Such names that are remembered.
const SLOW_NAMES: usize = 1_024;

#[cfg(test)]
mod tests;
