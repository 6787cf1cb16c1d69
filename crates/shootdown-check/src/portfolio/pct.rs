//! Choosing by priorities: whoever has the highest acts, and a few times in a run the one at the top is put down.
//!
//! Nothing here is fair, so who only looks at memory again and again, waiting, is put down too; PCT as published does the
//! same for threads that yield. A walker would never stop, so it is also put down after a while.

use shootdown_sim::smp::{Act, MAX_CPUS};

use super::{Choice, n_drawn};
use crate::rng::Rng;

/// Actors of each CPU: its code, the interrupts that are pending for it, its store buffer, and everything else that its
/// hardware does by itself.
const PARTS: usize = 4;

const ACTORS: usize = PARTS * MAX_CPUS;

/// Acts without a change after which an actor counts as waiting. Table walks take a few loads.
const PATIENCE: usize = 16;

/// The priorities of one run.
pub(super) struct Pct {
    /// The highest acts.
    priorities: [isize; ACTORS],
    /// For each change that is left, before which act it comes, and the priority it leaves.
    changes: Vec<(usize, isize)>,
    /// Below all priorities.
    lowest: isize,
    n_acts: usize,
    last: usize,
    /// Acts of `last` since anything changed.
    n_idle: usize,
}

impl Pct {
    /// Draws priorities of so many CPUs, and when they change in a run of about `n_acts`.
    pub(super) fn draw(depth: usize, n_cpus: usize, n_acts: usize, rng: &mut Rng) -> Self {
        let mut priorities = [0; ACTORS];
        for idx in 1..PARTS * n_drawn(n_cpus) {
            let other = rng.below(idx + 1);
            priorities[idx] = priorities[other];
            priorities[other] = idx as isize;
        }
        // The later the number, the higher, so that who was put down first comes last.
        let changes = (1..depth as isize).map(|number| (rng.below(n_acts.max(1)), number - depth as isize)).collect();
        Pct { priorities, changes, lowest: -(depth as isize), n_acts: 0, last: 0, n_idle: 0 }
    }

    fn highest(&self, acts: &[Act]) -> usize {
        acts.iter().map(|act| actor(*act)).max_by_key(|actor| self.priorities[*actor]).expect("there is an act")
    }

    fn put_down(&mut self, actor: usize) {
        self.lowest -= 1;
        self.priorities[actor] = self.lowest;
        self.n_idle = 0;
    }
}

impl Choice for Pct {
    fn pick(&mut self, acts: &[Act], rng: &mut Rng) -> Act {
        while let Some(due) = self.changes.iter().position(|(when, _)| *when <= self.n_acts) {
            let (_, priority) = self.changes.swap_remove(due);
            let highest = self.highest(acts);
            self.priorities[highest] = priority;
        }
        self.n_acts += 1;
        let highest = self.highest(acts);
        if self.last != highest {
            (self.last, self.n_idle) = (highest, 0);
        }
        let its_acts: Vec<Act> = acts.iter().copied().filter(|act| actor(*act) == highest).collect();
        its_acts[rng.below(its_acts.len())]
    }

    fn hear(&mut self, has_changed: bool) {
        let is_code = self.last.is_multiple_of(PARTS);
        self.n_idle = if has_changed && is_code { 0 } else { self.n_idle + 1 };
        if self.n_idle >= PATIENCE {
            self.put_down(self.last);
        }
    }
}

fn actor(act: Act) -> usize {
    let part = match act {
        Act::Step { .. } => 0,
        Act::Interrupt { .. } | Act::Tick { .. } => 1,
        Act::Drain { .. } => 2,
        Act::Walk { .. } | Act::Evict { .. } => 3,
    };
    PARTS * usize::from(act.cpu().0) + part
}

#[cfg(test)]
mod tests {
    use shootdown::CpuId;

    use super::*;

    const BOTH: [Act; 2] = [Act::Step { cpu: CpuId(0), outcome: 0 }, Act::Step { cpu: CpuId(1), outcome: 0 }];

    fn picks(depth: usize, seed: u64, has_changed: bool) -> Vec<Act> {
        let mut rng = Rng::new(seed);
        let mut pct = Pct::draw(depth, 2, 40, &mut rng);
        let mut pick = || {
            let act = pct.pick(&BOTH, &mut rng);
            pct.hear(has_changed);
            act
        };
        (0..40).map(|_| pick()).collect()
    }

    fn n_switches(acts: &[Act]) -> usize {
        acts.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    #[test]
    fn the_depth_bounds_how_often_it_switches() {
        for depth in 1..5 {
            let most = (0..200).map(|seed| n_switches(&picks(depth, seed, true))).max();
            assert_eq!(most, Some(depth - 1));
        }
    }

    #[test]
    fn who_only_waits_is_put_down() {
        assert_eq!(n_switches(&picks(1, 7, false)), 40 / PATIENCE);
    }

    #[test]
    fn each_actor_has_a_priority_of_its_own() {
        let mut priorities = Pct::draw(3, MAX_CPUS, 40, &mut Rng::new(5)).priorities.to_vec();
        priorities.sort_unstable();
        assert!(priorities.iter().copied().eq(0..ACTORS as isize));
    }
}
