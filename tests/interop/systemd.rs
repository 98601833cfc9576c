//! What systemd says to the unit and to the files beside it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use testkit::TempDir;

use crate::programs::{Finished, command, run, succeed};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name)
}

/// The unit as it is shipped, but for the program, which is not installed where the tests run. `lines` are added.
fn unit(folder: &TempDir, lines: &str) -> PathBuf {
    let text = fs::read_to_string(shipped("relayd.service")).unwrap();
    assert_eq!(text.matches("/usr/bin/relayd").count(), 1, "{text}");
    let text = text.replace("/usr/bin/relayd", env!("CARGO_BIN_EXE_relayd"));
    folder.write("relayd.service", text.replace("[Install]", &format!("{lines}\n[Install]")))
}

async fn analyze(arguments: &[&str], unit: &Path) -> Finished {
    let mut analyze = command("systemd-analyze");
    analyze.args(arguments).arg("--no-pager").arg(unit);
    run(analyze).await
}

#[tokio::test]
async fn the_unit_is_sound() {
    let folder = TempDir::new();
    let verified = analyze(&["verify", "--man=no"], &unit(&folder, "")).await;
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    assert!(verified.stdout.is_empty(), "{verified:?}");

    let wrong = analyze(&["verify", "--man=no"], &unit(&folder, "ProtectSytem=strict")).await;
    assert!(wrong.stderr.contains("ProtectSytem"), "the check finds nothing: {wrong:?}");
}

/// 1.3 of 10: what is left is the network, which is what relayd is for.
#[tokio::test]
async fn the_service_can_reach_little_beside_the_network() {
    let folder = TempDir::new();
    let limit = ["security", "--offline=true", "--threshold=13"];
    let exposed = analyze(&limit, &unit(&folder, "")).await;
    assert!(exposed.status.success(), "{exposed:?}");

    let wrong = analyze(&limit, &unit(&folder, "CapabilityBoundingSet=CAP_SYS_ADMIN\nPrivateUsers=no")).await;
    assert!(!wrong.status.success(), "the check finds nothing: {wrong:?}");
}

#[tokio::test]
async fn the_user_and_the_folder_are_made() {
    let folder = TempDir::new();
    let root = format!("--root={}", folder.path().display());
    fs::create_dir_all(folder.path().join("etc")).unwrap();
    let mut users = command("systemd-sysusers");
    users.arg(&root).arg(shipped("relayd.sysusers"));
    let made = run(users).await;
    assert!(made.status.success(), "{made:?}");
    let passwd = fs::read_to_string(folder.path().join("etc/passwd")).unwrap();
    let fields: Vec<_> = passwd.lines().find(|line| line.starts_with("relayd:")).unwrap().split(':').collect();
    assert_eq!((fields[5], fields[6]), ("/var/lib/relayd", "/usr/sbin/nologin"), "{passwd}");

    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut folders = command("systemd-tmpfiles");
    folders.arg("--create").arg(&root).arg(shipped("relayd.tmpfiles"));
    succeed(folders).await;
    let configuration = fs::metadata(folder.path().join("etc/relayd")).unwrap();
    let owner = (configuration.uid(), configuration.gid().to_string());
    assert_eq!((owner, configuration.mode() & 0o7777), ((0, fields[3].to_owned()), 0o750), "{passwd}");
    let credentials = fs::metadata(folder.path().join("etc/relayd/credentials")).unwrap();
    assert_eq!((credentials.uid(), credentials.gid(), credentials.mode() & 0o7777), (0, 0, 0o700));
}
