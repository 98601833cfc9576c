//! nginx with its RTMP module as the platform.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::{DEADLINE, TempDir, eventually};

use crate::programs::{Running, command, free_port, missing, start};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// An RTMP server that records whatever is published to `live/`. Dropping it kills it.
pub(crate) struct Nginx {
    process: Running,
    folder: TempDir,
    port: u16,
}

impl Nginx {
    /// One that is ready.
    pub(crate) async fn start() -> Self {
        Self::start_on(free_port()).await
    }

    /// Kills it as the kernel does and starts another in its place; gives also what the killed one recorded.
    pub(crate) async fn replace(self) -> (Self, TempDir) {
        self.process.kill().await;
        (Self::start_on(self.port).await, self.folder)
    }

    async fn start_on(port: u16) -> Self {
        if !Path::new(MODULE).is_file() {
            missing(MODULE);
        }
        let folder = TempDir::new();
        let path = folder.path().display();
        let config = folder.write(
            "nginx.conf",
            format!(
                "load_module {MODULE};\n\
             daemon off;\nmaster_process off;\n\
             pid {path}/nginx.pid;\nerror_log {path}/error.log info;\n\
             events {{ worker_connections 64; }}\n\
             rtmp {{ access_log {path}/access.log; server {{\n\
               listen 127.0.0.1:{port};\n\
               application live {{ live on; record all; record_path {path}; record_unique on; }}\n\
             }} }}\n"
            ),
        );
        let mut nginx = command("nginx");
        nginx.arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(config).arg("-p").arg(folder.path());
        let process = start(nginx, "nginx", folder.path());
        let nginx = Self { process, folder, port };
        eventually("nginx listens", DEADLINE, async || {
            // It writes its pid once it listens.
            if nginx.folder.path().join("nginx.pid").exists() { Ok(()) } else { Err(nginx.logs()) }
        })
        .await;
        nginx
    }

    /// Where to publish to.
    pub(crate) fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live/x", self.port)
    }

    /// Waits until its one publisher has left, and gives the one recording.
    pub(crate) async fn recorded(&self, deadline: Duration) -> PathBuf {
        eventually("nginx has seen its publisher leave", deadline, async || match self.publishers() {
            0 => Err(self.logs()),
            1 => Ok(()),
            count => panic!("{count} publishers:\n{}", self.logs()),
        })
        .await;
        recording(&self.folder)
    }

    /// How many publishers have come and left; nginx logs a connection when it ends.
    fn publishers(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(" PUBLISH ")).count()
    }

    fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}\n{}\n{}", self.process.log(), read("access.log"), read("error.log"))
    }
}

/// The one recording in a folder.
pub(crate) fn recording(folder: &TempDir) -> PathBuf {
    match recordings(folder).as_slice() {
        [one] => one.clone(),
        others => panic!("not one recording: {others:?}"),
    }
}

fn recordings(folder: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.path()).expect("the folder is there");
    let paths = files.map(|file| file.expect("a folder of our own can be listed").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "flv")).collect()
}
