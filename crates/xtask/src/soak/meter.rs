//! The daemon's numbers every few seconds.

use std::{collections::BTreeMap, fs, time::Duration};

use testkit::{Relayd, http};
use tokio::time::Instant;

use super::stage::{self, RELAYS, Stage};

/// What was seen at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) at: Duration,
    /// Resident memory in KiB.
    pub(crate) resident: u64,
    /// Outputs that are live.
    pub(crate) live: usize,
    /// Splices of all relays.
    pub(crate) splices: u64,
    /// Sessions after the first, of all outputs.
    pub(crate) reconnects: u64,
    /// Tags left out, of all outputs.
    pub(crate) skipped: u64,
}

/// Samples of one daemon, and what is wrong with its answers.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) samples: Vec<Sample>,
    /// Tags left out by output id.
    pub(crate) skipped: BTreeMap<String, u64>,
    pub(crate) failures: Vec<String>,
}

impl Meter {
    /// Looks at everything once.
    pub(crate) async fn sample(&mut self, relayd: &Relayd, stage: &Stage, start: Instant) {
        let mut sample = Sample {
            at: start.elapsed(),
            resident: resident(relayd.pid()).unwrap_or(0),
            live: 0,
            splices: 0,
            reconnects: 0,
            skipped: 0,
        };
        for relay in 0..RELAYS.len() {
            let status = match stage::status(relayd, relay).await {
                Ok(status) => status,
                Err(failure) => {
                    self.fail(failure);
                    continue;
                }
            };
            sample.splices += status["splices"].as_u64().unwrap_or(0);
            for output in status["outputs"].as_array().into_iter().flatten() {
                let number = |key: &str| output[key].as_u64().unwrap_or(0);
                sample.live += usize::from(output["state"] == "live");
                sample.reconnects += number("reconnects");
                sample.skipped += number("skipped_tags");
                let id = output["id"].as_str().unwrap_or_default().to_owned();
                self.skipped.insert(id, number("skipped_tags"));
            }
        }
        match http::request(relayd.admin(), "GET", "/metrics", &[], b"").await {
            Ok(answer) if answer.status == 200 && answer.text().contains("\nrelayd_tasks_panicked_total 0\n") => {}
            Ok(answer) => self.fail(format!("/metrics: {}: {}", answer.status, answer.text())),
            Err(error) => self.fail(format!("/metrics: {error}")),
        }
        for platform in &stage.platforms {
            platform.judge.look();
        }
        self.samples.push(sample);
    }

    /// The highest resident memory between two moments, in KiB.
    pub(crate) fn highest(&self, from: Duration, to: Duration) -> u64 {
        let within = self.samples.iter().filter(|sample| (from..=to).contains(&sample.at));
        within.map(|sample| sample.resident).max().unwrap_or(0)
    }

    fn fail(&mut self, failure: String) {
        if self.failures.len() < 20 {
            self.failures.push(failure);
        }
    }
}

/// A process's resident memory in KiB.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
