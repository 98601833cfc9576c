//! The way to a relay's task.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{config::RelayConfig, events::Ledger, fanout::Fanout, status::RelayStatus};

/// What a relay can be asked.
#[derive(Debug)]
pub enum Request {
    /// Its status.
    Status(oneshot::Sender<RelayStatus>),
    /// Another input is to feed.
    Switch(String, oneshot::Sender<Switched>),
    /// Its configuration is another, of the same name. Answers before it is carried out, and only if it is: when nobody
    /// waits for the answer any more, the old one stays in force.
    Reconfigure(Box<RelayConfig>, oneshot::Sender<()>),
    /// A task of the relay is to panic. Answers whether there is such a task; only with test hooks there is.
    Panic(PanicIn, oneshot::Sender<bool>),
    /// A sign of life.
    Ping(oneshot::Sender<()>),
    /// To be stuck, for ever as in a deadlock, or for a while. Tests ask for it.
    Wedge(Option<Duration>),
}

/// Whether a relay's task is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    /// It answers.
    Alive,
    /// It has ended.
    Gone,
    /// It is there and does not answer.
    Silent,
}

/// What became of the wish for another input.
#[derive(Debug)]
pub enum Switched {
    /// It is selected; the status tells so.
    Done(Box<RelayStatus>),
    /// There is no input of this name.
    NoSuchInput,
    /// The relay is stopped, or about to be.
    NotRunning,
}

/// Which task of a relay is to panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PanicIn {
    /// Its own.
    Relay,
    /// That of the input of this name.
    Input(String),
    /// That of the output of this id.
    Output(String),
    /// Whoever writes for the session of the output of this id, and for others.
    Flusher(String),
}

/// The way to a relay's task.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    pub(super) requests: mpsc::Sender<Request>,
    /// Its log, for those who watch.
    pub fanout: Arc<Fanout>,
    /// What has happened to it.
    pub ledger: Ledger,
}

impl RelayHandle {
    /// The relay's status; `None` when its task does not answer.
    pub async fn status(&self) -> Option<RelayStatus> {
        self.ask(Request::Status).await
    }

    /// Lets the input of that name feed as soon as it can. `None` when the task does not answer.
    pub async fn switch(&self, input: String) -> Option<Switched> {
        self.ask(|reply| Request::Switch(input, reply)).await
    }

    /// Asks the task for a sign of life, for as long as `limit`.
    pub async fn vital(&self, limit: Duration) -> Vital {
        let (reply, answer) = oneshot::channel();
        let ask = async { self.requests.send(Request::Ping(reply)).await.is_ok() && answer.await.is_ok() };
        match timeout(limit, ask).await {
            Ok(true) => Vital::Alive,
            Ok(false) => Vital::Gone,
            Err(_) => Vital::Silent,
        }
    }

    /// Lets the task be stuck, for ever unless told how long. For tests.
    pub async fn wedge(&self, pause: Option<Duration>) {
        let _ = self.requests.send(Request::Wedge(pause)).await;
    }

    /// Gives it another configuration of the same name. False when the task does not answer in time: then it never takes
    /// it, however late it comes to read of it.
    pub async fn reconfigure(&self, config: RelayConfig) -> bool {
        let (reply, mut answer) = oneshot::channel();
        let ask = async {
            self.requests.send(Request::Reconfigure(Box::new(config), reply)).await.is_ok()
                && (&mut answer).await.is_ok()
        };
        let is_taken = match timeout(ANSWER_LIMIT, ask).await {
            Ok(is_taken) => is_taken,
            Err(_) => {
                // From here on it is refused. It may have been taken at the last moment.
                answer.close();
                answer.try_recv().is_ok()
            }
        };
        if is_taken {
            self.settle().await;
        }
        is_taken
    }

    /// Waits until the task has started and has carried out what it was told, for as long as an answer may take.
    pub async fn settle(&self) {
        self.vital(ANSWER_LIMIT).await;
    }

    /// Lets a task panic. `None` when the task does not answer.
    pub async fn panic(&self, task: PanicIn) -> Option<bool> {
        self.ask(|reply| Request::Panic(task, reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_LIMIT, ask).await.ok().flatten()
    }
}

/// How long a relay may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
