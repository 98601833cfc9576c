//! What all runs of a target come to: a line each in a committed file.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, Result};

/// One run of one target.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Run {
    pub(super) cpu_seconds: f64,
    executions: u64,
    per_second: u64,
    new_inputs: u64,
    pub(super) find: Option<PathBuf>,
}

impl Run {
    /// By libFuzzer's last words.
    pub(super) fn of(said: &[String], cpu_seconds: f64) -> Self {
        let stat = |name: &str| {
            let value = said.iter().rev().find_map(|line| line.strip_prefix(name)).map(str::trim);
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        Self {
            cpu_seconds,
            executions: stat("stat::number_of_executed_units:"),
            per_second: stat("stat::average_exec_per_sec:"),
            new_inputs: stat("stat::new_units_added:"),
            find: None,
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_seconds, executions, per_second, new_inputs, find } = self;
        write!(f, "{executions} executions, {per_second}/s, {cpu_seconds:.0} s of CPU, {new_inputs} new inputs, ")?;
        match find {
            None => f.write_str("nothing found"),
            Some(path) => write!(f, "FOUND {}", path.display()),
        }
    }
}

/// The sums.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Totals(BTreeMap<String, Sum>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    cpu_seconds: f64,
    executions: u64,
    finds: u64,
}

impl Totals {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        Self::parse(&text).with_context(|| format!("{} is not as it was written", path.display()))
    }

    /// Adds a run to the file at `path`.
    pub(super) fn add(path: &Path, target: &str, run: &Run) -> Result<()> {
        static FILE: Mutex<()> = Mutex::new(());
        let _one_at_a_time = FILE.lock().expect("no holder panics");
        let mut totals = Self::read(path)?;
        let sum = totals.0.entry(target.to_owned()).or_default();
        sum.cpu_seconds += run.cpu_seconds;
        sum.executions += run.executions;
        sum.finds += u64::from(run.find.is_some());
        fs::write(path, totals.to_string())?;
        Ok(())
    }

    fn parse(text: &str) -> Option<Self> {
        let sums = text.lines().skip(1).map(|line| {
            let [target, cpu_seconds, executions, finds] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
            let (cpu_seconds, executions) = (cpu_seconds.parse().ok()?, executions.parse().ok()?);
            Some((target.to_owned(), Sum { cpu_seconds, executions, finds: finds.parse().ok()? }))
        });
        sums.collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "target\tcpu_seconds\texecutions\tfinds")?;
        for (target, Sum { cpu_seconds, executions, finds }) in &self.0 {
            writeln!(f, "{target}\t{cpu_seconds:.0}\t{executions}\t{finds}")?;
        }
        Ok(())
    }
}

/// What a child that has not been waited for has used, by proc(5); 0 where there is no such thing.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let ticks = |stat: &str| -> Option<f64> {
        // The second field is a name in brackets, and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?)
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks(&stat).unwrap_or(0.0) / TICKS_PER_SECOND
}

/// USER_HZ, which is the same on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_run_is_read_from_libfuzzers_last_words() {
        let said = lines(
            "#2 INITED\nstat::number_of_executed_units: 294629\nstat::average_exec_per_sec:     22663\n\
             stat::new_units_added:          1059\nstat::slowest_unit_time_sec:    0",
        );
        let run = Run::of(&said, 12.4);
        assert_eq!(run.to_string(), "294629 executions, 22663/s, 12 s of CPU, 1059 new inputs, nothing found");
        assert_eq!(Run::of(&[], 0.0), Run::default());
    }

    #[test]
    fn sums_survive_the_file() {
        let mut totals = Totals::default();
        totals.0.insert("url".into(), Sum { cpu_seconds: 61.0, executions: 12, finds: 1 });
        totals.0.insert("amf0".into(), Sum { cpu_seconds: 0.0, executions: 5_000_000_000, finds: 0 });
        let text = totals.to_string();
        assert_eq!(text.lines().nth(1), Some("amf0\t0\t5000000000\t0"));
        assert_eq!(Totals::parse(&text), Some(totals));
        assert_eq!(Totals::parse("target\nurl\t1\tmany\t0"), None);
    }

    #[test]
    fn the_time_of_a_child_that_ended_is_known() {
        let mut child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        io::copy(&mut child.stdout.take().unwrap(), &mut io::sink()).unwrap();
        let used = cpu_seconds(child.id());
        child.wait().unwrap();
        assert!(used > 0.0 && used < 60.0, "{used}");
    }
}
