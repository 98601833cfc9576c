//! A relay's processes: started, watched, and what the system says they have used.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// A relay with all processes that it starts. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    log: PathBuf,
}

impl Relay {
    /// Runs `command` with everything that it says in `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Fails with the end of its log if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the relay has ended with {status}; its log ends with:\n{}", self.log_end()),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// CPU time of each of its threads.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let tasks = self.pids()?.into_iter().map(tasks).collect::<Result<Vec<_>>>()?;
        tasks.concat().into_iter().map(|task| Ok((task.clone(), task_cpu(&task)?))).collect::<Result<_>>().map(Cpu)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        self.pids()?.into_iter().map(resident_kib).sum()
    }

    /// Itself and the processes below it.
    fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = vec![self.child.id()];
        let mut at = 0;
        while let Some(&pid) = pids.get(at) {
            at += 1;
            for task in tasks(pid)? {
                let children = fs::read_to_string(task.join("children"))?;
                pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        Ok(pids)
    }
}

/// CPU time by thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu(HashMap<PathBuf, Duration>);

impl Cpu {
    /// What has been used since `before`. Of a thread that has ended in between, nothing is known.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used =
            |(task, &now): (&PathBuf, &Duration)| now.saturating_sub(before.0.get(task).copied().unwrap_or_default());
        self.0.iter().map(used).sum()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Workers first: none is to be left when their master is gone.
        for pid in self.pids().unwrap_or_default().into_iter().skip(1) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process's threads of a name.
pub(crate) fn own_cpu(thread: &str) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in tasks(std::process::id())? {
        if fs::read_to_string(task.join("comm"))?.trim_end() == thread {
            sum += task_cpu(&task)?;
        }
    }
    Ok(sum)
}

/// The time it ran, in ns, is the first field (Linux, Documentation/scheduler/sched-stats).
fn task_cpu(task: &Path) -> Result<Duration> {
    let path = task.join("schedstat");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // A thread may end while the others are being asked.
        Err(_) if !task.exists() => return Ok(Duration::ZERO),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    nanos.map(Duration::from_nanos).with_context(|| format!("{} holds {text:?}", path.display()))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.with_context(|| format!("{path} has no VmRSS"))
}

fn tasks(pid: u32) -> Result<Vec<PathBuf>> {
    let folder = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

const LOG_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_thread_that_ends_takes_nothing_from_the_others() {
        let cpu = |times: &[(&str, u64)]| {
            Cpu(times.iter().map(|&(task, ms)| (PathBuf::from(task), Duration::from_millis(ms))).collect())
        };
        let (before, after) = (cpu(&[("1", 100), ("2", 900)]), cpu(&[("1", 130), ("3", 5)]));
        assert_eq!(after.since(&before), Duration::from_millis(35));
    }

    #[test]
    fn processes_below_a_relay_are_counted_and_end_with_it() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        // The shell waits for a child that burns time.
        command.args(["-c", "sh -c 'echo started; while :; do :; done' & wait"]);
        let mut relay = Relay::start(command, &log).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while relay.cpu().unwrap().since(&Cpu::default()) < Duration::from_millis(50) {
            assert!(Instant::now() < end, "no CPU time is seen; log: {}", relay.log_end());
        }
        relay.check().unwrap();
        assert_eq!(relay.log_end(), "started");
        let pids = relay.pids().unwrap();
        assert_eq!(pids.len(), 2, "{pids:?}");
        assert!(relay.resident_kib().unwrap() > resident_kib(pids[1]).unwrap());
        drop(relay);
        let is_gone = || fs::read_to_string(format!("/proc/{}/stat", pids[1])).is_ok_and(|s| !s.contains(" Z "));
        while is_gone() {
            assert!(Instant::now() < end, "the child is still there");
        }
        let _ = fs::remove_file(log);
    }
}
