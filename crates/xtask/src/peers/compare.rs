//! Which runs are made, and what is printed of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

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
    println!("{}\n", heading(options)?);
    side_by_side(options, relayd)
}

/// Every party with every number of outputs; rounds go through all parties before they begin again.
fn side_by_side(options: &Options, relayd: &Path) -> Result<()> {
    let parties = options.parties(&Party::ALL);
    let mut head = vec!["party", "outputs"];
    head.extend(Figures::HEAD);
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for &outputs in &options.outputs {
        let mut figures = vec![Vec::new(); parties.len()];
        for _ in 0..options.repeat.unwrap_or(1) {
            for (party, figures) in parties.iter().zip(&mut figures) {
                let run = plain(*party, outputs, options.rate(), options.seconds.unwrap_or(SECONDS), relayd)?;
                match measure(&run) {
                    Ok(measured) => figures.push(measured),
                    Err(error) => eprintln!("{} with {outputs} outputs: {error:#}", party.name()),
                }
            }
        }
        let medians: Vec<_> = figures.iter().map(|runs| (!runs.is_empty()).then(|| Figures::median(runs))).collect();
        let base = parties.iter().position(|&party| party == Party::RelaydFrame).and_then(|at| medians[at]);
        for (party, median) in parties.iter().zip(&medians) {
            let name = vec![party.name(), outputs.to_string()];
            let Some(median) = median else {
                rows.push([name, vec!["failed".to_owned()]].concat());
                continue;
            };
            rows.push([name.clone(), median.cells()].concat());
            if let Some(base) = &base {
                ratios.push([name, median.ratios(base)].concat());
            }
        }
    }
    println!("{}", table(&head, &rows));
    if !ratios.is_empty() {
        let mut head = vec!["relative to relayd-frame", "outputs"];
        head.extend(Figures::RATIO_HEAD);
        println!("{}", table(&head, &ratios));
    }
    Ok(())
}

/// A run in which every output is read and counted.
fn plain(party: Party, outputs: usize, rate: Rate, seconds: u64, relayd: &Path) -> Result<Run> {
    Ok(Run {
        party,
        treatments: vec![Treatment::Read; outputs],
        counted: 0..outputs,
        rate,
        window: Duration::from_secs(seconds),
        relayd: relayd.to_owned(),
        folder: folder(party)?,
    })
}

/// Runs it, and tells of it at once.
fn measure(run: &Run) -> Result<Figures> {
    let figures = run.measure()?;
    let told: Vec<_> = Figures::HEAD.iter().zip(figures.cells()).map(|(name, cell)| format!("{name} {cell}")).collect();
    eprintln!("{} x {}: {}", run.party.name(), run.treatments.len(), told.join("; "));
    Ok(figures)
}

/// For a party's configuration and logs, which stay to be looked at.
fn folder(party: Party) -> Result<PathBuf> {
    Ok(target_folder()?.join("peers").join(party.name()))
}

/// Where and when, and of what.
fn heading(options: &Options) -> Result<String> {
    let rate = options.rate();
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    Ok(format!(
        "{}; {} with {} cores; Linux {}; {:.3} Mbit/s of payload in {:.0} tags/s; loopback",
        date.split('T').next().unwrap_or_default(),
        cpu.map_or("a CPU without a name", |(_, name)| name),
        std::thread::available_parallelism()?,
        kernel.trim(),
        rate.total_kbps() / 1000.0,
        rate.tags_per_second(),
    ))
}

/// To the most that this process may have open; relays inherit it.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("the limit of open files")
}

const SECONDS: u64 = 20;
