//! What a relay tells of itself: status, events, log lines.

use std::time::Instant;

use relay::{Event, EventKind, Failover, Phase};
use tracing::{info, warn};

use super::{RelayTask, Request};
use crate::{
    config::InputSource,
    events::Happened,
    status::{InputStatus, RelayStatus},
};

impl RelayTask {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => drop(reply.send(self.status(Instant::now()))),
            Request::Switch(input, reply) => drop(reply.send(self.switch(&input))),
            Request::Ping(reply) => drop(reply.send(())),
            // The whole lane is stuck with it, as it would be.
            Request::Wedge => loop {
                std::thread::park();
            },
        }
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

    pub(super) fn say_how_to_watch(&self) {
        if let Some(base) = &self.shared.watch_at {
            info!("on air; watch with: ffplay {base}/live/{}.flv", self.config.name);
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
        let name_of = |input: usize| config.inputs.get(input).map(|input| input.name.clone());
        let state = match failover.map(Failover::phase) {
            None => "stopped",
            Some(_) if self.running.as_ref().is_some_and(|running| running.stopping) => "stopping",
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
            origin: config.origin.name(),
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
            outputs: outputs.map(|(output, meter)| meter.status(output, now)).collect(),
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
        let counters = it.map(relay::Input::counters).unwrap_or_default();
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
            dropped_by_cause: [
                ("empty", counters.empty_tags),
                ("script", counters.dropped_scripts),
                ("sequence_end", counters.sequence_ends),
                ("unstarted", counters.unstarted_tags),
                ("passed_over", counters.passed_over_tags),
            ],
            lost_by_reason: self.input_meters[input].lost_by_reason(),
            bytes: counters.bytes,
            gop_ms: it.and_then(relay::Input::gop_ms),
            dts_faults: it.map(|it| it.faults().into()).unwrap_or_default(),
            reconnects: counters.reconnects,
            last_error: self.input_meters[input].last_error(),
        }
    }
}
