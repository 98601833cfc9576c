//! Tasks that run as long as the process.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::time::sleep;
use tracing::error;

/// Runs a task to its end. One that panics is started again after a second.
pub(crate) async fn keep_up<F: Future<Output = ()>>(name: &'static str, task: impl FnMut() -> F) {
    start_again(name, PAUSE, task).await;
}

async fn start_again<F: Future<Output = ()>>(name: &'static str, pause: Duration, mut task: impl FnMut() -> F) {
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        error!(task = name, "the task panicked and is started again");
        sleep(pause).await;
    }
}

/// How long a task that panicked rests.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_until_it_ends() {
        let mut runs = 0;
        let task = || {
            runs += 1;
            async move { assert!(runs >= 3, "not yet") }
        };
        start_again("test", Duration::ZERO, task).await;
        assert_eq!(runs, 3);
    }
}
