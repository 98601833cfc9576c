//! What was done to whom and when: the causes that explain a loss.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Whose media an event can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All outputs of a relay: its inputs were disturbed.
    Relay(usize),
    /// One output: its platform was disturbed.
    Output(usize),
    /// All: the daemon itself was.
    Everything,
}

impl Scope {
    /// How long after the end of a disturbance its effects may last.
    pub(super) fn slack(self) -> Duration {
        match self {
            // Backoff, connect, the next keyframe. After the daemon's own end all outputs are live again by then.
            Self::Relay(_) | Self::Everything => Duration::from_secs(5),
            // The same, and what lay in buffers.
            Self::Output(_) => Duration::from_secs(15),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    scope: Scope,
    from: Instant,
    until: Option<Instant>,
}

/// All disturbances so far.
#[derive(Debug, Default)]
pub(crate) struct Windows(Mutex<Vec<Window>>);

impl Windows {
    /// A disturbance begins. It is told before it is done.
    pub(crate) fn open(&self, scope: Scope) -> usize {
        let mut windows = self.lock();
        windows.push(Window { scope, from: Instant::now(), until: None });
        windows.len() - 1
    }

    /// A disturbance is over.
    pub(crate) fn close(&self, window: usize) {
        self.lock()[window].until = Some(Instant::now());
    }

    /// True when what is missing between two moments is explained by disturbances of these scopes, one after the other.
    pub(crate) fn explain(&self, scopes: &[Scope], from: Instant, to: Instant) -> bool {
        let mut covered: Option<Instant> = None;
        // They are in the order of their beginnings.
        for window in self.lock().iter().filter(|window| scopes.contains(&window.scope)) {
            let end = window.until.map_or(to, |until| until + window.scope.slack());
            let reached = covered.unwrap_or(from);
            if window.from <= reached + LEAD && end >= reached {
                covered = Some(end);
            }
        }
        covered.is_some_and(|covered| covered >= to)
    }

    /// True when a disturbance of these scopes falls between two moments, whatever else does.
    pub(crate) fn touch(&self, scopes: &[Scope], from: Instant, to: Instant) -> bool {
        let is_between = |window: &Window| {
            let end = window.until.map_or(to, |until| until + window.scope.slack());
            scopes.contains(&window.scope) && window.from <= to + LEAD && end >= from
        };
        self.lock().iter().any(is_between)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long before a disturbance its losses may begin: what is on the way then is lost with the connection, and without a
/// twin everything since the last keyframe that does not fit may be.
pub(super) const LEAD: Duration = Duration::from_millis(1_500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_explained_by_its_own_disturbances_alone() {
        let windows = Windows::default();
        let before = Instant::now();
        let window = windows.open(Scope::Output(3));
        let during = Instant::now();
        assert!(windows.explain(&[Scope::Output(3)], during, during + Duration::from_secs(100)), "it lasts");
        windows.close(window);
        let late = during + Duration::from_secs(100);
        assert!(windows.explain(&[Scope::Output(3)], before, during), "on the way when it began");
        assert!(!windows.explain(&[Scope::Output(2), Scope::Relay(3)], before, during), "another's");
        assert!(!windows.explain(&[Scope::Output(3)], late, late), "long over");
        assert!(!windows.explain(&[Scope::Output(3)], during, late), "longer than it lasted");
        assert!(windows.touch(&[Scope::Output(3)], before, late), "it falls in between");
        assert!(!windows.touch(&[Scope::Output(2)], before, late) && !windows.touch(&[Scope::Output(3)], late, late));
        let _again = windows.open(Scope::Everything);
        assert!(windows.explain(&[Scope::Output(3), Scope::Everything], during, late), "one followed the other");
    }
}
