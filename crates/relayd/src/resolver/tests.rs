use std::sync::{Condvar, mpsc};

use futures::{FutureExt, future::join_all};
use tokio::time::timeout;

use super::*;

/// Name servers that do not answer for names that begin with "dead", until they are released.
struct Servers {
    resolver: Resolver,
    asked: mpsc::Receiver<String>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl Servers {
    /// Who does not answer at once is slow.
    fn new() -> Self {
        Self::slow_after(Duration::ZERO)
    }

    fn slow_after(slow_after: Duration) -> Self {
        let (asking, asked) = mpsc::channel();
        let released = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&released);
        let resolver = Resolver::new(slow_after, move |host| {
            let _ = asking.send(host.to_owned());
            if host.starts_with("dead") {
                let (open, opened) = &*gate;
                drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
                return Err(io::Error::other("no answer"));
            }
            assert!(host != "bug");
            Ok(vec![address(0)])
        });
        Self { resolver, asked, released }
    }

    fn release(&self, open: bool) {
        *self.released.0.lock().unwrap() = open;
        self.released.1.notify_all();
    }

    fn next_asked(&self, count: usize) -> Vec<String> {
        let mut names: Vec<_> = (0..count).map(|_| self.asked.recv_timeout(testkit::DEADLINE).unwrap()).collect();
        names.sort();
        names
    }

    async fn has_answer(&self, name: &str) {
        let found = timeout(testkit::DEADLINE, self.resolver.resolve(name, 1_935)).await;
        assert_eq!(found.expect("others are in its way").unwrap(), [address(1_935)]);
    }

    /// Asks for all of these, and gives up once `calls` calls have begun.
    fn nobody_waits_for(&self, names: &[String], calls: usize) -> Vec<String> {
        let mut all = join_all(names.iter().map(|name| self.resolver.resolve(name, 1)));
        assert!((&mut all).now_or_never().is_none());
        self.next_asked(calls)
    }

    async fn is_at_rest(&self) {
        testkit::eventually("no call is left", testkit::DEADLINE, async || {
            let calls = self.resolver.0.calls();
            let left = (calls.threads, calls.slow_calls, calls.queue.len(), calls.names.len());
            if left == (0, 0, 0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.release(true);
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn dead(range: std::ops::Range<usize>) -> Vec<String> {
    let mut names: Vec<_> = range.map(|n| format!("dead-{n}")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_address_is_nobodys_question() {
    let servers = Servers::new();
    for host in ["192.0.2.1", "2001:db8::1"] {
        let found = servers.resolver.resolve(host, 80).await.unwrap();
        assert_eq!(found, [SocketAddr::new(host.parse().unwrap(), 80)]);
    }
    assert!(servers.asked.try_recv().is_err());
}

#[tokio::test]
async fn who_asks_for_one_name_shares_one_call() {
    let servers = Servers::new();
    let waiters = join_all((0..5).map(|_| servers.resolver.resolve("dead", 80)));
    let released = async {
        assert_eq!(servers.next_asked(1), ["dead"]);
        servers.release(true);
    };
    let (answers, ()) = tokio::join!(waiters, released);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().to_string() == "no answer"), "{answers:?}");
    assert!(servers.asked.try_recv().is_err(), "it was asked for twice");
    // What has been answered is asked for anew.
    servers.has_answer("live").await;
    servers.has_answer("live").await;
    assert_eq!(servers.next_asked(2), ["live", "live"]);
}

#[tokio::test]
async fn calls_are_bounded_until_they_return_and_names_that_nobody_waits_for_are_not_asked_for() {
    let servers = Servers::new();
    assert_eq!(servers.nobody_waits_for(&dead(0..CALLS), CALLS), dead(0..CALLS));
    // Everybody has gone, and no call has returned.
    servers.nobody_waits_for(&dead(100..200), 0);
    let live = servers.has_answer("live");
    let released = async {
        tokio::task::yield_now().await;
        assert!(servers.asked.try_recv().is_err(), "one call more than there may be");
        assert_eq!(servers.resolver.0.calls().threads, CALLS);
        servers.release(true);
    };
    tokio::join!(live, released);
    servers.is_at_rest().await;
    assert_eq!(servers.asked.try_iter().collect::<Vec<_>>(), ["live"]);
}

#[tokio::test]
async fn names_that_were_slow_leave_calls_to_the_others() {
    let servers = Servers::new();
    let names = dead(0..CALLS);
    let waiters = || join_all(names.iter().map(|name| servers.resolver.resolve(name, 1)));
    let released = async {
        servers.next_asked(CALLS);
        servers.release(true);
    };
    // Whether somebody still waits when a slow call returns makes no difference.
    tokio::join!(waiters(), released);
    servers.is_at_rest().await;

    servers.release(false);
    let others = async {
        servers.next_asked(SLOW_CALLS);
        servers.has_answer("live").await;
        assert_eq!(servers.next_asked(1), ["live"]);
        servers.release(true);
    };
    let (answers, ()) = tokio::join!(waiters(), others);
    assert_eq!(answers.len(), CALLS);
    assert_eq!(servers.next_asked(CALLS - SLOW_CALLS).len(), CALLS - SLOW_CALLS);
    servers.is_at_rest().await;
}

#[tokio::test]
async fn a_name_is_slow_until_it_is_answered_in_time() {
    let servers = Servers::slow_after(Duration::MAX);
    servers.resolver.0.calls().slow.insert("live".to_owned());
    servers.has_answer("live").await;
    servers.is_at_rest().await;
    assert!(servers.resolver.0.calls().slow.is_empty());
}

#[tokio::test]
async fn slow_names_of_the_past_do_not_hide_a_later_one() {
    let servers = Servers::new();
    servers.resolver.0.calls().slow.extend(dead(0..SLOW_NAMES));
    servers.has_answer("live").await;
    servers.is_at_rest().await;
    assert_eq!(servers.resolver.0.calls().slow, HashSet::from(["live".to_owned()]));
}

#[tokio::test]
async fn a_call_that_panics_is_an_error_and_costs_the_others_nothing() {
    let servers = Servers::new();
    for _ in 0..=CALLS {
        let error = servers.resolver.resolve("bug", 1).await.unwrap_err();
        assert_eq!(error.to_string(), "asking for the name has panicked");
    }
    servers.has_answer("live").await;
    servers.is_at_rest().await;
}

#[tokio::test]
async fn a_host_is_asked_for_once_whatever_its_ports() {
    let servers = Servers::new();
    let both = join_all([80, 1_935].map(|port| servers.resolver.resolve("dead", port)));
    let released = async {
        assert_eq!(servers.next_asked(1), ["dead"]);
        servers.release(true);
    };
    tokio::join!(both, released);
    assert!(servers.asked.try_recv().is_err(), "it was asked for twice");
    for port in [80, 1_935] {
        assert_eq!(servers.resolver.resolve("live", port).await.unwrap(), [address(port)]);
    }
}
