//! Long runs of the fuzz targets under libFuzzer, and what is kept of them.

mod options;
mod totals;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use options::Options;
use totals::{Run, Totals};

use crate::steps::{cargo, root, run};

/// Builds the targets, runs each for its time, and keeps what is found. Fails when something is.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    let bench = Bench::build()?;
    let targets = bench.targets(&options.targets)?;
    if options.distil {
        return targets.iter().try_for_each(|target| bench.distil(target));
    }
    let queue = Mutex::new(targets.into_iter());
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(target) = { queue.lock().expect("no worker panics").next() } {
                        let run = bench.run(&target, options.minutes)?;
                        Totals::add(&bench.totals, &target, &run)?;
                        println!("fuzz: {target}: {run}");
                        found.lock().expect("no worker panics").extend(run.find);
                    }
                    Ok::<(), anyhow::Error>(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    print!("fuzz: all runs so far\n{}", Totals::read(&bench.totals)?);
    let found = found.into_inner().expect("no worker panics");
    ensure!(
        found.is_empty(),
        "found {}",
        found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Where everything lies.
struct Bench {
    /// `crates/fuzz`.
    home: PathBuf,
    /// Not committed: what libFuzzer has come up with, and its logs.
    work: PathBuf,
    programs: PathBuf,
    totals: PathBuf,
}

impl Bench {
    /// Without a sanitizer, which stable compilers do not have; there is no unsafe code for one to look at.
    fn build() -> Result<Self> {
        let is_there = cargo("fuzz --version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !is_there.is_ok_and(|status| status.success()) {
            run(&mut cargo("install cargo-fuzz --locked"))?;
        }
        let work = root().join("target/fuzz");
        let mut build = cargo("fuzz build --sanitizer none --fuzz-dir crates/fuzz/libfuzzer --target-dir");
        run(build.arg(&work))?;
        let home = root().join("crates/fuzz");
        let programs = work.join(host()?).join("release");
        Ok(Self { totals: home.join("totals.tsv"), home, work, programs })
    }

    /// Those of the given names, or all.
    fn targets(&self, names: &[String]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.home.join("libfuzzer/fuzz_targets"))? {
            all.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
        all.sort();
        if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
            bail!("there is no target {unknown}; there are {}", all.join(", "));
        }
        Ok(if names.is_empty() { all } else { names.to_vec() })
    }

    fn run(&self, target: &str, minutes: f64) -> Result<Run> {
        let (working, finds) = (self.folder("corpus", target)?, self.folder("finds", target)?);
        let log = self.work.join(format!("{target}.log"));
        let mut program = Command::new(self.programs.join(target));
        program
            // The first folder takes what is new.
            .arg(&working)
            .args(
                ["corpus", "regressions"]
                    .map(|kind| self.home.join(kind).join(target))
                    .iter()
                    .filter(|path| path.is_dir()),
            )
            .arg(format!("-max_total_time={:.0}", minutes * 60.0))
            .arg(format!("-artifact_prefix={}/", finds.display()))
            .args(["-print_final_stats=1", TIMEOUT, "-rss_limit_mb=2048"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = program.spawn().with_context(|| format!("cannot run {}", program.get_program().display()))?;
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n') {
                said.push(String::from_utf8_lossy(&line?).into_owned());
            }
        }
        // Ended and not waited for: the system still knows what it used.
        let cpu_seconds = totals::cpu_seconds(child.id());
        let status = child.wait()?;
        fs::write(&log, said.join("\n"))?;
        let mut run = Run::of(&said, cpu_seconds);
        if !status.success() {
            let artifact = said.iter().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
            let Some(artifact) = artifact else { bail!("{target} ended with {status}: see {}", log.display()) };
            let artifact = Path::new(artifact);
            let is_slow = artifact.file_name().is_some_and(|name| name.to_string_lossy().starts_with("timeout-"));
            if is_slow && self.is_fine(target, artifact)? {
                println!("fuzz: {target}: it was the machine that was slow at {}", artifact.display());
            } else {
                run.find = Some(self.keep(target, artifact)?);
            }
        }
        Ok(run)
    }

    /// Whether the input is no find when it runs alone.
    fn is_fine(&self, target: &str, input: &Path) -> Result<bool> {
        let mut program = Command::new(self.programs.join(target));
        program.arg(input).arg(TIMEOUT).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(program.status()?.success())
    }

    /// Makes a find as small as a minute allows, and a test of it.
    fn keep(&self, target: &str, artifact: &Path) -> Result<PathBuf> {
        let folder = self.home.join("regressions").join(target);
        fs::create_dir_all(&folder)?;
        let name = artifact.file_name().context("libFuzzer names its finds")?;
        let kept = folder.join(name);
        fs::copy(artifact, &kept)?;
        let smaller = self.work.join(format!("{target}.smaller"));
        if smaller.exists() {
            fs::remove_file(&smaller)?;
        }
        // It fails by design: each smaller input that it finds breaks the target.
        let _ = Command::new(self.programs.join(target))
            .arg(&kept)
            .arg(format!("-exact_artifact_path={}", smaller.display()))
            .args(["-minimize_crash=1", "-max_total_time=60", TIMEOUT, "-rss_limit_mb=2048"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if fs::metadata(&smaller).is_ok_and(|smaller| fs::metadata(&kept).is_ok_and(|kept| smaller.len() < kept.len()))
        {
            fs::rename(&smaller, &kept)?;
        }
        Ok(kept)
    }

    /// Adds to the committed inputs the smallest of those found that run code no other one does.
    fn distil(&self, target: &str) -> Result<()> {
        let working = self.folder("corpus", target)?;
        let (small, chosen) = (self.folder("small", target)?, self.folder("chosen", target)?);
        for folder in [&small, &chosen] {
            fs::remove_dir_all(folder)?;
            fs::create_dir_all(folder)?;
        }
        for entry in fs::read_dir(&working)? {
            let entry = entry?;
            if entry.metadata()?.len() <= MAX_KEPT {
                fs::copy(entry.path(), small.join(entry.file_name()))?;
            }
        }
        let committed = self.home.join("corpus").join(target);
        let before = names(&committed)?;
        for name in &before {
            fs::copy(committed.join(name), chosen.join(name))?;
        }
        run(Command::new(self.programs.join(target))
            .arg(&chosen)
            .arg(&small)
            .args(["-set_cover_merge=1", "-verbosity=0"]))?;
        let mut new: Vec<_> = names(&chosen)?.into_iter().filter(|name| !before.contains(name)).collect();
        new.sort_by_key(|name| fs::metadata(chosen.join(name)).map_or(0, |metadata| metadata.len()));
        new.truncate(MAX_NEW.saturating_sub(before.len()));
        for name in &new {
            fs::copy(chosen.join(name), committed.join(name))?;
        }
        println!("fuzz: {target}: {} inputs kept beside {}", new.len(), before.len());
        Ok(())
    }

    fn folder(&self, kind: &str, target: &str) -> Result<PathBuf> {
        let folder = self.work.join(kind).join(target);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The compiler's own platform, which cargo-fuzz builds for.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    Ok(host.to_owned())
}

/// Seconds that an input may take; a busy machine makes any slower.
const TIMEOUT: &str = "-timeout=10";
/// Bytes of an input that is worth committing.
const MAX_KEPT: u64 = 1024;
/// Committed inputs of a target.
const MAX_NEW: usize = 60;
