//! What the limits of the HTTP side have cost its clients.

use std::{
    fmt::Display,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tracing::warn;

use crate::throttle::Throttle;

/// A limit of the HTTP side; its word is the limit's key in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `admin_connections`: closed at once.
    Connections,
    /// `admin_head` or `admin_headers`: 431.
    Head,
    /// `admin_head_timeout`: closed.
    HeadTimeout,
    /// `admin_body`: 413.
    Body,
    /// `viewers`: 503.
    Viewers,
}

impl Limit {
    const ALL: [Self; 5] = [Self::Connections, Self::Head, Self::HeadTimeout, Self::Body, Self::Viewers];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "admin_connections",
            Self::Head => "admin_head",
            Self::HeadTimeout => "admin_head_timeout",
            Self::Body => "admin_body",
            Self::Viewers => "viewers",
        }
    }
}

/// Counts them, and logs each kind once per second at most.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; Limit::ALL.len()],
    throttle: Mutex<Throttle>,
}

impl Refusals {
    pub(super) fn add(&self, limit: Limit, detail: &dyn Display) {
        self.counts[limit as usize].fetch_add(1, Relaxed);
        let admitted = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.admit(("refused", limit.name()), Instant::now())
        };
        if let Some(suppressed) = admitted {
            warn!(reason = limit.name(), %detail, suppressed, "the HTTP side refused a client");
        }
    }

    /// Each limit with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit.name(), self.counts[limit as usize].load(Relaxed)))
    }
}
