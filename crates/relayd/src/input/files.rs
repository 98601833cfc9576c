//! An input's files, without waiting for the disk.

use std::{io, sync::Arc};

use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::error::InputError;
use crate::egress::EgressError;

/// Makes an input's calls of the disk, one at a time.
///
/// A call that hangs cannot be given up: it holds its thread until it returns. Whatever comes after it waits for that,
/// also what the input's next task asks for, and so an input never holds more than one thread. Nothing but files is on
/// these threads.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Mutex<()>>);

impl Files {
    /// Makes a call; an error when it has not returned by `deadline`, or could not begin.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> Result<T, InputError> + Send + 'static,
    ) -> Result<T, InputError> {
        let turn = timeout_at(deadline, Arc::clone(&self.0).lock_owned()).await;
        let turn = turn.map_err(|_| InputError::FileHangs)?;
        let call = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        let done = timeout_at(deadline, call).await.map_err(|_| InputError::FileSilent)?;
        done.unwrap_or(Err(InputError::Egress(EgressError::File(io::ErrorKind::Interrupted))))
    }
}

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

    #[tokio::test]
    async fn a_call_that_hangs_keeps_the_next_from_beginning() {
        let (files, others) = (Files::default(), Files::default());
        let (release, released) = mpsc::channel::<()>();
        let hangs = files.call(soon(), move || {
            let _ = released.recv();
            Ok(())
        });
        assert!(matches!(hangs.await, Err(InputError::FileSilent)));
        let error = files.clone().call(soon(), || Ok(())).await.unwrap_err();
        assert!(matches!(error, InputError::FileHangs), "{error}");
        assert!(others.call(later(), || Ok(())).await.is_ok(), "another input's");
        let next = files.call(later(), || Ok(1));
        drop(release);
        assert!(matches!(next.await, Ok(1)));
    }

    #[tokio::test]
    async fn a_call_that_panics_does_not_hang() {
        let files = Files::default();
        assert!(files.call::<()>(later(), || panic!("a bug")).await.is_err());
        assert!(matches!(files.call(later(), || Ok(1)).await, Ok(1)));
    }
}
