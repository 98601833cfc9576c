//! The relay task: owns every decision of one relay, and carries them out.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use relay::{Action, Event, EventKind, Failover, InputKind, Phase, Placed};
use tokio::{
    sync::{mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use crate::{
    config::{InputSource, OutputConfig, RelayConfig},
    events::{EventBus, Happened, Ledger},
    fanout::Fanout,
    input::{self, Command, InputMeter, Reports},
    output::Output,
    status::{InputStatus, OutputMeter, OutputState, RelayStatus},
    throttle::Throttle,
    tls::TlsConfigs,
};

/// What a relay can be asked.
#[derive(Debug)]
pub enum Request {
    /// Its status.
    Status(oneshot::Sender<RelayStatus>),
    /// Another input is to feed. Answers with the status, or with nothing when there is no such input.
    Switch(String, oneshot::Sender<Option<RelayStatus>>),
}

/// The way to a relay's task.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    requests: mpsc::Sender<Request>,
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

    /// Lets the input of that name feed as soon as it can. `Some(None)` when there is none; `None` when the task does
    /// not answer.
    pub async fn switch(&self, input: String) -> Option<Option<RelayStatus>> {
        self.ask(|reply| Request::Switch(input, reply)).await
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

/// What all relays of the process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// For inputs.
    pub inputs: input::Shared,
    /// For outputs.
    pub tls: TlsConfigs,
    /// Tasks that panicked and were started again.
    pub panics: Arc<AtomicU64>,
    /// Where events are told.
    pub events: EventBus,
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
        };
        (task, handle)
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
                    Some(Request::Status(reply)) => drop(reply.send(self.status(Instant::now()))),
                    Some(Request::Switch(input, reply)) => drop(reply.send(self.switch(&input))),
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
        let failover = Failover::new(config.failover.clone(), &config.timeline, config.log, kinds, now);
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
        });
        for output in 0..self.config.outputs.len() {
            self.start_output(output);
        }
        info!(inputs = self.config.inputs.len(), outputs = self.config.outputs.len(), "started");
        self.act(now);
    }

    /// Ends the inputs at once and the outputs in good order.
    async fn stop(&mut self) -> Option<Failover> {
        let mut running = self.running.take()?;
        running.inputs.clear();
        running.incoming.close();
        running.outputs.cancel();
        let ended = timeout(DRAIN_LIMIT, async { while running.tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            warn!(tasks = running.tasks.len(), "did not end in time");
        }
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
                Action::Start(input) => self.start_input(input),
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

    fn start_input(&mut self, input: usize) {
        let Some(running) = &mut self.running else { return };
        let config = self.config.inputs[input].clone();
        let span = info_span!("input", input = config.name);
        let (commands, receiver) = mpsc::channel(8);
        running.inputs[input] = Some(commands);
        let meter = Arc::clone(&self.input_meters[input]);
        let task = input::run(input, config, self.shared.inputs.clone(), running.reports.clone(), receiver, meter);
        let id = running.tasks.spawn(task.instrument(span)).id();
        running.children.insert(id, Child::Input(input));
    }

    fn start_output(&mut self, output: usize) {
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
        let task = Output { config, fanout, meter, tls, cancel: running.outputs.child_token() };
        let id = running.tasks.spawn(task.run().instrument(span)).id();
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
            Child::Output(output) => self.start_output(output),
            Child::Input(input) => {
                let report = relay::Report::Lost { reason: relay::Reason::Panic };
                if let Some(running) = &mut self.running {
                    running.failover.handle(input, report, Instant::now());
                }
                self.start_input(input);
            }
        }
    }

    fn record(&mut self, event: &Event, now: Instant) {
        let name = event.input.map(|input| self.config.inputs[input].name.as_str());
        let happened = Happened { input: name, dts: event.dts, detail: &event.detail, ..Happened::default() };
        self.ledger.record(event.kind, event.reason, &happened);
        let Some(suppressed) = self.throttle.admit((event.kind.name(), event.reason), now) else { return };
        let input = event.input.map_or("", |input| self.config.inputs[input].name.as_str());
        let (dts_before, dts_after) = event.dts.unzip();
        let (kind, reason, detail) = (event.kind.name(), event.reason, event.detail.as_str());
        match event.kind {
            EventKind::Fault => warn!(input, reason, dts_before, dts_after, suppressed, "{kind}"),
            EventKind::Splice => warn!(input, reason, dts_before, dts_after, detail, suppressed, "{kind}"),
            EventKind::State | EventKind::Skip | EventKind::Hold => info!(input, reason, detail, suppressed, "{kind}"),
        }
    }

    fn say_how_to_watch(&self) {
        if let Some(base) = &self.shared.watch_at {
            info!("on air; watch with: ffplay {base}/live/{}.flv", self.config.name);
        }
    }

    fn log_status(&self) {
        let status = self.status(Instant::now());
        let live = status.outputs.iter().filter(|output| output.state == "live").count();
        let bitrate = status.inputs.iter().find(|input| Some(&input.name) == status.active_input.as_ref());
        let lag_ms = status.outputs.iter().map(|output| output.lag_ms).max().unwrap_or(0);
        let skipped: u64 = status.outputs.iter().map(|output| output.skipped_tags).sum();
        info!(
            state = status.state,
            input = status.active_input.as_deref().unwrap_or("none"),
            kbps = bitrate.map_or(0, |input| input.bitrate_bps / 1_000),
            live = format_args!("{live}/{}", status.outputs.len()),
            splices = status.splices,
            skipped,
            lag_ms,
            "status"
        );
    }

    fn status(&self, now: Instant) -> RelayStatus {
        let config = &self.config;
        let failover = self.failover();
        let name_of = |input: usize| config.inputs.get(input).map(|input| input.name.clone());
        let state = match failover.map(Failover::phase) {
            None => "stopped",
            Some(_) if self.cancel.is_cancelled() => "stopping",
            Some(Phase::Starting) => "starting",
            Some(Phase::Running) => "running",
            Some(Phase::Holding) => "holding",
            Some(Phase::Finished) => "stopped",
        };
        let outputs = config.outputs.iter().zip(&self.output_meters);
        let (log_bytes, log_span) = {
            let log = self.fanout.log();
            (log.bytes(), log.span())
        };
        RelayStatus {
            name: config.name.clone(),
            title: config.title.clone(),
            origin: "file",
            state,
            selected_input: name_of(failover.map_or(0, Failover::selected)),
            active_input: failover.and_then(Failover::active).and_then(name_of),
            splices: failover.map_or(0, |failover| failover.splices().values().sum()),
            splices_by_reason: failover
                .map(|failover| failover.splices().iter().map(|(reason, count)| (reason.name(), *count)).collect())
                .unwrap_or_default(),
            log_bytes,
            log_span,
            timeline_ms: failover.map_or(0, Failover::timeline_ms),
            inputs: (0..config.inputs.len()).map(|input| self.input_status(input, now)).collect(),
            outputs: outputs
                .map(|(output, meter)| meter.status(&output.id, &output.name, output.target.to_string(), now))
                .collect(),
        }
    }

    fn input_status(&self, input: usize, now: Instant) -> InputStatus {
        let config = &self.config.inputs[input];
        let (kind, url) = match &config.source {
            InputSource::Pull(pull) => ("pull", Some(pull.url.to_string())),
            InputSource::Push(_) => ("push", None),
            InputSource::Vod(vod) => ("vod", vod.items.first().map(ToString::to_string)),
        };
        let failover = self.failover();
        let it = failover.map(|failover| &failover.inputs()[input]);
        let counters = it.map(|it| *it.counters()).unwrap_or_default();
        InputStatus {
            name: config.name.clone(),
            kind,
            url,
            state: failover.map_or("idle", |failover| failover.input_state(input, now)),
            aligned_with: failover
                .and_then(|failover| failover.aligned_with(input))
                .map(|other| self.config.inputs[other].name.clone()),
            bitrate_bps: it.map_or(0, relay::Input::bitrate),
            tags: counters.audio_tags + counters.video_tags + counters.script_tags,
            tags_by_kind: [
                ("audio", counters.audio_tags),
                ("video", counters.video_tags),
                ("script", counters.script_tags),
            ],
            bytes: counters.bytes,
            gop_ms: it.and_then(relay::Input::gop_ms),
            dts_faults: it.map(|it| it.faults().into()).unwrap_or_default(),
            reconnects: counters.reconnects,
            last_error: self.input_meters[input].last_error(),
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

/// Batches of reports that may wait: beyond it the inputs' TCP slows their servers down.
const REPORTS: usize = 64;
/// Batches taken in before the log is written.
const BATCH: usize = 16;
/// One line about each relay this often.
const STATUS_LINE: Duration = Duration::from_secs(10);
/// How long the outputs may take to end their sessions.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// How long a relay may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
