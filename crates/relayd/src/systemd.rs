//! The service manager's protocol, sd_notify(3): when it is started, reloads, ends, and whether it is alive.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent.

use std::{
    env, mem,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{http::Relays, relay_task::Vital, throttle::Throttle};

/// The start, or a reload, is complete.
pub fn ready() {
    send("READY=1\nSTATUS=ready");
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration file"));
}

/// The end begins.
pub fn stopping() {
    send("STOPPING=1\nSTATUS=draining: outputs end their sessions");
}

/// Feeds the watchdog for as long as every relay's task gives a sign of life; one that is stuck lets it starve, and the
/// service manager starts the process anew. Returns at once where no watchdog is wanted.
///
/// Waits on: a third of the watchdog's time, the answers of all relays at once for as long at most, cancellation.
pub async fn feed_watchdog(relays: impl Fn() -> Arc<Relays>, cancel: CancellationToken) {
    let variable = |name: &str| env::var(name).ok();
    let Some(limit) = watchdog_limit(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID")) else { return };
    info!(?limit, "watchdog");
    let period = period(limit);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut throttle, mut well) = (Throttle::default(), true);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cancel.cancelled() => return,
        }
        let relays = relays();
        let answers = join_all(relays.iter().map(|(_, relay)| relay.vital(period)));
        let answers = tokio::select! {
            answers = answers => answers,
            () = cancel.cancelled() => return,
        };
        // A task that has ended is started again or was meant to end: only silence is a fault.
        let stuck = relays.iter().zip(answers).find(|(_, vital)| *vital == Vital::Silent);
        match stuck {
            None if mem::replace(&mut well, true) => send("WATCHDOG=1"),
            None => send("WATCHDOG=1\nSTATUS=ready"),
            Some(((relay, _), _)) => {
                well = false;
                if let Some(suppressed) = throttle.admit(("watchdog", "stuck"), Instant::now()) {
                    warn!(relay, suppressed, "the relay's task is stuck: the watchdog is not fed");
                }
                send(&format!("STATUS=relay {relay} is stuck"));
            }
        }
    }
}

/// A relay may take a third to answer, and is asked each third: what it holds up is fed in time.
fn period(limit: Duration) -> Duration {
    (limit / 3).max(SHORTEST)
}

/// sd_watchdog_enabled(3): the time that may pass between two signs of life, if this process is the one meant.
fn watchdog_limit(microseconds: Option<String>, pid: Option<String>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(process::id())) {
        return None;
    }
    let microseconds = microseconds?.parse().ok().filter(|&microseconds| microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

fn send(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let sent = || {
        let address = match path.as_encoded_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not hold up what is relayed.
        socket.set_write_timeout(Some(SEND_LIMIT))?;
        socket.send_to_addr(state.as_bytes(), &address)
    };
    if let Err(error) = sent() {
        warn!(%error, state, "the service manager cannot be told");
    }
}

/// A watchdog that asks for more is not fed in time: the process would be busy with nothing else.
const SHORTEST: Duration = Duration::from_millis(50);
const SEND_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_that_asks_too_often_is_not_answered_each_time() {
        assert_eq!(period(Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(period(Duration::from_micros(1)), SHORTEST);
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let own = process::id().to_string();
        let limit = |microseconds: Option<&str>, pid: Option<&str>| {
            watchdog_limit(microseconds.map(str::to_owned), pid.map(str::to_owned))
        };
        assert_eq!(limit(Some("3000000"), None), Some(Duration::from_secs(3)));
        assert_eq!(limit(Some("3000000"), Some(&own)), Some(Duration::from_secs(3)));
        for (microseconds, pid) in
            [(None, None), (Some("0"), None), (Some("soon"), None), (Some("3000000"), Some("1")), (Some("3"), Some(""))]
        {
            assert_eq!(limit(microseconds, pid), None, "{microseconds:?} {pid:?}");
        }
    }
}
