//! The arguments of `cargo xtask fuzz`.

use std::ffi::OsString;

/// What to run, and for how long.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    /// Of each target.
    pub(super) minutes: f64,
    /// All when empty.
    pub(super) targets: Vec<String>,
    /// Targets at a time.
    pub(super) jobs: usize,
    /// Instead of running: choose inputs to commit.
    pub(super) distil: bool,
}

impl Options {
    /// None when an argument is unknown or has no sensible value.
    pub(crate) fn parse(args: &[OsString]) -> Option<Self> {
        let mut options = Self { minutes: 30.0, targets: Vec::new(), jobs: 1, distil: false };
        let mut args = args.iter().map(|arg| arg.to_str());
        while let Some(name) = args.next() {
            match name? {
                "--minutes" => options.minutes = args.next()??.parse().ok().filter(|&m: &f64| m > 0.0 && m < 1e5)?,
                "--target" => options.targets.push(args.next()??.to_owned()),
                "--jobs" => options.jobs = args.next()??.parse().ok().filter(|&jobs| jobs > 0)?,
                "--distil" => options.distil = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Option<Options> {
        Options::parse(&args.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_argument_is_taken() {
        let want = Options { minutes: 0.5, targets: vec!["amf0".into(), "url".into()], jobs: 2, distil: true };
        assert_eq!(parse("--minutes 0.5 --target amf0 --jobs 2 --target url --distil"), Some(want));
        let default = Options { minutes: 30.0, targets: Vec::new(), jobs: 1, distil: false };
        assert_eq!(parse(""), Some(default));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for args in ["--minutes", "--minutes 0", "--minutes inf", "--jobs 0", "--target", "--speed 3", "amf0"] {
            assert_eq!(parse(args), None, "{args}");
        }
    }
}
