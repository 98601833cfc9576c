//! `push` inputs: a publisher that the ingest listener has let in.

use std::{io, time::Duration};

use bytes::BytesMut;
use relay::Report;
use rtmp::ingest::{Ingest, IngestEvent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{Command, Gone, Link, error::InputError};
use crate::{
    ingest::{Publisher, Registration},
    stream::Stream,
};

/// Serves one publisher after the other.
pub(super) async fn run(mut registration: Registration, mut link: Link) -> Result<(), Gone> {
    loop {
        link.report(vec![Report::Waiting]).await?;
        let mut next = tokio::select! {
            publisher = registration.publisher() => Some(publisher.ok_or(Gone)?),
            command = link.commands.recv() => match command {
                Some(_) => None,
                None => return Err(Gone),
            },
        };
        while let Some(publisher) = next {
            info!(peer = %publisher.guest.peer(), "a publisher was let in");
            link.report(vec![Report::Connected]).await?;
            let ended = serve(publisher, &mut registration, &mut link).await?;
            if ended.replacement.is_none() {
                registration.vacate();
            }
            link.lost(&ended.error, None).await?;
            next = ended.replacement;
        }
    }
}

/// Why a publisher's time is over, and who comes in its place.
struct Ended {
    error: InputError,
    replacement: Option<Box<Publisher>>,
}

impl From<InputError> for Ended {
    fn from(error: InputError) -> Self {
        Self { error, replacement: None }
    }
}

/// One publisher, from its acceptance to its end.
async fn serve(publisher: Box<Publisher>, registration: &mut Registration, link: &mut Link) -> Result<Ended, Gone> {
    let Publisher { mut stream, mut session, mut guest } = *publisher;
    // It was accepted by the main runtime, whose threads every piece of media would wake first.
    if let Err(error) = stream.move_here() {
        debug!(%error, "the publisher's socket stays with the main runtime");
    }
    session.accept();
    let ended = read(&mut stream, &mut session, registration, link).await?;
    guest.closed(ended.error.closed(), &ended.error);
    if session.is_unpublished() && send_replies(&mut stream, &mut session).await.is_ok() {
        // It stays in the census until it has parted.
        tokio::spawn(async move {
            stream.part().await;
            drop(guest);
        });
    }
    Ok(ended)
}

/// Reads until the publisher's time is over. Bytes are copied once, from the buffer that every read fills anew into their
/// message.
async fn read(
    stream: &mut Stream,
    session: &mut Ingest,
    registration: &mut Registration,
    link: &mut Link,
) -> Result<Ended, Gone> {
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    let idle_timeout = registration.idle_timeout();
    let mut heard = Instant::now();
    registration.heard(heard.into_std());
    loop {
        if let Err(error) = send_replies(stream, session).await {
            return Ok(error.into());
        }
        buffer.clear();
        let read = tokio::select! {
            read = timeout_at(heard + idle_timeout, stream.read_buf(&mut buffer)) => read,
            command = link.commands.recv() => match command {
                Some(Command::Restart(reason)) => return Ok(InputError::Restarted(reason).into()),
                Some(Command::Play) => continue,
                None => return Err(Gone),
            },
            publisher = registration.publisher() => {
                return Ok(Ended { error: InputError::Replaced, replacement: publisher });
            }
        };
        let bytes = match read {
            Ok(Ok(0)) => return Ok(InputError::Left.into()),
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Ok(InputError::Broken(error).into()),
            Err(_) => return Ok(InputError::Idle(idle_timeout).into()),
        };
        heard = Instant::now();
        registration.heard(heard.into_std());
        let mut reports = vec![Report::Bytes(bytes as u64)];
        let handled = session.handle_input(&buffer);
        while let Some(event) = session.next_event() {
            if let IngestEvent::Tag(tag) = event {
                reports.push(Report::Tag(tag));
            }
        }
        link.report(reports).await?;
        if let Err(error) = handled {
            return Ok(InputError::from(error).into());
        }
        if session.is_unpublished() {
            return Ok(InputError::Left.into());
        }
    }
}

async fn send_replies(stream: &mut Stream, session: &mut Ingest) -> Result<(), InputError> {
    let send = async {
        while let Some(reply) = session.take_output() {
            stream.write_all(&reply).await?;
        }
        stream.flush().await
    };
    let sent: Result<io::Result<()>, _> = timeout(REPLY_LIMIT, send).await;
    sent.map_err(|_| InputError::Deaf)?.map_err(InputError::Broken)
}

/// Read at once from a publisher's socket.
const READ_SIZE: usize = 64 << 10;
/// How long a publisher may leave a reply unread.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
