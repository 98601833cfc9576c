//! The relays that are compared, and how each is told to relay one stream to N outputs.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::{clock::Clock, floor::FLOOR, process::Relay, source::Source, stream::Rate};
use crate::packages;

/// A relay in one of its configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Party {
    /// relayd, written at each video frame.
    #[value(name = "relayd-frame")]
    RelaydFrame,
    /// relayd, written each 100 ms.
    #[value(name = "relayd-100ms")]
    RelaydInterval,
    /// nginx with its RTMP module, one worker.
    #[value(name = "nginx")]
    Nginx,
    /// ffmpeg with its tee muxer.
    #[value(name = "ffmpeg")]
    Ffmpeg,
    /// A bare loop of writes at each video frame.
    #[value(name = "floor-frame")]
    FloorFrame,
    /// A bare loop of writes each 100 ms.
    #[value(name = "floor-100ms")]
    FloorInterval,
    /// relayd over RTMPS.
    #[value(name = "relayd-tls")]
    RelaydTls,
}

/// A relay at work, and what feeds it.
#[derive(Debug)]
pub(crate) struct Stage {
    // In this order: a source ends only once its reader has.
    pub(crate) relay: Relay,
    pub(crate) source: Source,
    /// relayd's HTTP side.
    pub(crate) admin: Option<SocketAddr>,
}

impl Party {
    pub(crate) const ALL: [Self; 7] = [
        Self::RelaydFrame,
        Self::RelaydInterval,
        Self::Nginx,
        Self::Ffmpeg,
        Self::FloorFrame,
        Self::FloorInterval,
        Self::RelaydTls,
    ];

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether its outputs are encrypted.
    pub(crate) fn is_encrypted(self) -> bool {
        self == Self::RelaydTls
    }

    /// How long it may take until every output has video.
    pub(crate) fn patience(self, outputs: usize) -> Duration {
        let per_output = match self {
            // It opens outputs one after the other.
            Self::Ffmpeg => Duration::from_millis(400),
            _ => Duration::from_millis(30),
        };
        Duration::from_secs(30) + per_output * outputs as u32
    }

    /// Starts it, and its source.
    pub(crate) fn start(self, setting: &Setting<'_>) -> Result<Stage> {
        let folder = setting.folder;
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let scheme = if self.is_encrypted() { "rtmps" } else { "rtmp" };
        let urls = (0..setting.outputs).map(|output| format!("{scheme}://{}/live/{output}", setting.sink));
        let urls: Vec<_> = urls.collect();
        match self {
            Self::Nginx => start_nginx(setting, &urls),
            Self::Ffmpeg => start_ffmpeg(setting, &urls),
            Self::RelaydFrame | Self::RelaydTls => start_relayd(setting, &urls, "frame"),
            Self::RelaydInterval => start_relayd(setting, &urls, "100ms"),
            Self::FloorFrame => start_floor(setting, &urls, "0"),
            Self::FloorInterval => start_floor(setting, &urls, "100"),
        }
    }

    /// What it calls itself.
    pub(crate) fn version(self, relayd: &Path) -> Result<String> {
        let (mut command, words) = match self {
            Self::Nginx => (system("nginx"), "-v"),
            Self::Ffmpeg => (system("ffmpeg"), "-version"),
            Self::FloorFrame | Self::FloorInterval => return Ok("a loop of writes".to_owned()),
            _ => (Command::new(relayd), "--version"),
        };
        let output = command.arg(words).output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        // nginx tells it on stderr.
        let text = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        let line = line.split(" Copyright").next().unwrap_or_default();
        Ok(line.trim_start_matches("nginx version: ").to_owned())
    }
}

/// What a party is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) outputs: usize,
    pub(crate) sink: SocketAddr,
    pub(crate) rate: Rate,
    pub(crate) clock: Clock,
    pub(crate) relayd: &'a Path,
    /// For configuration and logs.
    pub(crate) folder: &'a Path,
    /// Outputs that come back within [`SOON`] when they were cut, where the party can.
    pub(crate) eager: &'a [usize],
}

fn start_nginx(setting: &Setting<'_>, urls: &[String]) -> Result<Stage> {
    let Setting { folder, rate, clock, .. } = *setting;
    let port = free_port()?;
    let mut nginx = system("nginx");
    nginx.arg("-c").arg(write(folder, "nginx.conf", &nginx_config(setting, port, urls))?);
    nginx.arg("-e").arg(folder.join("error.log")).arg("-p").arg(folder);
    let mut relay = Relay::start(nginx, &folder.join(LOG))?;
    wait_for(&mut relay, &folder.join("nginx.pid"))?;
    let source = Source::publish(rate, clock, &format!("rtmp://127.0.0.1:{port}/live/x"))?;
    Ok(Stage { relay, source, admin: None })
}

fn start_ffmpeg(setting: &Setting<'_>, urls: &[String]) -> Result<Stage> {
    let source = Source::http(setting.rate, setting.clock)?;
    let mut ffmpeg = system("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-i", &source.url()?]);
    // Otherwise tee counts in the frames that the SPS announces.
    ffmpeg.args(["-map", "0", "-c", "copy", "-copytb", "1", "-f", "tee", &tee(urls)]);
    Ok(Stage { relay: Relay::start(ffmpeg, &setting.folder.join(LOG))?, source, admin: None })
}

fn start_floor(setting: &Setting<'_>, urls: &[String], interval: &str) -> Result<Stage> {
    let source = Source::http(setting.rate, setting.clock)?;
    let mut floor = Command::new(env::current_exe().context("this program's own path")?);
    floor.arg(FLOOR).arg(interval).arg(source.url()?).args(urls);
    Ok(Stage { relay: Relay::start(floor, &setting.folder.join(LOG))?, source, admin: None })
}

fn start_relayd(setting: &Setting<'_>, urls: &[String], flush: &str) -> Result<Stage> {
    let source = Source::http(setting.rate, setting.clock)?;
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let config = relayd_config(setting, &source.url()?, urls, flush, admin);
    let mut relayd = Command::new(setting.relayd);
    relayd.arg("--config").arg(write(setting.folder, "relay.toml", &config)?);
    relayd.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    Ok(Stage { relay: Relay::start(relayd, &setting.folder.join(LOG))?, source, admin: Some(admin) })
}

fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", packages::search_path());
    command
}

fn nginx_config(setting: &Setting<'_>, port: u16, urls: &[String]) -> String {
    let folder = setting.folder.display();
    let pushes: String = urls.iter().map(|url| format!("      push {url};\n")).collect();
    let reconnect = if setting.eager.is_empty() { String::new() } else { format!("      push_reconnect {SOON};\n") };
    let connections = urls.len() + 64;
    format!(
        "load_module {};\ndaemon off;\nmaster_process on;\nworker_processes 1;\nworker_rlimit_nofile {};\n\
         pid {folder}/nginx.pid;\nerror_log {folder}/error.log warn;\nevents {{ worker_connections {connections}; }}\n\
         rtmp {{\n  access_log off;\n  server {{\n    listen 127.0.0.1:{port};\n    application live {{\n      live on;\n\
         {reconnect}{pushes}    }}\n  }}\n}}\n",
        packages::NGINX_RTMP,
        2 * connections,
    )
}

fn tee(urls: &[String]) -> String {
    urls.iter().map(|url| format!("[f=flv:flvflags=no_duration_filesize]{url}")).collect::<Vec<_>>().join("|")
}

fn relayd_config(setting: &Setting<'_>, source: &str, urls: &[String], flush: &str, admin: SocketAddr) -> String {
    let mut config = format!(
        "[admin]\nlisten = \"{admin}\"\n\n[[relay]]\nname = \"bench\"\n\n[[relay.input]]\nname = \"source\"\nurl = \"{source}\"\n"
    );
    for (id, url) in urls.iter().enumerate() {
        config.push_str(&format!("\n[[relay.output]]\nid = \"{id}\"\nurl = \"{url}\"\nflush = \"{flush}\"\n"));
        if url.starts_with("rtmps:") {
            config.push_str("insecure_tls = true\n");
        }
        if setting.eager.contains(&id) {
            config.push_str(&format!("retry = {{ min = \"{SOON}\", max = \"{SOON}\" }}\n"));
        }
    }
    config
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// nginx writes its pid once it listens.
fn wait_for(relay: &mut Relay, pid: &Path) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !pid.exists() {
        relay.check()?;
        if Instant::now() > end {
            bail!("{} has not been written; the log ends with:\n{}", pid.display(), relay.log_end());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

const LOG: &str = "log.txt";
const SOON: &str = "100ms";
