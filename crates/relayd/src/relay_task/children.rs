//! The tasks that a relay's task starts, and starts again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use relay::{Reason, Report, RetryPolicy};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info_span, warn};

use super::{RelayTask, losses::Losses};
use crate::{
    config::OutputConfig,
    egress::Egress,
    events::Ledger,
    input::{self, Command, Files, InputMeter},
    output::{Output, OutputMeter, OutputState},
    status::LastError,
    test_hooks::Hook,
};

/// Counts tasks, so that each has a number of its own: its input's or output's place in the lists may change.
#[derive(Debug, Default)]
pub(super) struct Started(u64);

impl Started {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// A task of the relay's, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Child {
    Input(u64),
    Output(u64),
}

/// An input: what it shows, and its task while it is wanted.
#[derive(Default)]
pub(super) struct InputSlot {
    pub(super) meter: Arc<InputMeter>,
    /// Through which its tasks read; it knows the calls that have not returned.
    files: Files,
    /// Which of its losses the log knows.
    pub(super) losses: Losses,
    task: Option<InputTask>,
}

struct InputTask {
    number: u64,
    /// The task ends when this is dropped.
    commands: mpsc::Sender<Command>,
    hook: Hook,
}

impl InputSlot {
    /// The task of that number is this input's present one.
    pub(super) fn is_fed_by(&self, number: u64) -> bool {
        self.task.as_ref().is_some_and(|task| task.number == number)
    }

    /// Its task ends by itself; what it still reports is nobody's.
    pub(super) fn let_go(&mut self) {
        self.task = None;
    }

    /// False when the task does not listen. One with that many commands unread is about to end its connection anyway.
    pub(super) fn tell(&self, command: Command) -> bool {
        self.task.as_ref().is_none_or(|task| task.commands.try_send(command).is_ok())
    }

    /// The way to make its task panic.
    pub(super) fn hook(&self) -> Option<&Hook> {
        self.task.as_ref().map(|task| &task.hook)
    }
}

/// An output: what it shows, and its task while there is one.
pub(super) struct OutputSlot {
    pub(super) meter: Arc<OutputMeter>,
    task: Option<OutputTask>,
}

struct OutputTask {
    number: u64,
    /// What it runs by: what it was started with, or what has since asked for the same session.
    config: OutputConfig,
    /// Tells it how to come back from now on.
    retry: watch::Sender<RetryPolicy>,
    /// Ends it in good order.
    cancel: CancellationToken,
    hook: Hook,
}

impl OutputSlot {
    /// An output without a task.
    pub(super) fn new(config: &OutputConfig, ledger: &Ledger) -> Self {
        let state = if config.enabled { OutputState::Idle } else { OutputState::Disabled };
        Self { meter: Arc::new(OutputMeter::new(config.id.clone(), ledger.clone(), state)), task: None }
    }

    fn is_served_by(&self, number: u64) -> bool {
        self.task.as_ref().is_some_and(|task| task.number == number)
    }

    pub(super) fn has_task(&self) -> bool {
        self.task.is_some()
    }

    /// Ends the task's session in good order.
    pub(super) fn end(&self) {
        if let Some(task) = &self.task {
            task.cancel.cancel();
        }
    }

    /// Ends it unless its session is what `config` asks for; then it comes back as `config` says.
    pub(super) fn end_unless(&mut self, config: &OutputConfig) {
        match &mut self.task {
            Some(task) if config.enabled && config.has_session_of(&task.config) => {
                task.config.clone_from(config);
                task.retry.send_if_modified(|retry| std::mem::replace(retry, config.retry) != config.retry);
            }
            _ => self.end(),
        }
    }

    /// Its task has ended.
    pub(super) fn ended(&mut self, state: OutputState) {
        self.task = None;
        self.meter.enter(state);
    }

    /// The way to make its task panic.
    pub(super) fn hook(&self) -> Option<&Hook> {
        self.task.as_ref().map(|task| &task.hook)
    }
}

impl RelayTask {
    pub(super) fn start_input(&mut self, input: usize, pause: Duration) {
        let Some(running) = self.running.as_mut().filter(|running| !running.stopping) else { return };
        let config = self.config.inputs[input].clone();
        let span = info_span!("input", input = config.name);
        let (commands, receiver) = mpsc::channel(8);
        let (number, hook) = (self.started.next(), self.shared.hooks.hook());
        let (meter, files) = (Arc::clone(&self.inputs[input].meter), self.inputs[input].files.clone());
        let egress = Egress::of(self.config.origin, &self.shared.egress);
        let shared = input::Shared { egress, ..self.shared.inputs.clone() };
        let task = Box::pin(input::run(number, config, shared, running.reports.clone(), receiver, meter, files));
        let task = hook.clone().guard(after(pause, task));
        let lane = self.seat.lane().handle();
        let id = running.tasks.spawn_on(task.instrument(span), lane).id();
        running.children.insert(id, Child::Input(number));
        self.inputs[input].task = Some(InputTask { number, commands, hook });
    }

    pub(super) fn start_output(&mut self, output: usize, pause: Duration) {
        let Some(running) = self.running.as_mut().filter(|running| !running.stopping) else { return };
        let config = self.config.outputs[output].clone();
        let slot = &mut self.outputs[output];
        if !config.enabled {
            slot.meter.enter(OutputState::Disabled);
            return;
        }
        if config.tls.insecure {
            warn!(output = config.id, "insecure_tls: the server's certificate is NOT verified");
        }
        let span = info_span!("output", output = config.id);
        let cancel = running.outputs.child_token();
        let (number, hook) = (self.started.next(), self.shared.hooks.hook());
        let (home, seat) = (self.seat.lane(), self.shared.lanes.for_output(self.seat.lane()));
        let (lane, fanout) = (seat.lane().clone(), Arc::clone(&self.fanout));
        let head = if lane.index() == home.index() { fanout.subscribe() } else { fanout.subscribe_on(&lane) };
        let task = Output {
            config: config.clone(),
            fanout,
            head,
            flushers: self.flushers.clone(),
            lane: lane.clone(),
            meter: Arc::clone(&slot.meter),
            tls: self.shared.tls.for_output(&config.tls),
            egress: Egress::of(config.origin, &self.shared.egress),
            resolver: self.shared.inputs.resolver.clone(),
            points: self.shared.points.clone(),
            hook: hook.clone(),
            cancel: cancel.clone(),
        };
        let (retry, policy) = watch::channel(config.retry);
        // Boxed: every layer around a future would hold room for it twice.
        let run = Box::pin(task.run_retrying(policy));
        let task = hook.clone().guard(Box::pin(async move {
            after(pause, run).await;
            drop(seat);
        }));
        let id = running.tasks.spawn_on(task.instrument(span), lane.handle()).id();
        running.children.insert(id, Child::Output(number));
        slot.task = Some(OutputTask { number, config, retry, cancel, hook });
    }

    /// A task that panicked is started again: one output's bug is nobody else's trouble.
    pub(super) fn child_ended(&mut self, ended: Result<Id, JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |id| *id);
        let child = self.running.as_mut().and_then(|running| running.children.remove(&id));
        let panicked = ended.is_err_and(|error| error.is_panic());
        match child {
            Some(Child::Input(number)) if panicked => self.input_panicked(number),
            Some(Child::Output(number)) => self.output_ended(number, panicked),
            _ => {}
        }
    }

    fn input_panicked(&mut self, number: u64) {
        let Some(input) = self.inputs.iter().position(|slot| slot.is_fed_by(number)) else { return };
        error!(input = self.config.inputs[input].name, "the input's task panicked and is started again");
        let meter = &self.inputs[input].meter;
        meter.lost(Reason::Panic);
        meter.failed(LastError::now(Reason::Panic.name(), "the input's code panicked; the log says where"));
        // A relay that rests starts its inputs itself.
        if self.rest.is_on() {
            return;
        }
        let Some(running) = &mut self.running else { return };
        running.failover.handle(input, Report::Lost { reason: Reason::Panic }, Instant::now());
        self.start_input(input, RESTART_PAUSE);
    }

    /// An output that is to publish gets a new task; nobody else waits for the one that ended.
    fn output_ended(&mut self, number: u64, panicked: bool) {
        let Some(output) = self.outputs.iter().position(|slot| slot.is_served_by(number)) else { return };
        let config = &self.config.outputs[output];
        if panicked {
            error!(output = config.id, "the output's task panicked and is started again");
        }
        let state = if config.enabled { OutputState::Idle } else { OutputState::Disabled };
        self.outputs[output].ended(state);
        self.start_output(output, if panicked { RESTART_PAUSE } else { Duration::ZERO });
    }
}

/// Runs a task after a pause: one that panics at its start is not started again and again without end.
async fn after(pause: Duration, task: impl Future<Output = ()>) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    task.await;
}

/// How long a task that panicked rests.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
