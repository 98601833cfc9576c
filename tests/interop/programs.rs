//! Real programs as child processes.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use testkit::{DEADLINE, eventually};
use tokio::process::{Child, Command};

/// How long a program may take for what is done at the speed of the machine.
const SWIFT: Duration = Duration::from_secs(30);

/// A program that runs beside the test. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

/// What a program that ended by itself left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A command for a program. Panics when it is not installed.
pub(crate) fn command(program: &str) -> Command {
    let own = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps daemons; a plain user's `PATH` leaves it out.
    let folders = std::env::split_paths(&own).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    Command::new(found.unwrap_or_else(|| missing(program)))
}

/// Panics over something that is not installed.
pub(crate) fn missing(what: &str) -> ! {
    panic!("{what} is missing: cargo xtask test installs it")
}

/// Runs a program to its end. Panics when that takes longer than half a minute.
pub(crate) async fn run(mut command: Command) -> Finished {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(SWIFT, output).await.unwrap_or_else(|_| panic!("{command:?} does not end"));
    let output = output.expect("the program runs");
    Finished {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a program to its end. Panics when it fails or complains.
pub(crate) async fn succeed(command: Command) -> Finished {
    let line = format!("{:?}", command.as_std());
    let finished = run(command).await;
    assert!(
        finished.status.success() && finished.stderr.is_empty(),
        "{line}: {}\n{}",
        finished.status,
        finished.stderr
    );
    finished
}

/// Starts a program whose output goes to `{name}.log` in a folder.
pub(crate) fn start(mut command: Command, name: &str, folder: &Path) -> Running {
    let log = folder.join(format!("{name}.log"));
    let file = File::create(&log).expect("the folder is writable");
    let second = file.try_clone().expect("a file can be shared");
    let child = command.stdin(Stdio::null()).stdout(file).stderr(second).kill_on_drop(true).spawn();
    Running { child: child.expect("the program runs"), name: name.to_owned(), log }
}

impl Running {
    /// Waits until something listens on a port of loopback, without connecting: the programs here take one client.
    pub(crate) async fn listening(self, port: u16) -> Self {
        let local = format!("0100007F:{port:04X}");
        eventually(&format!("{} listens", self.name), DEADLINE, async || {
            let sockets = fs::read_to_string("/proc/net/tcp").expect("the system is Linux");
            // Local address, remote address and state; 0A is LISTEN ("proc_net_tcp.txt" of the kernel).
            let mut fields = sockets.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
            let listens = fields.any(|fields| fields.first() == Some(&&*local) && fields.get(2) == Some(&"0A"));
            if listens { Ok(()) } else { Err(self.log()) }
        })
        .await;
        self
    }

    /// Kills it as the kernel does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        assert!(self.child.try_wait().expect("a child can be asked").is_none(), "ended already: {}", self.log());
        self.child.kill().await.expect("a child can be killed");
    }

    /// Stops it as `kill -STOP` does: its connections stay open and fall silent.
    pub(crate) fn freeze(&self) {
        let id = self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        rustix::process::kill_process(id.expect("it runs"), rustix::process::Signal::STOP).expect("it can be stopped");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        eventually(&format!("{} ends", self.name), deadline, async || {
            self.child
                .try_wait()
                .expect("a child can be asked")
                .ok_or_else(|| fs::read_to_string(&self.log).unwrap_or_default())
        })
        .await
    }

    /// What it printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A port of loopback that nothing listens on. Below the range that the system gives to outgoing connections, so that it
/// stays free until its program takes it.
pub(crate) fn free_port() -> u16 {
    let ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(100);
    ports.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port among many")
}
