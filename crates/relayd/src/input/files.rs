//! An input's files, without waiting for the disk.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{Mutex as Turn, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::error::InputError;

/// Makes an input's calls of the disk, one at a time for each file.
///
/// A call that hangs cannot be given up: it holds its thread until it returns. Whatever is asked of the same file
/// waits for that, also what the input's next task asks for, and so an input never holds more than four threads.
/// Nothing but files is on these threads.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: Arc<Semaphore>,
    /// Whose turn it is at each file.
    turns: Mutex<HashMap<PathBuf, Arc<Turn<()>>>>,
}

impl Files {
    /// Makes a call; an error when it has not returned by `deadline`, or could not begin.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        path: &Path,
        deadline: Instant,
        work: impl FnOnce() -> Result<T, InputError> + Send + 'static,
    ) -> Result<T, InputError> {
        let may_begin = async {
            // Who waits for a file that hangs must not take a call from the other files.
            let turn = self.turn(path).lock_owned().await;
            (turn, Arc::clone(&self.0.calls).acquire_owned().await)
        };
        let may_begin = timeout_at(deadline, may_begin).await.map_err(|_| InputError::FileHangs)?;
        let call = spawn_blocking(move || {
            let _may_begin = may_begin;
            work()
        });
        let done = timeout_at(deadline, call).await.map_err(|_| InputError::FileSilent)?;
        done.unwrap_or(Err(InputError::FilePanicked))
    }

    fn turn(&self, path: &Path) -> Arc<Turn<()>> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Files that nobody waits for need no turns; lists change with every reload.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(path.to_owned()).or_default())
    }
}

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Inner { calls: Arc::new(Semaphore::new(CALLS)), turns: Mutex::default() }))
    }
}

/// Calls at a time: so many of an input's files may hang until the others wait, too.
const CALLS: usize = 4;

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn later() -> Instant {
        Instant::now() + testkit::DEADLINE
    }

    /// Asks for a file that does not answer until the sender is dropped.
    async fn hangs(files: &Files, path: &str) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let call = files.call(path.as_ref(), soon(), move || {
            let _ = released.recv();
            Ok(())
        });
        let error = call.await.unwrap_err();
        assert!(matches!(error, InputError::FileSilent), "{error}");
        release
    }

    #[tokio::test]
    async fn a_file_that_hangs_is_not_asked_again_and_holds_up_no_other() {
        let files = Files::default();
        let release = hangs(&files, "a").await;
        for _ in 0..CALLS {
            let error = files.clone().call("a".as_ref(), soon(), || Ok(())).await.unwrap_err();
            assert!(matches!(error, InputError::FileHangs), "{error}");
        }
        assert!(matches!(files.call("b".as_ref(), later(), || Ok(2)).await, Ok(2)));
        let next = files.call("a".as_ref(), later(), || Ok(1));
        drop(release);
        assert!(matches!(next.await, Ok(1)));
        files.turn("c".as_ref());
        assert_eq!(files.0.turns.lock().unwrap().len(), 1, "the files of the past");
    }

    #[tokio::test]
    async fn no_more_than_a_few_calls_hang() {
        let (files, others) = (Files::default(), Files::default());
        let mut all = Vec::new();
        for n in 0..CALLS {
            all.push(hangs(&files, &n.to_string()).await);
        }
        let error = files.call("more".as_ref(), soon(), || Ok(())).await.unwrap_err();
        assert!(matches!(error, InputError::FileHangs), "{error}");
        assert!(others.call("more".as_ref(), later(), || Ok(())).await.is_ok(), "another input's");
        all.pop();
        assert!(matches!(files.call("more".as_ref(), later(), || Ok(1)).await, Ok(1)));
    }

    #[tokio::test]
    async fn a_call_that_panics_does_not_hang() {
        let files = Files::default();
        let error = files.call::<()>("a".as_ref(), later(), || panic!("a bug")).await.unwrap_err();
        assert!(matches!(error, InputError::FilePanicked), "{error}");
        assert!(matches!(files.call("a".as_ref(), later(), || Ok(1)).await, Ok(1)));
    }
}
