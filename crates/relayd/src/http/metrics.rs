//! `/metrics`: the numbers of the status in Prometheus's text format 0.0.4.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus::{
    Encoder, GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder,
    process_collector::ProcessCollector,
    proto::{Gauge, Metric},
};

use super::{Http, problem::Problem};
use crate::{
    ingest::Census,
    log_writer, panic_hook,
    status::{InputStatus, OutputStatus, RelayStatus},
};

/// Made anew for each scrape from what the relays tell: nothing is counted twice, and no series outlives its subject.
pub(super) async fn metrics(State(http): State<Http>) -> Response {
    let statuses = http.statuses().await;
    let text = Families::new().and_then(|families| {
        for status in &statuses {
            families.add_relay(status);
        }
        families.panics.inc_by(panic_hook::count());
        let lost = log_writer::lost();
        for (reason, lines) in [("no_room", lost.no_room), ("unwritten", lost.unwritten)] {
            families.lost_log_lines.with_label_values(&[reason]).inc_by(lines);
        }
        families.add_census(&http.census);
        for (reason, count) in http.refusals.counts() {
            families.http_refused.with_label_values(&[reason]).inc_by(count);
        }
        families.text(http.started)
    });
    match text {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written").into_response()
        }
    }
}

struct Families {
    registry: Registry,
    input_up: IntGaugeVec,
    input_active: IntGaugeVec,
    input_bytes: IntCounterVec,
    input_tags: IntCounterVec,
    input_dropped_tags: IntCounterVec,
    input_dts_faults: IntCounterVec,
    input_reconnects: IntCounterVec,
    input_lost: IntCounterVec,
    splices: IntCounterVec,
    output_up: IntGaugeVec,
    output_bytes: IntCounterVec,
    output_tags: IntCounterVec,
    output_skipped_tags: IntCounterVec,
    output_lag: GaugeVec,
    output_reconnects: IntCounterVec,
    log_bytes: IntGaugeVec,
    log_seconds: GaugeVec,
    panics: IntCounter,
    lost_log_lines: IntCounterVec,
    ingest_present: IntGaugeVec,
    ingest_total: IntCounter,
    ingest_closed: IntCounterVec,
    http_refused: IntCounterVec,
}

impl Families {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counter = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let family = IntCounterVec::new(Opts::new(format!("relayd_{name}"), help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let family = IntGaugeVec::new(Opts::new(format!("relayd_{name}"), help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<GaugeVec> {
            let family = GaugeVec::new(Opts::new(format!("relayd_{name}"), help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let panics = IntCounter::new("relayd_tasks_panicked_total", "Tasks that panicked; they are started again.")?;
        registry.register(Box::new(panics.clone()))?;
        let ingest_total = IntCounter::new("relayd_ingest_accepted_total", "Connections that came to the ingest.")?;
        registry.register(Box::new(ingest_total.clone()))?;
        let (input, output) = (["relay", "input"], ["relay", "output"]);
        let by_kind = ["relay", "input", "kind"];
        Ok(Self {
            input_up: gauge("input_up", "1 while the input is connected and usable.", &input)?,
            input_active: gauge("input_active", "1 while the input feeds the programme.", &input)?,
            input_bytes: counter("input_bytes_total", "Bytes received.", &input)?,
            input_tags: counter("input_tags_total", "Tags received.", &by_kind)?,
            input_dropped_tags: counter(
                "input_dropped_tags_total",
                "Tags received and not relayed.",
                &["relay", "input", "cause"],
            )?,
            input_dts_faults: counter("input_dts_faults_total", "Faults of the source's timestamps.", &by_kind)?,
            input_reconnects: counter("input_reconnects_total", "Connections after the first.", &input)?,
            input_lost: counter(
                "input_lost_total",
                "Connections that ended or did not come about.",
                &["relay", "input", "reason"],
            )?,
            splices: counter(
                "splices_total",
                "Passes from one input, or one epoch of it, to another.",
                &["relay", "reason"],
            )?,
            output_up: gauge("output_up", "1 while the output is live.", &output)?,
            output_bytes: counter("output_bytes_total", "Bytes sent.", &output)?,
            output_tags: counter("output_tags_total", "Tags sent.", &output)?,
            output_skipped_tags: counter(
                "output_skipped_tags_total",
                "Tags left out because the output was late.",
                &output,
            )?,
            output_lag: seconds("output_lag_seconds", "Age of the oldest unsent entry.", &output)?,
            output_reconnects: counter("output_reconnects_total", "Sessions after the first.", &output)?,
            log_bytes: gauge("log_bytes", "Bytes held in the log.", &["relay"])?,
            log_seconds: seconds("log_seconds", "Media time held in the log.", &["relay"])?,
            panics,
            lost_log_lines: counter("log_lines_lost_total", "Log lines that were not written.", &["reason"])?,
            ingest_present: gauge("ingest_connections", "Connections to the ingest now.", &["state"])?,
            ingest_total,
            ingest_closed: counter(
                "ingest_closed_total",
                "Connections to the ingest that ended, by cause.",
                &["reason"],
            )?,
            http_refused: counter(
                "http_refused_total",
                "Clients of the HTTP side refused by its limits.",
                &["reason"],
            )?,
            registry: registry.clone(),
        })
    }

    fn add_census(&self, census: &Census) {
        let (unauthenticated, publishing) = census.present();
        for (state, count) in [("unauthenticated", unauthenticated), ("publishing", publishing)] {
            self.ingest_present.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.ingest_total.inc_by(census.total());
        for (cause, count) in census.closed() {
            self.ingest_closed.with_label_values(&[cause.name()]).inc_by(count);
        }
    }

    fn add_relay(&self, status: &RelayStatus) {
        let relay = status.name.as_str();
        self.log_bytes.with_label_values(&[relay]).set(i64::try_from(status.log_bytes).unwrap_or(i64::MAX));
        self.log_seconds.with_label_values(&[relay]).set(status.log_span.as_secs_f64());
        for (reason, count) in &status.splices_by_reason {
            self.splices.with_label_values(&[relay, reason]).inc_by(*count);
        }
        for input in &status.inputs {
            self.add_input(relay, input, status.active_input.as_ref() == Some(&input.name));
        }
        for output in &status.outputs {
            self.add_output(relay, output);
        }
    }

    fn add_input(&self, relay: &str, input: &InputStatus, is_active: bool) {
        let labels = [relay, input.name.as_str()];
        self.input_up.with_label_values(&labels).set(i64::from(matches!(input.state, "live" | "standby")));
        self.input_active.with_label_values(&labels).set(i64::from(is_active));
        self.input_bytes.with_label_values(&labels).inc_by(input.bytes);
        self.input_reconnects.with_label_values(&labels).inc_by(input.reconnects);
        for (kind, count) in input.tags_by_kind {
            self.input_tags.with_label_values(&[relay, &input.name, kind]).inc_by(count);
        }
        for (reason, count) in &input.lost_by_reason {
            self.input_lost.with_label_values(&[relay, &input.name, reason]).inc_by(*count);
        }
        for (cause, count) in input.dropped_by_cause {
            self.input_dropped_tags.with_label_values(&[relay, &input.name, cause]).inc_by(count);
        }
        for (kind, count) in input.dts_faults.by_kind() {
            self.input_dts_faults.with_label_values(&[relay, &input.name, kind]).inc_by(count);
        }
    }

    fn add_output(&self, relay: &str, output: &OutputStatus) {
        let labels = [relay, output.id.as_str()];
        self.output_up.with_label_values(&labels).set(i64::from(matches!(output.state, "live" | "skipping")));
        self.output_bytes.with_label_values(&labels).inc_by(output.bytes);
        self.output_tags.with_label_values(&labels).inc_by(output.tags);
        self.output_skipped_tags.with_label_values(&labels).inc_by(output.skipped_tags);
        self.output_lag.with_label_values(&labels).set(output.lag_ms as f64 / 1_000.0);
        self.output_reconnects.with_label_values(&labels).inc_by(output.reconnects);
    }

    fn text(&self, started: SystemTime) -> prometheus::Result<Vec<u8>> {
        let mut families = self.registry.gather();
        // The collector finds 0 where a sandbox hides the machine's own start (ProcSubset=pid).
        for family in families.iter_mut().filter(|family| family.name() == "process_start_time_seconds") {
            let mut start = Gauge::default();
            start.set_value(started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
            family.set_metric(vec![Metric::from_gauge(start)]);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}
