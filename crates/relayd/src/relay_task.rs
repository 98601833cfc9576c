//! The relay task: owns every decision of one relay, and carries them out.

mod handle;
mod telling;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use relay::{Action, Failover, InputKind, Phase, Placed};
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

pub use self::handle::{RelayHandle, Request, Vital};
use crate::{
    config::{InputSource, OutputConfig, RelayConfig},
    egress::{Egress, EgressPolicy},
    events::{EventBus, Ledger},
    fanout::Fanout,
    ingest::Census,
    input::{self, Command, InputMeter, Reports},
    lanes::{Lane, Lanes, Seat},
    output::{Flushers, Output, OutputMeter, OutputState},
    status::RelayStatus,
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
    /// Where media is carried.
    pub lanes: Lanes,
    /// Tasks that panicked and were started again.
    pub panics: Arc<AtomicU64>,
    /// Where events are told.
    pub events: EventBus,
    /// Who is connected to the ingest, for those who count.
    pub census: Arc<Census>,
    /// Where `/live/` is served, for the message that says how to watch.
    pub watch_at: Option<String>,
}

/// One relay's task.
pub struct RelayTask {
    config: RelayConfig,
    shared: Shared,
    requests: mpsc::Receiver<Request>,
    fanout: Arc<Fanout>,
    input_meters: Vec<Arc<InputMeter>>,
    output_meters: Vec<Arc<OutputMeter>>,
    running: Option<Running>,
    /// The decisions of a run that came to its own end: its numbers stay to be seen.
    finished: Option<Failover>,
    ledger: Ledger,
    throttle: Throttle,
    cancel: CancellationToken,
    seat: Seat,
    flushers: Flushers,
}

/// What exists between start and stop.
struct Running {
    failover: Failover,
    /// The way to each input's task, while it is wanted.
    inputs: Vec<Option<mpsc::Sender<Command>>>,
    reports: mpsc::Sender<Reports>,
    incoming: mpsc::Receiver<Reports>,
    tasks: JoinSet<()>,
    children: HashMap<Id, Child>,
    outputs: CancellationToken,
    /// When audio that has ridden along long enough is to leave.
    flush_at: Option<Instant>,
    placed: Vec<Placed>,
    phase: Phase,
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
enum Child {
    Input(usize),
    Output(usize),
}

impl RelayTask {
    /// A relay that is stopped, and the way to it.
    pub fn new(config: RelayConfig, shared: Shared, cancel: CancellationToken) -> (Self, RelayHandle) {
        let (sender, requests) = mpsc::channel(16);
        let seat = shared.lanes.for_relay();
        let fanout = Arc::new(Fanout::new(config.log));
        let initial = |output: &OutputConfig| if output.enabled { OutputState::Idle } else { OutputState::Disabled };
        let ledger = Ledger::new(config.name.clone(), shared.events.clone());
        let meter = |output: &OutputConfig| OutputMeter::new(output.id.clone(), ledger.clone(), initial(output));
        let output_meters = config.outputs.iter().map(|output| Arc::new(meter(output))).collect();
        let input_meters = config.inputs.iter().map(|_| Arc::default()).collect();
        let handle = RelayHandle { requests: sender, fanout: Arc::clone(&fanout), ledger: ledger.clone() };
        let task = Self {
            config,
            shared,
            requests,
            fanout,
            input_meters,
            output_meters,
            running: None,
            finished: None,
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
    ///
    /// Waits on: its inputs' reports, the next moment a decision is due, audio that is to leave, requests, the end of
    /// a child task, the status line's interval, cancellation.
    pub async fn run(mut self) {
        if self.config.autostart {
            self.start();
        }
        let mut status_line = interval(STATUS_LINE);
        status_line.set_missed_tick_behavior(MissedTickBehavior::Delay);
        status_line.reset();
        let mut batch = Vec::new();
        loop {
            let now = Instant::now();
            let wake_at = self.running.as_ref().map(|running| running.wake_at(now));
            tokio::select! {
                happening = next(self.running.as_mut(), &mut batch) => match happening {
                    Happening::Reported => self.take_in(&mut batch),
                    Happening::Ended(ended) => self.child_ended(ended),
                },
                () = sleep_until(wake_at.unwrap_or(now).into()), if wake_at.is_some() => {
                    if let Some(running) = &mut self.running {
                        running.wake(&self.fanout, Instant::now());
                    }
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request),
                    None => break,
                },
                _ = status_line.tick() => self.log_status(),
                () = self.cancel.cancelled() => break,
            }
            if self.act(Instant::now()) {
                info!("every input has ended: the relay stops");
                self.finished = self.stop().await;
            }
        }
        self.stop().await;
    }

    /// The status tells the new selection at once; the input feeds as soon as it can.
    fn switch(&mut self, name: &str) -> Option<RelayStatus> {
        let (input, now) = (self.config.inputs.iter().position(|input| input.name == name)?, Instant::now());
        if let Some(running) = &mut self.running {
            running.failover.switch(input, now);
        }
        self.act(now);
        Some(self.status(now))
    }

    fn take_in(&mut self, batch: &mut Vec<Reports>) {
        let (Some(running), now) = (&mut self.running, Instant::now()) else { return };
        for Reports { input, reports } in batch.drain(..) {
            for report in reports {
                running.failover.handle(input, report, now);
            }
        }
    }

    fn start(&mut self) {
        let kinds = self.config.inputs.iter().map(|input| {
            let kind = match input.source {
                InputSource::Pull(_) => InputKind::Pull,
                InputSource::Push(_) => InputKind::Push,
                InputSource::Vod(_) => InputKind::Vod,
            };
            (input.name.clone(), kind)
        });
        let (config, now) = (&self.config, Instant::now());
        let failover = Failover::new(config.failover.clone(), &config.timeline, config.log, kinds, now)
            .with_metadata_limits(self.shared.inputs.limits.metadata());
        let (reports, incoming) = mpsc::channel(REPORTS);
        self.running = Some(Running {
            failover,
            inputs: vec![None; config.inputs.len()],
            reports,
            incoming,
            tasks: JoinSet::new(),
            children: HashMap::new(),
            outputs: self.cancel.child_token(),
            flush_at: None,
            placed: Vec::new(),
            phase: Phase::Starting,
            stopping: false,
        });
        for output in 0..self.config.outputs.len() {
            self.start_output(output, Duration::ZERO);
        }
        info!(inputs = self.config.inputs.len(), outputs = self.config.outputs.len(), "started");
        self.act(now);
    }

    /// Ends the inputs at once and the outputs in good order; goes on answering meanwhile.
    async fn stop(&mut self) -> Option<Failover> {
        let running = self.running.as_mut()?;
        running.stopping = true;
        running.inputs.fill(None);
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
        for meter in &self.output_meters {
            if meter.state() != OutputState::Disabled {
                meter.enter(OutputState::Idle);
            }
        }
        info!("stopped");
        Some(running.failover)
    }

    /// The decisions to be seen: of this run, or of the one that came to its end.
    fn failover(&self) -> Option<&Failover> {
        self.running.as_ref().map(|running| &running.failover).or(self.finished.as_ref())
    }

    /// Carries out what has been decided. True when the relay is to stop.
    fn act(&mut self, now: Instant) -> bool {
        let mut finish = false;
        while let Some(action) = self.running.as_mut().and_then(|running| running.failover.next_action()) {
            match action {
                Action::Emit(placed) => {
                    if let Some(running) = &mut self.running {
                        running.placed.push(placed);
                    }
                    continue;
                }
                Action::Start(input) => self.start_input(input, Duration::ZERO),
                Action::Stop(input) => {
                    if let Some(running) = &mut self.running {
                        running.inputs[input] = None;
                    }
                }
                Action::Restart(input, reason) => self.command(input, Command::Restart(reason)),
                Action::Play(input) => self.command(input, Command::Play),
                Action::EndSessions => self.fanout.end_programme(),
                Action::Finish => finish = true,
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
        finish
    }

    fn command(&self, input: usize, command: Command) {
        let task = self.running.as_ref().and_then(|running| running.inputs[input].as_ref());
        // A task with that many commands unread is about to end its connection anyway.
        if task.is_some_and(|task| task.try_send(command).is_err()) {
            warn!(input = self.config.inputs[input].name, ?command, "the input does not listen");
        }
    }

    fn start_input(&mut self, input: usize, pause: Duration) {
        let Some(running) = &mut self.running else { return };
        let config = self.config.inputs[input].clone();
        let span = info_span!("input", input = config.name);
        let (commands, receiver) = mpsc::channel(8);
        running.inputs[input] = Some(commands);
        let meter = Arc::clone(&self.input_meters[input]);
        let egress = Egress::of(self.config.origin, &self.shared.egress);
        let shared = input::Shared { egress, ..self.shared.inputs.clone() };
        let task = input::run(input, config, shared, running.reports.clone(), receiver, meter);
        let lane = self.seat.lane().handle();
        let id = running.tasks.spawn_on(after(pause, task).instrument(span), lane).id();
        running.children.insert(id, Child::Input(input));
    }

    fn start_output(&mut self, output: usize, pause: Duration) {
        let Some(running) = &mut self.running else { return };
        let config = self.config.outputs[output].clone();
        let meter = Arc::clone(&self.output_meters[output]);
        if !config.enabled {
            meter.enter(OutputState::Disabled);
            return;
        }
        if config.tls.insecure {
            warn!(output = config.id, "insecure_tls: the server's certificate is NOT verified");
        }
        let span = info_span!("output", output = config.id);
        let tls = self.shared.tls.for_output(&config.tls);
        let fanout = Arc::clone(&self.fanout);
        let egress = Egress::of(config.origin, &self.shared.egress);
        let (home, seat) = (self.seat.lane(), self.shared.lanes.for_output(self.seat.lane()));
        let lane = seat.lane().clone();
        let head = if lane.index() == home.index() { fanout.subscribe() } else { fanout.subscribe_on(&lane) };
        let task = Output {
            config,
            fanout,
            head,
            flushers: self.flushers.clone(),
            lane: lane.clone(),
            meter,
            tls,
            egress,
            cancel: running.outputs.child_token(),
        };
        let task = async move {
            tokio::time::sleep(pause).await;
            task.run().await;
            drop(seat);
        };
        let id = running.tasks.spawn_on(task.instrument(span), lane.handle()).id();
        running.children.insert(id, Child::Output(output));
    }

    /// A task that panicked is started again: one output's bug is nobody else's trouble.
    fn child_ended(&mut self, ended: Result<Id, JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |id| *id);
        let child = self.running.as_mut().and_then(|running| running.children.remove(&id));
        let (Err(failure), Some(child)) = (ended, child) else { return };
        if !failure.is_panic() {
            return;
        }
        self.shared.panics.fetch_add(1, Relaxed);
        error!(?child, "a task panicked and is started again");
        match child {
            Child::Output(output) => self.start_output(output, RESTART_PAUSE),
            Child::Input(input) => {
                let Some(running) = &mut self.running else { return };
                running.failover.handle(input, relay::Report::Lost { reason: relay::Reason::Panic }, Instant::now());
                if running.inputs[input].is_some() {
                    self.start_input(input, RESTART_PAUSE);
                }
            }
        }
    }
}

impl Running {
    fn wake_at(&self, now: Instant) -> Instant {
        let decision = self.failover.wake_at(now);
        self.flush_at.map_or(decision, |flush_at| flush_at.min(decision))
    }

    fn wake(&mut self, fanout: &Fanout, now: Instant) {
        if self.flush_at.is_some_and(|flush_at| flush_at <= now) {
            self.flush_at = None;
            fanout.flush();
        }
        self.failover.tick(now);
    }

    /// Puts what has been placed into the log.
    fn publish(&mut self, fanout: &Fanout, now: Instant) {
        if self.placed.is_empty() {
            return;
        }
        let flush_at = fanout.push(&self.placed, now);
        self.placed.clear();
        self.flush_at = flush_at.map(|new| self.flush_at.map_or(new, |old| old.min(new)));
    }
}

/// The next thing to happen to a relay that runs.
async fn next(running: Option<&mut Running>, batch: &mut Vec<Reports>) -> Happening {
    let Some(running) = running else { return std::future::pending().await };
    tokio::select! {
        _ = running.incoming.recv_many(batch, BATCH) => Happening::Reported,
        Some(ended) = running.tasks.join_next_with_id() => Happening::Ended(ended.map(|(id, ())| id)),
    }
}

enum Happening {
    /// Reports are in the batch.
    Reported,
    /// A child task ended.
    Ended(Result<Id, JoinError>),
}

/// Runs a task after a pause: one that panics at its start is not started again and again without end.
async fn after(pause: Duration, task: impl Future<Output = ()>) {
    tokio::time::sleep(pause).await;
    task.await;
}

/// How long a task that panicked rests.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Batches of reports that may wait: beyond it the inputs' TCP slows their servers down.
const REPORTS: usize = 64;
/// Batches taken in before the log is written.
const BATCH: usize = 16;
/// One line about each relay this often.
const STATUS_LINE: Duration = Duration::from_secs(10);
/// How long the outputs may take to end their sessions.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
