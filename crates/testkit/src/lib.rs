//! Peers for tests on loopback: live sources and platforms that behave as told, and the daemon under test between them.
//!
//! | type | plays |
//! |---|---|
//! | [`Encode`] | a synthetic live encode; every tag of it carries an id and is known in advance |
//! | [`Origin`], [`Feed`] | an HTTP-FLV server and what one path of it serves, faults included |
//! | [`Ingest`], [`Script`] | an RTMP server that records its publishers, and how it misbehaves |
//! | [`Authority`], [`Identity`] | who vouches for such a server over TLS, and what the server shows |
//! | [`Publisher`] | an encoder that publishes over RTMP |
//! | [`Stranger`] | a client of an RTMP listener whose every byte is the test's |
//! | [`Relayd`] | the daemon, as a child process |
//! | [`NotifySocket`] | the service manager that the daemon reports to |
//! | [`readers`] | how peers of several makes read RTMP chunks |
//! | [`judge`] | what must hold for everything that an output received |
//!
//! Nothing here synchronises by sleeping: waiting is for a condition, ends at [`DEADLINE`], and then panics with what was
//! seen. Everything listens on ports that the system chooses, and stops when dropped.

use std::time::Duration;

use tokio::time::Instant;

mod clock;
mod encode;
mod feed;
pub mod http;
mod ingest;
pub mod judge;
mod log_pipe;
mod notify;
mod origin;
mod publisher;
pub mod readers;
mod relayd;
pub mod stranger;
mod temp;
mod tls;

pub use clock::Clock;
pub use encode::{Codec, Encode, Id, Track};
pub use feed::Feed;
pub use ingest::{Audience, Command, Ended, Ingest, Received, Record, Script, Step, Tls};
pub use log_pipe::LogReader;
pub use notify::NotifySocket;
pub use origin::{Origin, Request, Served};
pub use publisher::{Publisher, PublisherError};
pub use relayd::{Finished, Relayd, Setup};
/// Signals to send to [`Relayd`].
pub use rustix::process::Signal;
pub use stranger::Stranger;
pub use temp::TempDir;
pub use tls::{Authority, Identity};

/// How long a test waits for a condition that holds within moments when all is well.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Polls `probe` until it gives a value. Panics with `what` and the last complaint after `deadline`.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut probe: F) -> T
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= end => panic!("{what}: not within {deadline:?}; {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
