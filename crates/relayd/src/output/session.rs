//! One publish session: from the open connection to its end.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use relay::Cursor;
use rtmp::publish::{Publish, PublishConfig};
use tokio::time::timeout;

use super::{
    Output,
    error::OutputError,
    flusher::Member,
    live::{Happening, Live, Parts},
    wire::Wire,
};
use crate::stream::Stream;

/// Why a session ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The output is to stop.
    Cancelled,
    /// The programme has ended; there will be another.
    ProgrammeEnded,
    /// A sequence header changed and the policy asks for a new session.
    FormatChanged,
}

/// Publishes over `stream` until the output is cancelled, the programme ends or the session breaks. `on_live` is called
/// when the first keyframe has been written. `programme` is the one that the session was opened for.
pub(super) async fn run(
    output: &Output,
    stream: Stream,
    cursor: &mut Cursor,
    programme: u64,
    on_live: impl FnOnce(),
) -> Result<End, OutputError> {
    let config = &output.config;
    let publish = Publish::new(PublishConfig::new(config.target.clone()));
    let meter = Arc::clone(&output.meter);
    let mut wire = Wire::new(stream, publish, meter, config.connect_timeout, Instant::now());
    let stream_id = tokio::select! {
        opened = Box::pin(wire.open()) => opened?,
        () = output.cancel.cancelled() => return Ok(End::Cancelled),
    };
    if output.fanout.log().programme() != programme {
        // It ended while the platform was being connected to: there is nothing to show there.
        wire.close().await;
        return Ok(End::ProgrammeEnded);
    }
    let live = Live::new(Parts {
        cursor: cursor.clone(),
        wire,
        stream_id,
        programme,
        fanout: Arc::clone(&output.fanout),
        meter: Arc::clone(&output.meter),
        write_timeout: config.write_timeout,
        hook: output.hook.clone(),
    });
    let mut membership = Membership { member: Member::new(Mutex::new(Some(live))), cursor };
    let flush = config.policy.flush;
    output.flushers.on(&output.lane, flush).join(Arc::clone(&membership.member), &output.fanout, &output.head, flush);
    let end = membership.until_its_end(output, on_live).await?;
    let Some(mut live) = membership.leave() else { return Ok(end) };
    if end != End::FormatChanged && live.has_begun() {
        live.begin_rest();
        // What the log still holds goes out; a peer that takes nothing any more is no reason to wait.
        let _ = timeout(REST_LIMIT, poll_fn(|cx| live.poll_rest(cx))).await;
    }
    live.into_wire().close().await;
    Ok(end)
}

/// A session's membership of its flusher; given back when it is dropped, with the cursor as it then is.
struct Membership<'a> {
    member: Member,
    cursor: &'a mut Cursor,
}

impl Membership<'_> {
    /// Waits on: the session, cancellation.
    async fn until_its_end(&self, output: &Output, on_live: impl FnOnce()) -> Result<End, OutputError> {
        let mut on_live = Some(on_live);
        let mut cancelled = pin!(output.cancel.cancelled());
        loop {
            let happening = poll_fn(|cx| match self.live().as_mut() {
                Some(live) => live.poll(cx),
                None => Poll::Ready(Happening::Ended(Ok(End::Cancelled))),
            });
            tokio::select! {
                biased;
                () = &mut cancelled => return Ok(End::Cancelled),
                happening = happening => match happening {
                    Happening::WentLive => if let Some(on_live) = on_live.take() { on_live() },
                    Happening::Ended(ended) => return ended,
                }
            }
        }
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&mut self) -> Option<Live> {
        let live = self.live().take()?;
        *self.cursor = live.cursor().clone();
        Some(live)
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How long the last tags may take to leave.
const REST_LIMIT: Duration = Duration::from_secs(1);
