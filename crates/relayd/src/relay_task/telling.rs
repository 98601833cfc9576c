//! What a relay tells of itself: status, events, log lines.

use std::{sync::PoisonError, time::Instant};

use relay::{Event, EventKind, Failover, InputCounters, Phase};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{PanicIn, RelayTask, Request};
use crate::{
    config::InputSource,
    events::Happened,
    status::{DroppedByCause, InputStatus, RelayStatus},
    test_hooks::Hook,
};

impl RelayTask {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => drop(reply.send(self.status(Instant::now()))),
            Request::Switch(input, reply) => drop(reply.send(self.switch(&input))),
            Request::Ping(reply) => drop(reply.send(())),
            // The whole lane is stuck with it, as it would be.
            Request::Wedge(Some(pause)) => std::thread::sleep(pause),
            Request::Wedge(None) => loop {
                std::thread::park();
            },
            Request::Reconfigure(config, reply) => {
                // Whoever has given up waiting has told that the old one stays in force.
                if reply.send(()).is_ok() {
                    self.reconfigure(*config);
                }
            }
            Request::Panic(task, reply) => self.panic(&task, reply),
        }
    }

    fn panic(&self, task: &PanicIn, reply: oneshot::Sender<bool>) {
        let (inputs, outputs) = (&self.config.inputs, &self.config.outputs);
        let of_output = |id: &String| {
            let output = outputs.iter().position(|config| config.id == *id)?;
            self.outputs[output].hook()
        };
        let hit = match task {
            PanicIn::Relay => self.shared.hooks.are_on(),
            PanicIn::Input(name) => {
                let input = inputs.iter().position(|config| config.name == *name);
                input.and_then(|input| self.inputs[input].hook()).is_some_and(Hook::panic_in_task)
            }
            PanicIn::Output(id) => of_output(id).is_some_and(Hook::panic_in_task),
            PanicIn::Flusher(id) => of_output(id).is_some_and(Hook::panic_in_write),
        };
        let _ = reply.send(hit);
        assert!(!(hit && *task == PanicIn::Relay), "the test hook");
    }

    pub(super) fn record(&mut self, event: &Event, now: Instant) {
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

    /// Says which tags inputs have lost since it last did: each input's of one cause once per second. What was passed over
    /// is no loss.
    pub(super) fn say_what_was_dropped(&mut self, now: Instant) {
        let Some(running) = &self.running else { return };
        for (slot, input) in self.inputs.iter_mut().zip(running.failover.inputs()) {
            let mut lost = dropped_by_cause(&input.counters());
            lost.iter_mut().filter(|(cause, _)| *cause == PASSED_OVER).for_each(|(_, count)| *count = 0);
            for (cause, tags) in slot.losses.due(&lost, now) {
                info!(input = input.name, cause, tags, "tags were not relayed");
            }
        }
    }

    pub(super) fn say_how_to_watch(&self) {
        let command = self.shared.watch_with.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(command) = command {
            info!("on air; watch with: {command}/live/{}.flv", self.config.name);
        }
    }

    pub(super) fn log_status(&self) {
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

    pub(super) fn status(&self, now: Instant) -> RelayStatus {
        let config = &self.config;
        let failover = self.failover();
        // While the relay rests from a panic, nothing feeds.
        let active = failover.filter(|_| !self.rest.is_on()).and_then(Failover::active);
        let name_of = |input: usize| Some(failover?.inputs().get(input)?.name.clone());
        let selected = failover.and_then(|failover| name_of(failover.selected()));
        let state = match failover.map(Failover::phase) {
            None => "stopped",
            Some(_) if self.running.as_ref().is_some_and(|running| running.stopping) => "stopping",
            Some(Phase::Starting) => "starting",
            Some(Phase::Running) if self.rest.is_on() => "holding",
            Some(Phase::Running) => "running",
            Some(Phase::Holding) => "holding",
            Some(Phase::Finished) => "stopped",
        };
        let outputs = config.outputs.iter().zip(&self.outputs);
        let (log_bytes, log_span) = {
            let log = self.fanout.log();
            (log.bytes(), log.span())
        };
        RelayStatus {
            name: config.name.clone(),
            title: config.title.clone(),
            origin: config.origin.name(),
            state,
            selected_input: selected.or_else(|| config.inputs.first().map(|input| input.name.clone())),
            active_input: active.and_then(name_of),
            splices: failover.map_or(0, |failover| failover.splices().values().sum()),
            splices_by_reason: failover
                .map(|failover| failover.splices().iter().map(|(reason, count)| (reason.name(), *count)).collect())
                .unwrap_or_default(),
            log_bytes,
            log_span,
            timeline_ms: failover.map_or(0, Failover::timeline_ms),
            inputs: (0..config.inputs.len()).map(|input| self.input_status(input, now)).collect(),
            outputs: outputs.map(|(output, slot)| slot.meter.status(output, now)).collect(),
        }
    }

    fn input_status(&self, input: usize, now: Instant) -> InputStatus {
        let config = &self.config.inputs[input];
        let (kind, url) = match &config.source {
            InputSource::Pull(pull) => ("pull", Some(pull.url.to_string())),
            InputSource::Push(_) => ("push", None),
            InputSource::Vod(vod) => ("vod", vod.items.first().map(ToString::to_string)),
        };
        // By its name: a relay that has ended or rests shows numbers from before a change of the list.
        let known = self.failover().and_then(|failover| {
            let place = failover.inputs().iter().position(|it| it.name == config.name)?;
            Some((failover, place))
        });
        let it = known.map(|(failover, place)| &failover.inputs()[place]);
        let up = known.filter(|_| !self.rest.is_on());
        let counters = it.map(relay::Input::counters).unwrap_or_default();
        InputStatus {
            name: config.name.clone(),
            kind,
            url,
            state: up.map_or("idle", |(failover, place)| failover.input_state(place, now)),
            aligned_with: up
                .and_then(|(failover, place)| Some(&failover.inputs()[failover.aligned_with(place)?]))
                .map(|other| other.name.clone()),
            bitrate_bps: up.map_or(0, |(failover, place)| failover.inputs()[place].bitrate()),
            tags: counters.audio_tags + counters.video_tags + counters.script_tags,
            tags_by_kind: [
                ("audio", counters.audio_tags),
                ("video", counters.video_tags),
                ("script", counters.script_tags),
            ],
            dropped_by_cause: dropped_by_cause(&counters),
            lost_by_reason: self.inputs[input].meter.lost_by_reason(),
            bytes: counters.bytes,
            gop_ms: it.and_then(relay::Input::gop_ms),
            dts_faults: it.map(|it| it.faults().into()).unwrap_or_default(),
            reconnects: counters.reconnects,
            last_error: self.inputs[input].meter.last_error(),
        }
    }
}

/// What came and was not relayed. ARCHITECTURE.md says what the words mean.
fn dropped_by_cause(counters: &InputCounters) -> DroppedByCause {
    [
        ("empty", counters.empty_tags),
        ("script", counters.dropped_scripts),
        ("sequence_end", counters.sequence_ends),
        ("unstarted", counters.unstarted_tags),
        ("oversized", counters.oversized_headers),
        (PASSED_OVER, counters.passed_over_tags),
    ]
}

const PASSED_OVER: &str = "passed_over";
