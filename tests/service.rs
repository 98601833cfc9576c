//! What a service manager hears on its socket, and when it hears nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use testkit::{Encode, Feed, Ingest, NotifySocket, Origin, Setup, Signal};

use crate::stage::{output, pull, relay, setup};

fn under(manager: &NotifySocket, config: &str) -> Setup {
    setup(config).variable("NOTIFY_SOCKET", manager.address())
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}

fn says(message: &str, assignment: &str) -> bool {
    message.lines().any(|line| line == assignment)
}

#[tokio::test]
async fn start_reload_and_end_are_told_in_their_order() {
    for manager in [NotifySocket::with_path(), NotifySocket::without_path()] {
        let mut relayd = under(&manager, &relay("r", &[])).start().await;
        let message = manager.next().await;
        assert!(says(&message, "READY=1"), "{message}");

        let before = monotonic();
        relayd.signal(Signal::HUP);
        let message = manager.next().await;
        assert!(says(&message, "RELOADING=1"), "{message}");
        let at = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse().ok());
        assert!(at.is_some_and(|at: u64| (before..=monotonic()).contains(&at)), "{before}: {message}");
        let message = manager.next().await;
        assert!(says(&message, "READY=1"), "{message}");

        // A file that is wrong changes nothing, and the reload is over all the same.
        relayd.rewrite(|config| format!("{config}\nnonsense"));
        relayd.signal(Signal::HUP);
        manager.until("RELOADING=1").await;
        manager.until("READY=1").await;

        relayd.signal(Signal::TERM);
        let message = manager.next().await;
        assert!(says(&message, "STOPPING=1"), "{message}");
        assert_eq!(relayd.wait_exit(Duration::from_secs(5)).await.code(), Some(0), "{}", relayd.stderr());
        assert_eq!(manager.waiting(), [""; 0]);
    }
}

#[tokio::test]
async fn what_cannot_listen_is_never_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = NotifySocket::with_path();
    let config = format!("[ingest]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let finished = under(&manager, &config).run().await;
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert_eq!(manager.waiting(), [""; 0]);
}

/// A manager that has gone away, or never was, is no reason not to relay.
#[tokio::test]
async fn a_socket_that_is_not_there_stops_nothing() {
    let mut relayd = setup(&relay("r", &[])).variable("NOTIFY_SOCKET", "/nonexistent/notify").start().await;
    relayd.logs("the service manager cannot be told").await;
    relayd.signal(Signal::TERM);
    assert_eq!(relayd.wait_exit(Duration::from_secs(5)).await.code(), Some(0), "{}", relayd.stderr());
}

#[tokio::test]
async fn the_watchdog_is_fed_until_a_relay_is_stuck() {
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let healthy = relay("healthy", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")]);
    let manager = NotifySocket::with_path();
    let setup = under(&manager, &format!("{}{healthy}", relay("stuck", &[])));
    let setup = setup.variable("WATCHDOG_USEC", "300000").variable("RELAYD_TEST_HOOKS", "1");
    let mut relayd = setup.start().await;
    relayd.logs("RELAYD_TEST_HOOKS=1: whoever may use the API can break every relay").await;
    for _ in 0..5 {
        manager.until("WATCHDOG=1").await;
    }

    assert_eq!(relayd.send("POST", "/api/v1/relays/stuck/wedge", b"").await.status, 204);
    manager.until("STATUS=relay stuck is stuck").await;
    let seen = ingest.records()[0].frames().count();
    for _ in 0..5 {
        let message = manager.next().await;
        assert!(says(&message, "STATUS=relay stuck is stuck"), "{message}");
    }
    // The others go on until the manager acts.
    ingest.published(seen + 40).await;
    relayd.signal(Signal::TERM);
    manager.until("STOPPING=1").await;
    assert_eq!(relayd.wait_exit(Duration::from_secs(6)).await.code(), Some(0), "{}", relayd.stderr());
}

#[tokio::test]
async fn without_its_variable_a_relay_cannot_be_broken() {
    for value in ["", "0"] {
        let relayd = setup(&relay("r", &[])).variable("RELAYD_TEST_HOOKS", value).start().await;
        assert_eq!(relayd.send("POST", "/api/v1/relays/r/wedge", b"").await.status, 404);
        assert!(!relayd.stderr().contains("RELAYD_TEST_HOOKS"), "{}", relayd.stderr());
    }
}
