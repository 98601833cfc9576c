//! Where outputs publish now: never two at once on one key.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rtmp::url::PublishPoint;
use tokio::sync::Notify;

/// The publish points that outputs of all relays have taken.
///
/// The configuration gives each to one output only; but an output that has to let go of its own still ends its session
/// there when the next one is told to begin.
#[derive(Clone, Debug, Default)]
pub struct PublishPoints(Arc<Points>);

#[derive(Debug, Default)]
struct Points {
    taken: Mutex<HashSet<PublishPoint>>,
    freed: Notify,
}

/// A publish point taken; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    points: Arc<Points>,
    point: PublishPoint,
}

impl PublishPoints {
    /// Takes a point as soon as it is free.
    pub(super) async fn take(&self, point: PublishPoint) -> Taken {
        loop {
            let freed = self.0.freed.notified();
            if self.0.lock().insert(point.clone()) {
                return Taken { points: Arc::clone(&self.0), point };
            }
            freed.await;
        }
    }
}

impl Points {
    fn lock(&self) -> MutexGuard<'_, HashSet<PublishPoint>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.points.lock().remove(&self.point);
        self.points.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use rtmp::url::Target;

    use super::*;

    fn point(url: &str) -> PublishPoint {
        Target::parse(url).unwrap().publish_point()
    }

    #[tokio::test]
    async fn a_point_is_one_outputs_at_a_time() {
        let points = PublishPoints::default();
        let first = points.take(point("rtmp://host/app/key")).await;
        let mut waiting: Vec<_> = (0..3).map(|_| points.take(point("rtmps://HOST:1935/app/key")).boxed()).collect();
        for waiting in &mut waiting {
            assert!(waiting.now_or_never().is_none());
        }
        drop(points.take(point("rtmp://host/app/other")).await);
        drop(first);
        let second = waiting.remove(1).await;
        for waiting in &mut waiting {
            assert!(waiting.now_or_never().is_none());
        }
        drop((second, waiting));
        points.take(point("rtmp://host/app/key")).now_or_never().expect("those who no longer wait hold nothing");
    }
}
