//! What is done to whom: drawn at random from a seed.

use std::fmt;

use fastrand::Rng;

use super::stage::{OTHERS, PUSHED, Platform, RELAYS, TWINS};

/// One thing that happens to one party.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Every connection of an origin's path ends; new ones are served.
    KillInput { relay: usize, input: usize },
    /// The same, and new ones are refused for a while.
    RefuseInput { relay: usize, input: usize, status: u16, secs: u64 },
    /// Connections stay open and silent for a while.
    StallInput { relay: usize, input: usize, secs: u64 },
    /// Both inputs are refused.
    DarkInputs { relay: usize, status: u16, secs: u64 },
    /// The operator asks for the other input.
    Switch { relay: usize },
    /// The publisher's connection breaks.
    CutPublisher { secs: u64 },
    /// The publisher says goodbye.
    PartPublisher { secs: u64 },
    /// The publisher falls silent.
    StallPublisher { secs: u64 },
    /// A platform resets the connection.
    ResetOutput { output: usize },
    /// A platform closes the connection.
    CloseOutput { output: usize },
    /// A platform stops reading.
    DeafOutput { output: usize, secs: u64 },
    /// A platform reads slower than media comes.
    SlowOutput { output: usize, bytes_per_sec: u32, secs: u64 },
    /// A platform's process is gone.
    GoneOutput { output: usize, secs: u64 },
    /// A platform does not know the key for a while.
    RefuseOutput { output: usize, secs: u64 },
    /// The daemon is told to read its configuration.
    Hangup,
    /// Somebody watches `/live`.
    Viewer { relay: usize, secs: u64 },
    /// Somebody watches `/live` without reading.
    FrozenViewer { relay: usize, secs: u64 },
}

/// Whom one event at a time may disturb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A relay's inputs.
    Inputs(usize),
    /// An output.
    Output(usize),
}

impl Event {
    /// Much at once, round by round: the publisher and one input of each relay are silent, then the other; every platform
    /// that may be disturbed is deaf, and a viewer of each relay frozen. What memory that takes is what the rest of the run
    /// is measured by, and not left to chance.
    pub(crate) fn opening(platforms: &[Platform]) -> [Vec<Self>; 2] {
        [0, 1].map(|input| {
            let mut round = vec![Self::StallPublisher { secs: 2 }];
            round.extend([TWINS, OTHERS].map(|relay| Self::StallInput { relay, input, secs: 2 }));
            let others = platforms.iter().enumerate().filter(|(_, platform)| !platform.is_witness);
            round.extend(others.map(|(output, _)| Self::DeafOutput { output, secs: 8 }));
            round.extend((0..RELAYS.len()).map(|relay| Self::FrozenViewer { relay, secs: 8 }));
            round
        })
    }

    /// Draws one that disturbs none of `busy`; None when the draw does.
    pub(crate) fn draw(rng: &mut Rng, platforms: &[Platform], busy: &[Target]) -> Option<Self> {
        let output = rng.usize(..platforms.len());
        let (relay, input) = (rng.choice([TWINS, OTHERS])?, rng.usize(..2));
        let (any_relay, status) = (rng.usize(..RELAYS.len()), rng.choice([404, 503])?);
        let event = match rng.u32(..100) {
            0..10 => Self::KillInput { relay, input },
            10..20 => Self::RefuseInput { relay, input, status, secs: rng.u64(2..=12) },
            // A pause within the limits, or silence beyond them.
            20..30 => Self::StallInput { relay, input, secs: rng.choice([1, 2, 5, 8])? },
            30..34 => Self::DarkInputs { relay, status, secs: rng.u64(2..=10) },
            34..40 => Self::Switch { relay },
            40..43 => Self::CutPublisher { secs: rng.u64(1..=8) },
            43..46 => Self::PartPublisher { secs: rng.u64(1..=8) },
            46..49 => Self::StallPublisher { secs: rng.choice([1, 2, 5, 8])? },
            49..57 => Self::ResetOutput { output },
            57..63 => Self::CloseOutput { output },
            63..71 => Self::DeafOutput { output, secs: rng.u64(1..=16) },
            71..78 => Self::SlowOutput { output, bytes_per_sec: rng.u32(60_000..150_000), secs: rng.u64(5..=16) },
            78..84 => Self::GoneOutput { output, secs: rng.u64(1..=10) },
            84..88 => Self::RefuseOutput { output, secs: rng.u64(1..=8) },
            88..91 => Self::Hangup,
            91..97 => Self::Viewer { relay: any_relay, secs: rng.u64(2..=15) },
            _ => Self::FrozenViewer { relay: any_relay, secs: rng.u64(5..=15) },
        };
        let is_free = event.target().is_none_or(|target| {
            let is_witness = matches!(target, Target::Output(output) if platforms[output].is_witness);
            !is_witness && !busy.contains(&target)
        });
        is_free.then_some(event)
    }

    /// Whom it disturbs.
    pub(crate) fn target(&self) -> Option<Target> {
        match *self {
            Self::KillInput { relay, .. }
            | Self::RefuseInput { relay, .. }
            | Self::StallInput { relay, .. }
            | Self::DarkInputs { relay, .. }
            | Self::Switch { relay } => Some(Target::Inputs(relay)),
            Self::CutPublisher { .. } | Self::PartPublisher { .. } | Self::StallPublisher { .. } => {
                Some(Target::Inputs(PUSHED))
            }
            Self::ResetOutput { output }
            | Self::CloseOutput { output }
            | Self::DeafOutput { output, .. }
            | Self::SlowOutput { output, .. }
            | Self::GoneOutput { output, .. }
            | Self::RefuseOutput { output, .. } => Some(Target::Output(output)),
            Self::Hangup | Self::Viewer { .. } | Self::FrozenViewer { .. } => None,
        }
    }

    /// A word for the table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::KillInput { .. } => "input killed",
            Self::RefuseInput { .. } => "input refused",
            Self::StallInput { .. } => "input stalled",
            Self::DarkInputs { .. } => "both inputs refused",
            Self::Switch { .. } => "switch",
            Self::CutPublisher { .. } => "publisher cut",
            Self::PartPublisher { .. } => "publisher left",
            Self::StallPublisher { .. } => "publisher stalled",
            Self::ResetOutput { .. } => "platform reset",
            Self::CloseOutput { .. } => "platform closed",
            Self::DeafOutput { .. } => "platform deaf",
            Self::SlowOutput { .. } => "platform slow",
            Self::GoneOutput { .. } => "platform gone",
            Self::RefuseOutput { .. } => "platform refused",
            Self::Hangup => "hangup",
            Self::Viewer { .. } => "viewer",
            Self::FrozenViewer { .. } => "frozen viewer",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let input_of = |relay: usize, input: usize| format!("{} {}", RELAYS[relay], ["primary", "backup"][input]);
        match self {
            Self::KillInput { relay, input } => write!(f, ": {}", input_of(*relay, *input)),
            Self::RefuseInput { relay, input, status, secs } => {
                write!(f, ": {}, {status} for {secs} s", input_of(*relay, *input))
            }
            Self::StallInput { relay, input, secs } => write!(f, ": {} for {secs} s", input_of(*relay, *input)),
            Self::DarkInputs { relay, status, secs } => write!(f, ": {}, {status} for {secs} s", RELAYS[*relay]),
            Self::Switch { relay } => write!(f, ": {}", RELAYS[*relay]),
            Self::CutPublisher { secs } | Self::PartPublisher { secs } | Self::StallPublisher { secs } => {
                write!(f, " for {secs} s")
            }
            Self::ResetOutput { output } | Self::CloseOutput { output } => write!(f, ": {output}"),
            Self::DeafOutput { output, secs }
            | Self::GoneOutput { output, secs }
            | Self::RefuseOutput { output, secs } => {
                write!(f, ": {output} for {secs} s")
            }
            Self::SlowOutput { output, bytes_per_sec, secs } => {
                write!(f, ": {output}, {bytes_per_sec} B/s for {secs} s")
            }
            Self::Hangup => Ok(()),
            Self::Viewer { relay, secs } | Self::FrozenViewer { relay, secs } => {
                write!(f, ": {} for {secs} s", RELAYS[*relay])
            }
        }
    }
}
