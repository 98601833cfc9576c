//! The project's own chores: `cargo xtask test` and `cargo xtask ci`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line task talks to the person or the CI that runs it"
)]

mod packages;
mod steps;
mod supply;

use std::{env, ffi::OsString, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask <task>

  test [args]   install the Debian packages the tests need, where missing, and run every test;
                the arguments go to `cargo test`
  ci            formatting, lints, documentation, dependencies, tests, and a compile of the benches
";

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let outcome = match Task::parse(&args) {
        Some(Task::Test(rest)) => steps::test(rest),
        Some(Task::Ci) => steps::ci(),
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

#[derive(Debug, PartialEq, Eq)]
enum Task<'a> {
    Test(&'a [OsString]),
    Ci,
}

impl<'a> Task<'a> {
    fn parse(args: &'a [OsString]) -> Option<Self> {
        let (name, rest) = args.split_first()?;
        match (name.to_str()?, rest) {
            ("test", rest) => Some(Self::Test(rest)),
            ("ci", []) => Some(Self::Ci),
            _ => None,
        }
    }
}

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
        for args in [&[][..], &["ci", "fast"], &["tests"], &["--help"]] {
            assert_eq!(Task::parse(&os(args)), None, "{args:?}");
        }
    }
}
