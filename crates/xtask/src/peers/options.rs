//! The command line of `cargo xtask peers`.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use clap::Parser;

use super::{
    parties::Party,
    stream::{AUDIO_PER_SECOND, Rate},
};

/// Fan-out side by side on loopback: relayd against nginx-rtmp and ffmpeg tee.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask peers", no_binary_name = true)]
pub(crate) struct Options {
    /// How many outputs, each in turn.
    #[arg(long, value_delimiter = ',', default_value = "10,100,300")]
    pub(crate) outputs: Vec<NonZeroUsize>,
    /// The measured time, in seconds.
    #[arg(long)]
    pub(crate) seconds: Option<NonZeroU64>,
    /// The parties that take part.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Party>,
    /// Rounds; medians are shown.
    #[arg(long)]
    pub(crate) repeat: Option<NonZeroUsize>,
    /// The video's payload rate; audio adds 128 kbit/s.
    #[arg(long, default_value_t = 3018)]
    pub(crate) video_kbps: u32,
    /// Tags per second, 43 of them audio.
    #[arg(long, default_value_t = 73, value_parser = clap::value_parser!(u32).range(44..=1000))]
    pub(crate) tags: u32,
    /// The relayd binary instead of this tree's release build.
    #[arg(long)]
    pub(crate) relayd: Option<PathBuf>,
    /// Memory per output, from 100 and 1000 outputs.
    #[arg(long, group = "mode")]
    pub(crate) slope: bool,
    /// 2000 outputs of 1 Mbit/s for 60 s.
    #[arg(long, group = "mode")]
    pub(crate) sustain: bool,
    /// 97 outputs beside one that never reads, one that reads half, and one that is reset each second.
    #[arg(long, group = "mode")]
    pub(crate) disturb: bool,
    /// Instructions per tag and per output and tag, without sockets.
    #[arg(long, group = "mode")]
    pub(crate) callgrind: bool,
    /// What runs under callgrind: outputs and tags.
    #[arg(long, hide = true, value_delimiter = ',', group = "mode")]
    pub(crate) workload: Option<Vec<usize>>,
}

impl Options {
    pub(crate) fn rate(&self) -> Rate {
        Rate { video_kbps: self.video_kbps, fps: self.tags - AUDIO_PER_SECOND as u32 }
    }

    /// The parties asked for, or else `usual`.
    pub(crate) fn parties(&self, usual: &[Party]) -> Vec<Party> {
        if self.only.is_empty() { usual.to_vec() } else { self.only.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parted_by_commas_and_the_rate_is_the_usual_one() {
        let options = Options::try_parse_from(["--outputs", "1,20", "--only", "nginx,relayd-100ms"]).unwrap();
        assert_eq!(options.outputs.iter().map(|n| n.get()).collect::<Vec<_>>(), [1, 20]);
        assert_eq!(options.parties(&[]), [Party::Nginx, Party::RelaydInterval]);
        assert_eq!(options.rate(), Rate { video_kbps: 3018, fps: 30 });
        let options = Options::try_parse_from::<_, &str>([]).unwrap();
        assert_eq!(options.outputs.iter().map(|n| n.get()).collect::<Vec<_>>(), [10, 100, 300]);
        assert!(Options::try_parse_from(["--slope", "--disturb"]).is_err());
        assert!(Options::try_parse_from(["--only", "apache"]).is_err());
        for count in ["--outputs", "--seconds", "--repeat"] {
            assert!(Options::try_parse_from([count, "0"]).is_err(), "{count}");
        }
    }
}
