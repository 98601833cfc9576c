//! The daemon as a child process.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::http::{self, Response};
use crate::log_pipe::{LogPipe, LogReader};
use crate::temp::TempDir;
use crate::{DEADLINE, eventually};

/// The configuration's name in its folder.
const CONFIG: &str = "relay.toml";
/// The name of the file with the HTTP side's token.
const TOKEN: &str = "admin.token";

/// Ticks of proc(5) per second, on every architecture of Linux.
const USER_HZ: u64 = 100;

/// How the daemon is to be run: the configuration's text, and what stands around it.
#[derive(Debug)]
pub struct Setup {
    executable: PathBuf,
    config: String,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    token: Option<String>,
    folder: TempDir,
    config_name: String,
}

/// A running daemon. Dropping it kills the process.
#[derive(Debug)]
pub struct Relayd {
    child: Child,
    admin: SocketAddr,
    log: LogPipe,
    setup: Setup,
}

/// What a run that ended by itself left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

impl Setup {
    /// The executable under test with a configuration. `[admin]` on a port of the system's choice is added when it is
    /// started.
    pub fn new(executable: impl AsRef<Path>, config: impl Into<String>) -> Self {
        Self {
            executable: executable.as_ref().to_owned(),
            config: config.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            token: None,
            folder: TempDir::new(),
            config_name: CONFIG.to_owned(),
        }
    }

    /// With a bearer token for the HTTP side, which [`Relayd`]'s own requests carry.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With a command line argument after `--config`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a file beside the configuration.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.folder.write(name, content);
        self
    }

    /// With `--config` naming another file than the one that is written.
    #[must_use]
    pub fn configured_by(mut self, name: &str) -> Self {
        self.config_name = name.to_owned();
        self
    }

    /// Where the configuration and the files beside it lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it is ready. Panics with its log when it does not get there.
    pub async fn start(self) -> Relayd {
        let mut config = format!("{}\n[admin]\nlisten = \"127.0.0.1:0\"\n", self.config);
        if let Some(token) = &self.token {
            self.folder.write(TOKEN, token);
            config.push_str(&format!("token_file = \"{TOKEN}\"\n"));
        }
        self.folder.write(CONFIG, config);
        self.launch().await
    }

    /// Starts it with the configuration that lies in its folder.
    async fn launch(self) -> Relayd {
        let mut relayd = self.spawn();
        eventually("relayd is ready", DEADLINE, async || {
            if let Ok(Some(status)) = relayd.child.try_wait() {
                panic!("relayd ended with {status} at its start:\n{}", relayd.stderr());
            }
            let Some(admin) = relayd.listener("HTTP side") else {
                return Err(relayd.stderr());
            };
            relayd.admin = admin;
            match http::request(admin, "GET", "/readyz", &[], b"").await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(format!("/readyz answers {}", response.status)),
                Err(error) => Err(format!("/readyz: {error}; log:\n{}", relayd.stderr())),
            }
        })
        .await;
        relayd
    }

    /// Starts it and waits for its end. `[admin]` is not added.
    pub async fn run(self) -> Finished {
        self.folder.write(CONFIG, &self.config);
        let output = self.command().kill_on_drop(true).output();
        let output = tokio::time::timeout(DEADLINE, output).await.expect("relayd ends within the deadline");
        let output = output.expect("the executable runs");
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn spawn(self) -> Relayd {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the executable runs");
        let log = LogPipe::read(child.stderr.take().expect("stderr is piped"));
        Relayd { child, admin: SocketAddr::from(([127, 0, 0, 1], 0)), log, setup: self }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg("--config").arg(self.folder.path().join(&self.config_name)).args(&self.arguments);
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Relayd {
    /// The HTTP side's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where it takes publishers in; its configuration has `[ingest]`.
    pub fn ingest(&self) -> SocketAddr {
        self.listener("RTMP ingest").unwrap_or_else(|| panic!("no ingest listener in the log:\n{}", self.stderr()))
    }

    /// Where it takes publishers in over TLS; its configuration has `tls_listen`.
    pub fn tls_ingest(&self) -> SocketAddr {
        self.listener("RTMPS ingest").unwrap_or_else(|| panic!("no RTMPS listener in the log:\n{}", self.stderr()))
    }

    /// The value of a series of `/metrics`, such as `relayd_input_up{input="a",relay="r"}`; 0 while there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        self.log.text()
    }

    /// From now on this happens to its log. [`LogReader::Gone`] is for good.
    pub fn log_reader(&self, reader: LogReader) {
        self.log.reader(reader);
    }

    /// Changes its configuration file. It notices when it is told to read it again.
    pub fn rewrite(&self, change: impl FnOnce(&str) -> String) {
        let path = self.setup.folder().join(CONFIG);
        let text = std::fs::read_to_string(&path).expect("the configuration is there");
        std::fs::write(&path, change(&text)).expect("the folder is writable");
    }

    /// Writes a file beside its configuration.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.setup.folder.write(name, content);
    }

    /// Lets it read its configuration again; the answer.
    pub async fn reload(&self) -> Response {
        self.send("POST", "/api/v1/reload", b"").await
    }

    /// Requests go to another address, with another token.
    pub fn moved(&mut self, token: Option<&str>) {
        self.admin = self.listener("HTTP side").unwrap_or(self.admin);
        self.setup.token = token.map(str::to_owned);
    }

    /// Starts it again after its end, with the configuration that lies in its folder.
    pub async fn restart(self) -> Self {
        self.setup.launch().await
    }

    /// Kills it without a warning.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit(DEADLINE).await;
    }

    /// Lets it open no descriptor of this number or above; none lifts that.
    pub fn limit_descriptors(&self, limit: Option<u64>) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let new = Rlimit { current: limit.or(maximum), maximum };
        prlimit(Some(self.process()), Resource::Nofile, new).expect("the process is the test's own");
    }

    /// Lets it open so many descriptors more.
    pub fn leave_descriptors(&self, more: usize) {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process lives");
        let open: Vec<u64> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        // The limit is on numbers, and the lowest that is free is taken.
        self.limit_descriptors((0..).filter(|number| !open.contains(number)).nth(more));
    }

    /// The processor time it has taken so far.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process lives");
        // proc(5): utime and stime are fields 14 and 15; the second, in parentheses, may hold spaces.
        let ticks = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number of ticks")).sum();
        Duration::from_millis(ticks * 1_000 / USER_HZ)
    }

    /// A GET with the token, if there is one.
    pub async fn get(&self, target: &str) -> Response {
        self.send("GET", target, b"").await
    }

    /// A request with the token, if there is one. Panics with the log when there is no answer.
    pub async fn send(&self, method: &str, target: &str, body: &[u8]) -> Response {
        let bearer = self.setup.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        match http::request(self.admin, method, target, &headers, body).await {
            Ok(response) => response,
            Err(error) => panic!("{method} {target}: {error}; log:\n{}", self.stderr()),
        }
    }

    /// The status of a relay.
    pub async fn status(&self, relay: &str) -> Value {
        let response = self.get(&format!("/api/v1/relays/{relay}")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// The value of a metric, its labels as they are written; none while there is no such series.
    pub async fn series(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a metric is a number"))
    }

    /// Polls a relay's status until `test` holds and gives that status. Panics with the last one and the log.
    pub async fn until(&self, relay: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        eventually(what, DEADLINE, async || {
            let status = self.status(relay).await;
            if test(&status) { Ok(status) } else { Err(format!("{status:#}\nlog:\n{}", self.stderr())) }
        })
        .await
    }

    /// Waits for a text in the log.
    pub async fn logs(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), DEADLINE, async || {
            let log = self.stderr();
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Its process id. Panics once the process has been waited for.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process has not been waited for")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("the process is the test's own");
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.pid() as i32).expect("no process has the id 0")
    }

    /// Waits for its end. Panics with its log at the deadline.
    pub async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("relayd is still there after {deadline:?}; log:\n{}", self.stderr()),
        }
    }

    /// The address on loopback in the newest log line of a listener.
    fn listener(&self, line: &str) -> Option<SocketAddr> {
        let log = self.stderr();
        let tells =
            |logged: &&str| logged.contains(line) && (logged.contains("listen=") || logged.contains("\"listen\""));
        let (_, address) = log.lines().rfind(tells)?.split_once("127.0.0.")?;
        let mut numbers = address.split(|c: char| !c.is_ascii_digit());
        let (host, port) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(SocketAddr::from(([127, 0, 0, host], port)))
    }

    /// True while the process lives.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}
