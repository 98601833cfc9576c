//! What happens when.

use crate::world::{Density, Splice, World};

/// A day in ms.
pub(crate) const DAY: u64 = 86_400_000;
/// Far from the edges a frame of each track every so many ms is enough.
const SPARSE: u64 = 30_000;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// All frames from now on.
    Full,
    /// Few frames from now on.
    Sparse,
    Connect(usize),
    Lose(usize),
    Stall(usize),
    Shift(usize, i64),
    ChangeMetadata(usize),
    Join(String),
    JoinAlone(String),
    Leave(String),
    Look(Look),
}

/// What there is to be seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// A day has passed.
    Midnight,
    /// These splices, and no others, have happened since the look before.
    Splices(&'static [Splice]),
}

/// Steps and their moments.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<(u64, Step)>);

impl Plan {
    pub(crate) fn at(&mut self, moment: u64, steps: impl IntoIterator<Item = Step>) {
        self.0.extend(steps.into_iter().map(|step| (moment, step)));
    }

    /// All frames between two moments, give or take a few seconds.
    pub(crate) fn dense(&mut self, from: u64, to: u64) {
        self.at(from / SPARSE * SPARSE, [Step::Full]);
        self.at(to.next_multiple_of(SPARSE), [Step::Sparse]);
    }

    /// Carries everything out in order; `look` is called at its steps. With `MONTH=full` in the environment no frame is
    /// left out.
    pub(crate) fn run(mut self, world: &mut World, end: u64, mut look: impl FnMut(&mut World, Look)) {
        let is_full = std::env::var("MONTH").is_ok_and(|how| how == "full");
        self.0.sort_by_key(|&(moment, _)| moment);
        for (moment, step) in self.0 {
            world.run_to(moment);
            match step {
                Step::Sparse if !is_full => world.set_density(Density::Sparse(SPARSE)),
                Step::Full | Step::Sparse => world.set_density(Density::Full),
                Step::Connect(input) => world.connect(input),
                Step::Lose(input) => world.lose(input),
                Step::Stall(input) => world.stall(input),
                Step::Shift(input, by) => world.shift(input, by),
                Step::ChangeMetadata(input) => world.change_metadata(input),
                Step::Join(name) => world.join(&name),
                Step::JoinAlone(name) => world.join_alone(&name),
                Step::Leave(name) => world.leave(&name),
                Step::Look(what) => look(world, what),
            }
        }
        world.run_to(end);
    }
}
