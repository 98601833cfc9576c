//! Folders that vanish.

use std::path::{Path, PathBuf};
use std::{fs, process};

/// A new folder under the system's temporary one, removed with all it holds when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one. Panics when it cannot.
    #[expect(clippy::new_without_default, reason = "a default that touches the disk would surprise")]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("relayd-test-{}-{:016x}", process::id(), fastrand::u64(..)));
        fs::create_dir(&path).expect("the system's temporary folder is writable");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and gives the file's path. Panics when it cannot.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("the folder is writable");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left behind lies in the temporary folder, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.0);
    }
}
