//! The project's own chores: `cargo xtask test`, `ci`, `peers`, `fuzz` and `soak`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line task talks to the person or the CI that runs it"
)]

mod fuzz;
mod packages;
mod peers;
mod soak;
mod steps;
mod supply;

use std::{env, ffi::OsString, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask <task>

  test [args]   install the Debian packages the tests need, where missing, and run every test;
                the arguments go to `cargo test`
  ci            formatting, lints, documentation, dependencies, tests, and a compile of the benches
  peers [args]  fan-out measured side by side: relayd, nginx-rtmp and ffmpeg tee; see `peers --help`
  fuzz          runs the fuzz targets under libFuzzer (cargo-fuzz is installed where missing)
                --minutes M   of each target; 30
                --target T    may be repeated; all
                --jobs N      targets at a time; 1
                --distil      instead: commit the smallest inputs found that run other code
  soak [--minutes 30] [--outputs 20] [--seed N]
                a release daemon between sources and platforms that are killed, stalled and restarted at random;
                fails when its memory grows or when frames are missing without a cause
  soak --month  fifty simulated days at full rate, with optimisation
";

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let outcome = match Task::parse(&args) {
        Some(Task::Test(rest)) => steps::test(rest),
        Some(Task::Ci) => steps::ci(),
        Some(Task::Peers(rest)) => peers::build_and_run(rest),
        Some(Task::Rig(rest)) => peers::rig(rest),
        Some(Task::Floor(rest)) => peers::floor(rest),
        Some(Task::Fuzz(options)) => fuzz::fuzz(&options),
        Some(Task::Soak(rest)) => soak::launch(rest),
        Some(Task::SoakRun(rest)) => soak::run(rest),
        None => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq)]
enum Task<'a> {
    Test(&'a [OsString]),
    Ci,
    Peers(&'a [OsString]),
    /// What `peers` runs as a release build.
    Rig(&'a [OsString]),
    /// What the rig runs beside the relays.
    Floor(&'a [OsString]),
    Fuzz(fuzz::Options),
    Soak(&'a [OsString]),
    /// What [`soak::launch`] starts, built with optimisation.
    SoakRun(&'a [OsString]),
}

impl<'a> Task<'a> {
    fn parse(args: &'a [OsString]) -> Option<Self> {
        let (name, rest) = args.split_first()?;
        match (name.to_str()?, rest) {
            ("test", rest) => Some(Self::Test(rest)),
            ("ci", []) => Some(Self::Ci),
            ("peers", rest) => Some(Self::Peers(rest)),
            (RIG, rest) => Some(Self::Rig(rest)),
            (peers::FLOOR, rest) => Some(Self::Floor(rest)),
            ("fuzz", rest) => fuzz::Options::parse(rest).map(Self::Fuzz),
            ("soak", rest) => Some(Self::Soak(rest)),
            (soak::RUN, rest) => Some(Self::SoakRun(rest)),
            _ => None,
        }
    }
}

/// The task that `peers` gives to the release build.
pub(crate) const RIG: &str = "peers-rig";

#[cfg(test)]
mod tests {
    use super::*;

    fn os(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn everything_after_test_is_passed_on() {
        let args = os(&["test", "-p", "flv", "--", "--nocapture"]);
        assert_eq!(Task::parse(&args), Some(Task::Test(&args[1..])));
    }

    #[test]
    fn what_is_not_a_task_is_refused() {
        assert_eq!(Task::parse(&os(&["ci"])), Some(Task::Ci));
        for args in [&[][..], &["ci", "fast"], &["fuzz", "fast"], &["tests"], &["--help"]] {
            assert_eq!(Task::parse(&os(args)), None, "{args:?}");
        }
    }
}
