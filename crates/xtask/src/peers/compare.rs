//! Which runs are made, and what is printed of them.

use std::{
    fs,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};

use super::{
    measure::{Figures, Run},
    options::Options,
    parties::Party,
    sink::Treatment,
    stream::Rate,
    table::table,
    target_folder,
};

/// Makes the runs that `options` ask for.
pub(crate) fn run(options: &Options, relayd: &Path) -> Result<()> {
    raise_file_limit()?;
    let bench = Bench { options, relayd };
    if options.slope {
        bench.slope()
    } else if options.sustain {
        bench.sustain()
    } else if options.disturb {
        bench.disturb()
    } else {
        bench.side_by_side()
    }
}

struct Bench<'a> {
    options: &'a Options,
    relayd: &'a Path,
}

impl Bench<'_> {
    /// Every party with every number of outputs.
    fn side_by_side(&self) -> Result<()> {
        let parties = self.options.parties(&Party::ALL);
        let rate = self.options.rate();
        println!("{}\n", self.heading(&parties, rate)?);
        let (mut rows, mut ratios) = (Vec::new(), Vec::new());
        for outputs in self.options.outputs.iter().map(|outputs| outputs.get()) {
            let runs = parties.iter().map(|&party| self.plain(party, outputs, rate, 20)).collect::<Result<Vec<_>>>()?;
            let medians = self.rounds(&runs, 1);
            let base = parties.iter().position(|&party| party == Party::RelaydFrame).and_then(|at| medians[at]);
            for (party, median) in parties.iter().zip(&medians) {
                let name = vec![party.name(), outputs.to_string()];
                if let (Some(median), Some(base)) = (median, &base) {
                    ratios.push([name.clone(), median.ratios(base)].concat());
                }
                rows.push([name, cells(median.as_ref())].concat());
            }
        }
        println!("{}", table(&with_figures(&["party", "outputs"]), &rows));
        if !ratios.is_empty() {
            let head = [&["relative to relayd-frame", "outputs"][..], &Figures::RATIO_HEAD].concat();
            println!("{}", table(&head, &ratios));
        }
        self.verdict(&rows)
    }

    /// What one more output takes in memory.
    fn slope(&self) -> Result<()> {
        let parties = self.options.parties(&[Party::RelaydFrame]);
        let rate = self.options.rate();
        println!("{}\n", self.heading(&parties, rate)?);
        let [few, many] = SLOPE;
        let mut rows = Vec::new();
        for party in parties {
            let runs = [self.plain(party, few, rate, 10)?, self.plain(party, many, rate, 10)?];
            let medians = self.rounds(&runs, 1);
            let mut row = vec![party.name()];
            row.extend(medians.iter().map(|figures| figures.map_or(FAILED.to_owned(), |f| format!("{:.1}", f.rss_mb))));
            row.push(match medians[..] {
                [Some(few_figures), Some(many_figures)] => {
                    let kib = (many_figures.rss_mb - few_figures.rss_mb) * 1e6 / 1024.0 / (many - few) as f64;
                    format!("{kib:.1}")
                }
                _ => FAILED.to_owned(),
            });
            rows.push(row);
        }
        let head = ["party", &format!("RSS with {few}, MB"), &format!("with {many}, MB"), "KiB per output"];
        println!("{}", table(&head, &rows));
        self.verdict(&rows)
    }

    /// Many outputs of a small stream.
    fn sustain(&self) -> Result<()> {
        let parties = self.options.parties(&[Party::RelaydFrame]);
        let rate = Rate { video_kbps: 872, ..self.options.rate() };
        println!("{}\n", self.heading(&parties, rate)?);
        let mut rows = Vec::new();
        for party in parties {
            let median = self.rounds(&[self.plain(party, SUSTAINED, rate, 60)?], 1)[0];
            let skipped = median.and_then(|figures| figures.skipped);
            let skipped = skipped.map_or("unknown".to_owned(), |skipped| format!("{skipped:.0}"));
            rows.push([vec![party.name(), SUSTAINED.to_string(), skipped], cells(median.as_ref())].concat());
        }
        println!("{}", table(&with_figures(&["party", "outputs", "skipped by the relay"]), &rows));
        self.verdict(&rows)
    }

    /// What outputs that take nothing, half, or break off cost the others.
    fn disturb(&self) -> Result<()> {
        let parties = self.options.parties(&[Party::RelaydFrame]);
        let rate = self.options.rate();
        println!("{}\n", self.heading(&parties, rate)?);
        let half = (rate.total_kbps() * 1000.0 / 8.0 / 2.0) as u64;
        let disturbing = [Treatment::Ignore, Treatment::Throttle(half), Treatment::Reset(Duration::from_secs(1))];
        let counted = disturbing.len()..DISTURBED;
        let mut rows = Vec::new();
        for party in parties {
            let undisturbed = Run { counted: counted.clone(), ..self.plain(party, DISTURBED, rate, 20)? };
            let mut disturbed = undisturbed.clone();
            disturbed.treatments[..disturbing.len()].copy_from_slice(&disturbing);
            for (how, median) in ["no", "yes"].iter().zip(self.rounds(&[undisturbed, disturbed], 5)) {
                let named = vec![party.name(), (*how).to_owned(), counted.len().to_string()];
                rows.push([named, cells(median.as_ref())].concat());
            }
        }
        println!("{}", table(&with_figures(&["party", "disturbed", "outputs counted"]), &rows));
        self.verdict(&rows)
    }

    /// A run in which every output is read and counted.
    fn plain(&self, party: Party, outputs: usize, rate: Rate, seconds: u64) -> Result<Run> {
        Ok(Run {
            party,
            treatments: vec![Treatment::Read; outputs],
            counted: 0..outputs,
            rate,
            window: Duration::from_secs(self.options.seconds.map_or(seconds, NonZeroU64::get)),
            relayd: self.relayd.to_owned(),
            folder: folder(party)?,
        })
    }

    /// Medians of the runs, each of them made once before one is made again; None where every round has failed.
    fn rounds(&self, runs: &[Run], usual: usize) -> Vec<Option<Figures>> {
        let mut figures = vec![Vec::new(); runs.len()];
        for _ in 0..self.options.repeat.map_or(usual, NonZeroUsize::get) {
            for (run, figures) in runs.iter().zip(&mut figures) {
                let name = format!("{} x {}", run.party.name(), run.treatments.len());
                match run.measure() {
                    Ok(measured) => {
                        let told = Figures::HEAD.iter().zip(measured.cells());
                        let told: Vec<_> = told.map(|(head, cell)| format!("{head} {cell}")).collect();
                        eprintln!("{name}: {}", told.join("; "));
                        figures.push(measured);
                    }
                    Err(error) => eprintln!("{name} FAILED: {error:#}"),
                }
            }
        }
        figures.iter().map(|runs| (!runs.is_empty()).then(|| Figures::median(runs))).collect()
    }

    /// When and where, of what, and who.
    fn heading(&self, parties: &[Party], rate: Rate) -> Result<String> {
        let mut versions: Vec<String> = Vec::new();
        for party in parties {
            let version = party.version(self.relayd)?;
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        Ok(format!(
            "{}; {:.3} Mbit/s of payload in {:.0} tags/s; loopback; {}",
            machine()?,
            rate.total_kbps() / 1000.0,
            rate.tags_per_second(),
            versions.join("; ")
        ))
    }

    /// A table with holes is printed, and is a failure nevertheless.
    fn verdict(&self, rows: &[Vec<String>]) -> Result<()> {
        if rows.iter().flatten().any(|cell| cell == FAILED) {
            bail!("not every run has figures; the relays' files are in {}", target_folder()?.join("peers").display());
        }
        Ok(())
    }
}

fn cells(figures: Option<&Figures>) -> Vec<String> {
    figures.map_or_else(|| vec![FAILED.to_owned(); Figures::HEAD.len()], Figures::cells)
}

fn with_figures<'a>(head: &[&'a str]) -> Vec<&'a str> {
    [head, &Figures::HEAD].concat()
}

/// For a party's configuration and logs, which stay to be looked at.
fn folder(party: Party) -> Result<PathBuf> {
    Ok(target_folder()?.join("peers").join(party.name()))
}

/// The date and the machine.
#[expect(clippy::disallowed_methods, reason = "the date is for people")]
pub(crate) fn machine() -> Result<String> {
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let cpu = fs::read_to_string("/proc/cpuinfo").context("the CPU's name")?;
    let cpu = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    Ok(format!(
        "{}; {} with {} cores; Linux {}",
        date.split('T').next().unwrap_or_default(),
        cpu.map_or("a CPU without a name", |(_, name)| name),
        std::thread::available_parallelism()?,
        kernel.trim(),
    ))
}

/// To the most that this process may have open; relays inherit it.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("the limit of open files")
}

const FAILED: &str = "failed";
const SLOPE: [usize; 2] = [100, 1000];
const SUSTAINED: usize = 2000;
const DISTURBED: usize = 100;
