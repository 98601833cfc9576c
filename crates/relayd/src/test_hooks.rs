//! Ways for tests to let a task panic, so that it is seen what becomes of the others. There are none unless
//! `RELAYD_TEST_HOOKS=1` stands in the environment.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

/// Whether there are hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestHooks(bool);

impl TestHooks {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self(env::var_os("RELAYD_TEST_HOOKS").is_some_and(|value| value == "1"))
    }

    /// There are hooks.
    pub fn are_on(self) -> bool {
        self.0
    }

    /// A hook for one task.
    pub(crate) fn hook(self) -> Hook {
        Hook(self.0.then(Arc::default))
    }
}

/// The way to let one task panic.
#[derive(Clone, Debug, Default)]
pub struct Hook(Option<Arc<Wishes>>);

#[derive(Debug, Default)]
struct Wishes {
    in_task: Notify,
    in_write: AtomicBool,
}

impl Hook {
    /// The task panics. False without hooks.
    pub(crate) fn panic_in_task(&self) -> bool {
        self.0.as_ref().inspect(|wishes| wishes.in_task.notify_one()).is_some()
    }

    /// Whoever writes for the task's session panics. False without hooks.
    pub(crate) fn panic_in_write(&self) -> bool {
        self.0.as_ref().inspect(|wishes| wishes.in_write.store(true, Relaxed)).is_some()
    }

    /// Runs the task.
    pub(crate) async fn guard(self, task: impl Future<Output = ()>) {
        let Some(wishes) = self.0 else { return task.await };
        tokio::select! {
            () = wishes.in_task.notified() => panic!("the test hook"),
            () = task => {}
        }
    }

    /// Something is written.
    pub(crate) fn at_write(&self) {
        if let Some(wishes) = &self.0 {
            assert!(!wishes.in_write.swap(false, Relaxed), "the test hook");
        }
    }
}
