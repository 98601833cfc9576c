//! A moment to be woken at.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::time::{Sleep, sleep_until};

/// Wakes its task at a moment that may be moved for nothing.
///
/// A timer is touched only when the moment comes nearer. Until a later moment it may wake too early, and whoever waits
/// looks at the clock: a timeout that is pushed back at every write would otherwise cost more than the write's own books.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set_to: Option<Instant>,
}

impl Alarm {
    /// Wakes the task of `cx` at `at`, or before.
    pub(super) fn set(&mut self, at: Instant, cx: &mut Context<'_>) {
        if self.set_to.is_none_or(|set_to| at < set_to) {
            self.set_to = Some(at);
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(at.into()),
                None => self.sleep = Some(Box::pin(sleep_until(at.into()))),
            }
        }
        if let Some(sleep) = &mut self.sleep
            && let Poll::Ready(()) = sleep.as_mut().poll(cx)
        {
            self.set_to = None;
            if at > Instant::now() {
                self.set(at, cx);
            } else {
                cx.waker().wake_by_ref();
            }
        }
    }
}
