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
    /// `admin_per_address`: closed at once.
    PerAddress,
    /// `admin_head` or `admin_headers`: 431.
    Head,
    /// `admin_head_timeout`, without a whole head: closed. One who was answered before and sends nothing is no refusal.
    HeadTimeout,
    /// `admin_body`: 413.
    Body,
    /// `admin_body_timeout`: 408.
    BodyTimeout,
    /// `admin_write_timeout`: closed.
    WriteTimeout,
    /// `admin_drain`: closed.
    Drain,
    /// `viewers`: 503.
    Viewers,
    /// `event_listeners`: 503.
    EventListeners,
}

impl Limit {
    const ALL: [Self; 10] = [
        Self::Connections,
        Self::PerAddress,
        Self::Head,
        Self::HeadTimeout,
        Self::Body,
        Self::BodyTimeout,
        Self::WriteTimeout,
        Self::Drain,
        Self::Viewers,
        Self::EventListeners,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "admin_connections",
            Self::PerAddress => "admin_per_address",
            Self::Head => "admin_head",
            Self::HeadTimeout => "admin_head_timeout",
            Self::Body => "admin_body",
            Self::BodyTimeout => "admin_body_timeout",
            Self::WriteTimeout => "admin_write_timeout",
            Self::Drain => "admin_drain",
            Self::Viewers => "viewers",
            Self::EventListeners => "event_listeners",
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
            warn!(reason = limit.name(), %detail, suppressed, "the HTTP side refused a client, or let it go");
        }
    }

    /// Each limit with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit.name(), self.counts[limit as usize].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_place_and_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(words.len(), Limit::ALL.len());
        assert!(Limit::ALL.iter().enumerate().all(|(at, limit)| *limit as usize == at));
    }
}
