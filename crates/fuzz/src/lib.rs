//! What must hold for any bytes that a peer sends or a file contains.
//!
//! Each target takes a fuzzer's bytes, makes of them what a hostile peer could do, and panics where the library breaks
//! a promise. `tests/targets.rs` runs every target over the committed inputs and over mutations of them; `cargo xtask
//! fuzz` runs them for as long as one likes under libFuzzer (`libfuzzer/`). See README.md.

mod amf0;
mod chunks;
mod config;
mod demuxer;
mod ingest;
mod input;
mod oracle;
#[doc(hidden)]
pub mod peer;
mod publish;
mod session;
mod url;

/// A function that any bytes may be given to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its folders of inputs, and of its libFuzzer binary.
    pub name: &'static str,
    /// Panics if what it tests breaks a promise.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "demuxer", run: demuxer::run },
    Target { name: "amf0", run: amf0::run },
    Target { name: "chunks", run: chunks::run },
    Target { name: "ingest", run: ingest::run },
    Target { name: "publish", run: publish::run },
    Target { name: "config", run: config::run },
    Target { name: "url", run: url::run },
    Target { name: "oracle", run: oracle::run },
];

/// Runs the target of this name.
///
/// # Panics
///
/// If there is none, or if `data` makes it break a promise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(data);
}
