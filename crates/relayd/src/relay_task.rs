//! The relay task: owns every decision of one relay, and carries them out.

mod children;
mod handle;
mod losses;
mod reconfigure;
mod rest;
mod running;
mod telling;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use futures::FutureExt;
use relay::{Action, Failover, Phase, Reason};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::handle::{PanicIn, RelayHandle, Request, Switched, Vital};
use self::{
    children::{InputSlot, OutputSlot, Started},
    rest::Rest,
    running::{Happening, Running, next},
};
use crate::{
    config::RelayConfig,
    egress::EgressPolicy,
    events::{EventBus, Ledger},
    fanout::Fanout,
    ingest::Census,
    input::{self, Command, Reports},
    lanes::{Lane, Lanes, Seat},
    output::{Flushers, OutputState, PublishPoints},
    test_hooks::TestHooks,
    throttle::Throttle,
    tls::TlsConfigs,
};

/// What all relays of the process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What relays made over an API may reach.
    pub egress: Arc<EgressPolicy>,
    /// For inputs.
    pub inputs: input::Shared,
    /// For outputs.
    pub tls: TlsConfigs,
    /// Where outputs publish now.
    pub points: PublishPoints,
    /// Where media is carried.
    pub lanes: Lanes,
    /// Where events are told.
    pub events: EventBus,
    /// Who is connected to the ingest, for those who count.
    pub census: Arc<Census>,
    /// The beginning of the command that shows what `/live/` serves.
    pub watch_with: Arc<RwLock<Option<String>>>,
    /// Whether tasks may be told to panic.
    pub hooks: TestHooks,
}

/// One relay's task.
///
/// A panic of its own costs a splice: the log, the meters, the output tasks and their sessions go on, and decisions are
/// made anew behind what the log holds.
pub struct RelayTask {
    config: RelayConfig,
    shared: Shared,
    requests: mpsc::Receiver<Request>,
    fanout: Arc<Fanout>,
    /// In the order of the configuration.
    inputs: Vec<InputSlot>,
    /// In the order of the configuration.
    outputs: Vec<OutputSlot>,
    /// The tasks started so far.
    started: Started,
    /// The relay is to run.
    wanted: bool,
    running: Option<Running>,
    /// The decisions of a run that came to its own end: its numbers stay to be seen.
    finished: Option<Failover>,
    rest: Rest,
    ledger: Ledger,
    throttle: Throttle,
    cancel: CancellationToken,
    seat: Seat,
    flushers: Flushers,
}

impl RelayTask {
    /// A relay that is stopped, and the way to it.
    pub fn new(config: RelayConfig, shared: Shared, cancel: CancellationToken) -> (Self, RelayHandle) {
        let (sender, requests) = mpsc::channel(16);
        let seat = shared.lanes.for_relay();
        let fanout = Arc::new(Fanout::new(config.log));
        let ledger = Ledger::new(config.name.clone(), shared.events.clone());
        let handle = RelayHandle { requests: sender, fanout: Arc::clone(&fanout), ledger: ledger.clone() };
        let task = Self {
            inputs: config.inputs.iter().map(|_| InputSlot::default()).collect(),
            outputs: config.outputs.iter().map(|output| OutputSlot::new(output, &ledger)).collect(),
            started: Started::default(),
            wanted: config.autostart,
            config,
            shared,
            requests,
            fanout,
            running: None,
            finished: None,
            rest: Rest::default(),
            ledger,
            throttle: Throttle::default(),
            cancel,
            seat,
            flushers: Flushers::default(),
        };
        (task, handle)
    }

    /// Where it is to run.
    pub fn lane(&self) -> Lane {
        self.seat.lane().clone()
    }

    /// Runs until it is cancelled; then lets the outputs end their sessions cleanly.
    pub async fn run(mut self) {
        // What outlives a panic is either replaced before it is looked at again, or made of parts that are whole at
        // every moment: lists, counters, channels.
        while AssertUnwindSafe(self.serve()).catch_unwind().await.is_err() {
            self.crashed(Instant::now());
        }
        self.fanout.close();
    }

    /// Waits on: its inputs' reports, the next moment a decision is due, audio that is to leave, requests, the end of
    /// a child task, the status line's interval, cancellation.
    async fn serve(&mut self) {
        let mut status_line = interval(STATUS_LINE);
        status_line.set_missed_tick_behavior(MissedTickBehavior::Delay);
        status_line.reset();
        let mut batch = Vec::new();
        while !self.cancel.is_cancelled() {
            let now = Instant::now();
            if self.rest.is_over(now) {
                self.resume(now);
            }
            if self.wanted && self.running.is_none() && !self.rest.is_on() {
                self.start(now);
            }
            if self.running.as_ref().is_some_and(|running| running.finish || running.stopping) {
                info!("every input has ended: the relay stops");
                self.wanted = false;
                self.finished = self.stop().await;
                continue;
            }
            let decision = self.running.as_ref().map(Running::wake_at);
            let wake_at = self.rest.ends().or(decision);
            tokio::select! {
                happening = next(self.running.as_mut(), &mut batch) => match happening {
                    Happening::Reported => self.take_in(&mut batch),
                    Happening::Ended(ended) => self.child_ended(ended),
                },
                () = sleep_until(wake_at.unwrap_or(now).into()), if wake_at.is_some() => {
                    if let Some(running) = self.running.as_mut().filter(|_| !self.rest.is_on()) {
                        running.wake(&self.fanout, Instant::now());
                    }
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request),
                    None => break,
                },
                _ = status_line.tick() => {
                    self.say_what_was_dropped(Instant::now());
                    self.log_status();
                }
                () = self.cancel.cancelled() => break,
            }
            self.act(Instant::now());
        }
        self.stop().await;
    }

    /// The status tells the new selection at once; the input feeds as soon as it can.
    fn switch(&mut self, name: &str) -> Switched {
        let Some(input) = self.config.inputs.iter().position(|input| input.name == name) else {
            return Switched::NoSuchInput;
        };
        let Some(running) = self.running.as_mut().filter(|running| !running.stopping && !self.rest.is_on()) else {
            return Switched::NotRunning;
        };
        let now = Instant::now();
        running.failover.switch(input, now);
        self.act(now);
        Switched::Done(Box::new(self.status(now)))
    }

    fn take_in(&mut self, batch: &mut Vec<Reports>) {
        let (Some(running), now) = (&mut self.running, Instant::now()) else { return };
        for Reports { task, reports } in batch.drain(..) {
            // A task that has been let go of may have had reports on the way.
            let Some(input) = self.inputs.iter().position(|slot| slot.is_fed_by(task)) else { continue };
            for report in reports {
                running.failover.handle(input, report, now);
            }
        }
        self.say_what_was_dropped(now);
    }

    /// Begins a run. One that follows another goes on behind it: the log is one line.
    fn start(&mut self, now: Instant) {
        let mut failover = self.new_failover(now);
        if let Some(before) = self.finished.take() {
            failover.resume(&before, &self.fanout.log(), None, now);
        }
        self.running = Some(Running::new(failover, self.cancel.child_token()));
        for output in 0..self.outputs.len() {
            self.start_output(output, Duration::ZERO);
        }
        info!(inputs = self.inputs.len(), outputs = self.outputs.len(), "started");
        self.act(now);
    }

    fn new_failover(&self, now: Instant) -> Failover {
        let config = &self.config;
        let inputs = config.inputs.iter().map(|input| (input.name.clone(), input.source.kind()));
        Failover::new(config.failover.clone(), &config.timeline, config.log, inputs, now)
            .with_metadata_limits(self.shared.inputs.limits.metadata())
    }

    /// Ends the inputs at once and the outputs in good order; goes on answering meanwhile.
    async fn stop(&mut self) -> Option<Failover> {
        let running = self.running.as_mut()?;
        running.stopping = true;
        self.inputs.iter_mut().for_each(InputSlot::let_go);
        running.incoming.close();
        running.outputs.cancel();
        let deadline = tokio::time::Instant::now() + DRAIN_LIMIT;
        loop {
            let tasks = &mut self.running.as_mut()?.tasks;
            tokio::select! {
                ended = tasks.join_next() => if ended.is_none() { break },
                Some(request) = self.requests.recv() => self.answer(request),
                () = sleep_until(deadline) => {
                    warn!(tasks = tasks.len(), "did not end in time");
                    break;
                }
            }
        }
        let running = self.running.take()?;
        for (slot, config) in self.outputs.iter_mut().zip(&self.config.outputs) {
            slot.ended(if config.enabled { OutputState::Idle } else { OutputState::Disabled });
        }
        // What is in the log belongs to a run that is over: nobody begins with it.
        self.fanout.end_programme();
        info!("stopped");
        Some(running.failover)
    }

    /// After a panic: nobody acts on decisions any more until they are made anew.
    fn crashed(&mut self, now: Instant) {
        let pause = self.rest.crashed(now);
        error!(?pause, "the relay's task panicked: its inputs start anew, its sessions stay");
        self.inputs.iter_mut().for_each(InputSlot::let_go);
        if let Some(running) = &mut self.running {
            running.forget_reports();
        }
        // What came into the log just before is not to wait for what comes after.
        self.fanout.flush();
    }

    /// The rest after a panic is over.
    fn resume(&mut self, now: Instant) {
        self.rest.end();
        let mut failover = self.new_failover(now);
        let Some(running) = self.running.as_mut().filter(|running| !running.stopping) else { return };
        failover.resume(&running.failover, &self.fanout.log(), Some(Reason::Panic), now);
        running.failover = failover;
        self.act(now);
    }

    /// The decisions to be seen: of this run, or of the one that came to its end.
    fn failover(&self) -> Option<&Failover> {
        self.running.as_ref().map(|running| &running.failover).or(self.finished.as_ref())
    }

    /// Carries out what has been decided.
    fn act(&mut self, now: Instant) {
        if self.rest.is_on() {
            return;
        }
        while let Some(action) = self.running.as_mut().and_then(|running| running.failover.next_action()) {
            match action {
                Action::Emit(placed) => {
                    if let Some(running) = &mut self.running {
                        running.placed.push(placed);
                    }
                }
                Action::Start(input) => self.start_input(input, Duration::ZERO),
                Action::Stop(input) => self.inputs[input].let_go(),
                Action::Restart(input, reason) => self.command(input, Command::Restart(reason)),
                Action::Play(input) => self.command(input, Command::Play),
                Action::EndSessions => {
                    // What was emitted before belongs to the programme that ends.
                    if let Some(running) = &mut self.running {
                        running.publish(&self.fanout, now);
                    }
                    self.fanout.end_programme();
                }
                Action::Finish => {
                    if let Some(running) = &mut self.running {
                        running.finish = true;
                    }
                }
                Action::Record(event) => self.record(&event, now),
            }
        }
        if let Some(running) = &mut self.running {
            running.publish(&self.fanout, now);
            let phase = running.failover.phase();
            let before = std::mem::replace(&mut running.phase, phase);
            if before == Phase::Starting && phase == Phase::Running {
                self.say_how_to_watch();
            }
        }
    }

    fn command(&self, input: usize, command: Command) {
        if !self.inputs[input].tell(command) {
            warn!(input = self.config.inputs[input].name, ?command, "the input does not listen");
        }
    }
}

/// One line about each relay this often.
const STATUS_LINE: Duration = Duration::from_secs(10);
/// How long the outputs may take to end their sessions.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
