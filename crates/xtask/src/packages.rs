//! The programs that tests and measurements run against, and the Debian packages that bring them.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// What the tests run against.
pub(crate) const FOR_TESTS: &[Peer] = &[FFMPEG, NGINX, NGINX_MODULE, SYSTEMD, PROMETHEUS, FAKETIME];
/// What relayd's fan-out is compared with.
pub(crate) const FOR_FAN_OUT: &[Peer] = &[FFMPEG, NGINX, NGINX_MODULE];
/// What counts instructions.
pub(crate) const FOR_CALLGRIND: &[Peer] = &[VALGRIND];

const FFMPEG: Peer = Peer { package: "ffmpeg", proof: Proof::Program("ffmpeg") };
const NGINX: Peer = Peer { package: "nginx-light", proof: Proof::Program("nginx") };
const NGINX_MODULE: Peer = Peer { package: "libnginx-mod-rtmp", proof: Proof::File(NGINX_RTMP) };
const SYSTEMD: Peer = Peer { package: "systemd", proof: Proof::Program("systemd-analyze") };
const PROMETHEUS: Peer = Peer { package: "prometheus", proof: Proof::Program("promtool") };
const FAKETIME: Peer = Peer { package: "faketime", proof: Proof::Program("faketime") };
const VALGRIND: Peer = Peer { package: "valgrind", proof: Proof::Program("valgrind") };

/// nginx's RTMP module, to be loaded by its configuration.
pub(crate) const NGINX_RTMP: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// Where Debian keeps daemons; a plain user's `PATH` leaves them out.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Makes peers available: installs what is missing if this process may, as root or through `sudo -n`.
///
/// Fails with the command to run when it may not, and when a peer is missing even after the install.
pub(crate) fn ensure(peers: &[Peer]) -> Result<()> {
    let path = search_path();
    let missing = missing(peers, &path, status);
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get", &path).is_none() {
        bail!("missing: {}; the packages to install are known for Debian and Ubuntu only", describe(&missing));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh");
    let mut install = match privilege() {
        Some(Privilege::Root) => Command::new("sh"),
        Some(Privilege::Sudo) => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "sh"]);
            sudo
        }
        None => {
            let packages = missing.iter().map(|peer| peer.package).collect::<Vec<_>>().join(" ");
            bail!("missing: {}; run: sudo sh '{}' {packages}", describe(&missing), script.display());
        }
    };
    println!("installing {}", describe(&missing));
    let outcome = install
        .arg(&script)
        .args(missing.iter().map(|peer| peer.package))
        .status()
        .context("cannot run the install")?;
    if !outcome.success() {
        bail!("the install of {} failed: {outcome}", describe(&missing));
    }
    let missing = self::missing(peers, &path, status);
    if !missing.is_empty() {
        bail!("still missing after the install: {}", describe(&missing));
    }
    Ok(())
}

/// The `PATH` peers are looked up in and tests run with: this process's own, then the folders of system programs.
pub(crate) fn search_path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&own).chain(SYSTEM_FOLDERS.map(PathBuf::from)).collect();
    env::join_paths(folders).expect("folders split from a PATH hold no separator")
}

/// A program or file that others bring.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    package: &'static str,
    proof: Proof,
}

/// What shows that a peer is there, whoever installed it.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Program(&'static str),
    File(&'static str),
}

/// The peers whose program or file is absent, or whose package dpkg holds half-installed.
fn missing<'a>(peers: &'a [Peer], path: &OsStr, status: impl Fn(&str) -> Option<String>) -> Vec<&'a Peer> {
    let usable = |peer: &Peer| {
        let present = match peer.proof {
            Proof::Program(name) => find(name, path).is_some(),
            Proof::File(file) => Path::new(file).is_file(),
        };
        present && !status(peer.package).is_some_and(|status| is_half_installed(&status))
    };
    peers.iter().filter(|peer| !usable(peer)).collect()
}

fn describe(peers: &[&Peer]) -> String {
    let name = |peer: &&Peer| match peer.proof {
        Proof::Program(proof) | Proof::File(proof) => format!("{} ({proof})", peer.package),
    };
    peers.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    let is_executable =
        |file: &PathBuf| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    env::split_paths(path).map(|folder| folder.join(program)).find(is_executable)
}

/// dpkg's word on a package, such as `install ok installed`; `None` where dpkg does not know the package or is absent.
fn status(package: &str) -> Option<String> {
    let output =
        Command::new("dpkg-query").args(["-W", "-f=${Status}", package]).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_half_installed(status: &str) -> bool {
    matches!(status.split_whitespace().next_back(), Some("half-installed" | "unpacked" | "half-configured"))
}

enum Privilege {
    Root,
    Sudo,
}

fn privilege() -> Option<Privilege> {
    let id = Command::new("id").arg("-u").output().ok();
    if id.is_some_and(|id| id.stdout.trim_ascii() == b"0") {
        return Some(Privilege::Root);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    sudo.is_ok_and(|status| status.success()).then_some(Privilege::Sudo)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Peer = Peer { package: "dash", proof: Proof::Program("sh") };
    const NOWHERE: Peer = Peer { package: "nowhere", proof: Proof::Program("relayd-no-such-program") };
    const NO_FILE: Peer = Peer { package: "no-file", proof: Proof::File("/nonexistent/module.so") };

    #[test]
    fn a_program_is_enough_where_dpkg_knows_nothing_of_it() {
        let peers = [SHELL, NOWHERE, NO_FILE];
        assert_eq!(missing(&peers, &search_path(), |_| None), [&NOWHERE, &NO_FILE]);
        assert_eq!(
            describe(&[&NOWHERE, &NO_FILE]),
            "nowhere (relayd-no-such-program), no-file (/nonexistent/module.so)"
        );
    }

    #[test]
    fn a_package_without_its_program_is_missing() {
        let installed = |_: &str| Some("install ok installed".to_owned());
        assert_eq!(missing(&[SHELL], OsStr::new("/nonexistent"), installed), [&SHELL]);
        assert!(missing(&[SHELL], &search_path(), installed).is_empty());
    }

    #[test]
    fn a_half_installed_package_is_missing() {
        for (state, missing_now) in [
            ("install ok half-configured", true),
            ("install ok unpacked", true),
            ("install reinstreq half-installed", true),
            ("deinstall ok config-files", false),
            ("install ok triggers-pending", false),
        ] {
            let peers = [SHELL];
            let found = missing(&peers, &search_path(), |_| Some(state.to_owned()));
            assert_eq!(!found.is_empty(), missing_now, "{state}");
        }
    }

    #[test]
    fn a_file_that_cannot_run_is_not_a_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(folder.join("Cargo.toml").is_file());
        assert_eq!(find("Cargo.toml", folder.as_os_str()), None);
    }
}
