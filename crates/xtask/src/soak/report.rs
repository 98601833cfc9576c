//! What is printed, and what counts against the run.

use std::{collections::BTreeMap, time::Duration};

use super::{
    acts::Played,
    meter::{Meter, Sample},
    stage::{RELAYS, Stage},
};

/// Resident memory after the warm-up and at the end, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    warm: u64,
    end: u64,
}

impl Memory {
    /// The highest of the warm-up's last minute, and of the last twenty seconds.
    pub(crate) fn of(meter: &Meter) -> Self {
        let last = meter.samples.last().map_or(Duration::ZERO, |sample| sample.at);
        Self {
            warm: meter.highest(WARM_UP - Duration::from_secs(60), WARM_UP),
            end: meter.highest(last.saturating_sub(Duration::from_secs(20)), last),
        }
    }

    fn has_grown(&self) -> bool {
        self.warm == 0 || self.end * 100 > self.warm * (100 + GROWTH_PERCENT)
    }
}

/// One sample in a line.
pub(crate) fn line(sample: &Sample) -> String {
    let Sample { resident, live, splices, reconnects, skipped, .. } = sample;
    format!("{resident} KiB, {live} live, {splices} splices, {reconnects} reconnects, {skipped} tags left out")
}

/// Prints everything; returns how much of it counts against the run.
pub(crate) fn print(
    stage: &Stage,
    meter: &Meter,
    memory: &Memory,
    played: &Played,
    events: &BTreeMap<String, u64>,
    skipped: &BTreeMap<String, u64>,
    end: Option<anyhow::Error>,
) -> usize {
    println!("\nsamples");
    let step = (meter.samples.len() / LINES).max(1);
    for sample in meter.samples.iter().step_by(step) {
        println!("  {:>5} s  {}", sample.at.as_secs(), line(sample));
    }
    println!("what was done");
    for (name, count) in &played.counts {
        println!("  {count:>5}  {name}");
    }
    println!("events told");
    for (name, count) in events {
        println!("  {count:>5}  {name}");
    }
    println!(
        "outputs: relay, sessions, frames, splices, frames missed by inputs, left out, either, counted by the daemon, latest"
    );
    let mut findings: Vec<String> = Vec::new();
    let mut total = 0;
    for platform in &stage.platforms {
        let (tally, id) = (platform.judge.tally(), &platform.id);
        let counted = skipped.get(id).copied().unwrap_or(0);
        total += tally.frames;
        println!(
            "  {id:>3} {:<7}{} {:>4} {:>8} {:>4} {:>6} {:>6} {:>6} {:>6} {:>6} ms",
            RELAYS[platform.relay],
            if platform.is_witness { "*" } else { " " },
            tally.sessions,
            tally.frames,
            tally.splices,
            tally.missed_by_inputs,
            tally.left_out,
            tally.left_out_or_missed,
            counted,
            tally.latest.as_millis(),
        );
        if tally.left_out_unasked > 0 {
            println!("      {} of them while nothing was done to the output", tally.left_out_unasked);
        }
        if tally.left_out > counted {
            let uncounted = tally.left_out - counted;
            findings.push(format!("output {id}: {uncounted} frames are missing that the daemon has not counted"));
        }
        findings.extend(tally.offences.iter().map(|offence| format!("output {id}: {offence}")));
    }
    findings.extend(played.failures.iter().cloned());
    findings.extend(meter.failures.iter().cloned());
    findings.extend(end.map(|error| error.to_string()));
    println!("{total} frames judged; * marks outputs to which nothing was done");
    let growth = memory.end as f64 * 100.0 / memory.warm.max(1) as f64 - 100.0;
    println!("resident after the warm-up {} KiB, at the end {} KiB: {growth:+.1} %", memory.warm, memory.end);
    if memory.has_grown() {
        findings.push(format!("memory grew by {growth:.1} %, allowed are {GROWTH_PERCENT} %"));
    }
    for finding in &findings {
        println!("FINDING: {finding}");
    }
    println!("{}", if findings.is_empty() { "PASSED: no unexplained loss" } else { "FAILED" });
    findings.len()
}

/// Memory is settled after this.
const WARM_UP: Duration = Duration::from_secs(180);
/// How much more there may be at the end.
const GROWTH_PERCENT: u64 = 5;
/// Samples printed.
const LINES: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_five_percent_is_seen() {
        let meter = |end: u64| {
            let sample = |secs: u64, resident| Sample {
                at: Duration::from_secs(secs),
                resident,
                live: 0,
                splices: 0,
                reconnects: 0,
                skipped: 0,
            };
            let samples = vec![sample(10, 500), sample(150, 1_000), sample(500, 3_000), sample(1_790, end)];
            Meter { samples, ..Meter::default() }
        };
        assert!(!Memory::of(&meter(1_050)).has_grown());
        assert!(Memory::of(&meter(1_051)).has_grown());
        assert!(Memory::of(&Meter::default()).has_grown(), "nothing was measured");
    }
}
