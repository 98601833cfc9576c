//! What a task runs, step by step; the first step that fails ends the task.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::packages;

type Step = fn() -> Result<()>;

/// Installs what the tests need and runs every test of the workspace; `args` go to `cargo test`.
pub(crate) fn test(args: &[OsString]) -> Result<()> {
    packages::ensure()?;
    run(cargo("test --workspace --locked").args(args).env("PATH", packages::search_path()))
}

/// Everything a change has to pass, the cheapest step first.
pub(crate) fn ci() -> Result<()> {
    let steps: [(&str, Step); 5] = [
        ("fmt", || run(&mut cargo("fmt --all --check"))),
        ("clippy", || run(&mut cargo("clippy --workspace --all-targets --locked -- -D warnings"))),
        ("doc", || run(cargo("doc --workspace --no-deps --locked").env("RUSTDOCFLAGS", "-D warnings"))),
        ("test", || test(&[])),
        ("bench (compile)", || run(&mut cargo("bench --workspace --no-run --locked"))),
    ];
    let start = Instant::now();
    for (name, step) in &steps {
        println!("ci: {name}");
        let step_start = Instant::now();
        let outcome = step();
        let duration = seconds(step_start.elapsed());
        outcome.with_context(|| format!("ci FAILED at {name} after {duration}"))?;
        println!("ci: {name} passed in {duration}");
    }
    println!("ci: all {} steps PASSED in {}", steps.len(), seconds(start.elapsed()));
    Ok(())
}

/// A cargo command at the root of the workspace; `words` are its arguments, parted by spaces.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in <root>/crates/xtask");
    command.args(words.split(' ')).current_dir(root);
    // Build scripts watch these; with xtask's own values in them each run rebuilds what plain cargo has built.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        bail!("`cargo {}` failed: {status}", words.join(" "));
    }
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
