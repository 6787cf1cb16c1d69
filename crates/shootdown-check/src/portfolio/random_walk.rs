//! Choosing by chance, with some CPUs slow in a run, and some walkers.
//!
//! With equal chances all CPUs come along at the same pace, and a failure that needs one to sleep while another does a
//! lot is practically never met. So each run draws a speed for each CPU and one for each walker.

use shootdown_sim::smp::{Act, MAX_CPUS};

use super::{Choice, n_drawn};
use crate::rng::Rng;

const SPEEDS: [usize; 3] = [1, 8, 64];

/// The speeds of one run.
pub(super) struct RandomWalk {
    cpus: [usize; MAX_CPUS],
    walkers: [usize; MAX_CPUS],
}

impl RandomWalk {
    pub(super) fn draw(n_cpus: usize, rng: &mut Rng) -> Self {
        let mut speeds = || {
            let mut speeds = [SPEEDS[0]; MAX_CPUS];
            speeds[..n_drawn(n_cpus)].fill_with(|| SPEEDS[rng.below(SPEEDS.len())]);
            speeds
        };
        RandomWalk { cpus: speeds(), walkers: speeds() }
    }

    fn speed(&self, act: Act) -> usize {
        let cpu = usize::from(act.cpu().0);
        match act {
            Act::Step { .. } | Act::Interrupt { .. } => self.cpus[cpu],
            _ => self.walkers[cpu],
        }
    }
}

impl Choice for RandomWalk {
    fn pick(&mut self, acts: &[Act], rng: &mut Rng) -> Act {
        let mut left = rng.below(acts.iter().map(|act| self.speed(*act)).sum());
        for act in acts {
            match left.checked_sub(self.speed(*act)) {
                Some(rest) => left = rest,
                None => return *act,
            }
        }
        unreachable!("the number is below the sum")
    }
}
