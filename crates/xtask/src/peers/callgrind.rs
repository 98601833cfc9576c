//! Instructions per tag, and per output and tag, by differences between runs under valgrind: a figure without noise.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{compare::machine, options::Options, table::table, target_folder};
use crate::packages;

/// Counts and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = target_folder()?.join("peers").join("callgrind");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut counts = [[0; 2]; 2];
    for (outputs, row) in OUTPUTS.iter().zip(&mut counts) {
        for (tags, count) in TAGS.iter().zip(row) {
            *count = instructions(*outputs, *tags, options, &folder)?;
            eprintln!("{tags} tags to {outputs} outputs: {count} instructions");
        }
    }
    let Cost { tag, output_and_tag } = Cost::of(counts);
    println!("{}; instructions counted by callgrind\n", machine()?);
    let rows = [
        vec!["a tag: demuxed, judged, placed, logged".to_owned(), format!("{tag:.1}")],
        vec!["a tag for an output: read and made into slices to write".to_owned(), format!("{output_and_tag:.1}")],
    ];
    println!("{}", table(&["what", "instructions"], &rows));
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    tag: f64,
    output_and_tag: f64,
}

impl Cost {
    /// From the counts by outputs, then tags: what the start costs cancels out.
    fn of(counts: [[u64; 2]; 2]) -> Self {
        let per_tag = counts.map(|[few, many]| (many - few) as f64 / (TAGS[1] - TAGS[0]) as f64);
        let output_and_tag = (per_tag[1] - per_tag[0]) / (OUTPUTS[1] - OUTPUTS[0]) as f64;
        Self { tag: per_tag[0] - OUTPUTS[0] as f64 * output_and_tag, output_and_tag }
    }
}

fn instructions(outputs: usize, tags: usize, options: &Options, folder: &Path) -> Result<u64> {
    let out = folder.join(format!("callgrind.out.{outputs}.{tags}"));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=*relay_tags*"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(env::current_exe()?).arg(crate::RIG);
    valgrind.arg(format!("--workload={outputs},{tags}"));
    valgrind.arg(format!("--video-kbps={}", options.video_kbps)).arg(format!("--tags={}", options.tags));
    valgrind.env("PATH", packages::search_path());
    let output = valgrind.output().context("cannot run valgrind")?;
    if !output.status.success() {
        bail!("valgrind failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    let total = total(&text).with_context(|| format!("{} tells no total", out.display()))?;
    if total == 0 {
        bail!("nothing was counted: the workload's function is not found by its name");
    }
    Ok(total)
}

/// Of a callgrind.out file (Callgrind Format Specification, 3.1).
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many of each; two GOPs at least, so that keyframes weigh what they do.
const OUTPUTS: [usize; 2] = [10, 110];
const TAGS: [usize; 2] = [730, 2190];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_differences() {
        let count = |outputs: usize, tags: usize| (5000 + 70 * tags + 3 * outputs * tags + 11 * outputs) as u64;
        let counts = OUTPUTS.map(|outputs| TAGS.map(|tags| count(outputs, tags)));
        assert_eq!(Cost::of(counts), Cost { tag: 70.0, output_and_tag: 3.0 });
    }

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("# callgrind format\nevents: Ir\nsummary: 1234\n\nfn=x\n"), Some(1234));
        assert_eq!(total("events: Ir\n"), None);
    }
}
