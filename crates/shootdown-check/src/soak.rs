//! Random operations for as long as one likes: the live driver on scenarios that no search could exhaust.
//!
//! Rounds are numbered, and what happens in one depends on its number and the seed alone, however many threads there are.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use shootdown::Fix;

use crate::{live, report::Finding, scenario::Scenario, scenarios::soak::OPERATIONS_PER_CPU};

/// Runs in a round: some for each strategy, so that each learns how long they are.
const RUNS_PER_ROUND: u64 = 48;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soaked {
    /// Operations of all CPUs, each from its beginning to its end: faults, unmaps, moves and so on.
    pub n_operations: u64,
    /// Runs, each from the initial state.
    pub n_runs: u64,
    /// What happened in them: steps of code, interrupts, and what hardware does by itself.
    pub n_acts: u64,
    /// What was found, if anything, shrunk.
    pub finding: Option<Finding>,
}

/// One round.
struct Round {
    index: u64,
    soaked: Soaked,
}

/// Performs at least so many operations of these scenarios in turn, or until something goes wrong, on so many threads; `heard`
/// is told how many were performed from time to time.
///
/// # Panics
/// If there are no scenarios.
#[must_use]
pub fn soak(
    scenarios: &[&'static Scenario],
    left_out: &[Fix],
    seed: u64,
    n_operations: u64,
    n_threads: usize,
    mut heard: impl FnMut(u64),
) -> Soaked {
    let n_rounds = n_rounds(scenarios, n_operations);
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (done, rounds) = mpsc::channel();
    let mut total = Soaked::default();
    let mut first_to_fail: Option<(u64, Finding)> = None;
    thread::scope(|scope| {
        for _ in 0..n_threads {
            let (next, is_over, done) = (&next, &is_over, done.clone());
            scope.spawn(move || {
                while !is_over.load(Relaxed) {
                    let index = next.fetch_add(1, Relaxed);
                    // Nobody listens any more if `heard` has panicked.
                    if index >= n_rounds || done.send(round(scenarios, left_out, seed, index)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for Round { index, soaked } in rounds {
            total.n_operations += soaked.n_operations;
            total.n_runs += soaked.n_runs;
            total.n_acts += soaked.n_acts;
            if let Some(finding) = soaked.finding {
                is_over.store(true, Relaxed);
                // Rounds begin in order, so the first that fails is among those that have begun.
                if first_to_fail.as_ref().is_none_or(|(first, _)| index < *first) {
                    first_to_fail = Some((index, finding));
                }
            }
            heard(total.n_operations);
        }
    });
    total.finding = first_to_fail.map(|(_, finding)| finding);
    total
}

fn n_rounds(scenarios: &[&'static Scenario], n_operations: u64) -> u64 {
    let fewest = scenarios.iter().map(|scenario| per_run(scenario)).min().unwrap_or(1);
    n_operations.div_ceil(RUNS_PER_ROUND * fewest)
}

fn per_run(scenario: &Scenario) -> u64 {
    scenario.machine.cpus as u64 * OPERATIONS_PER_CPU
}

fn round(scenarios: &[&'static Scenario], left_out: &[Fix], seed: u64, index: u64) -> Round {
    let scenario = scenarios[(index % scenarios.len() as u64) as usize];
    // So that rounds of neighbouring seeds are not the same.
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index;
    let searched = live::search(scenario, left_out, seed, RUNS_PER_ROUND as usize);
    // The run that fails does not perform all that it set out to.
    let n_whole = searched.n_runs as u64 - u64::from(searched.finding.is_some());
    Round {
        index,
        soaked: Soaked {
            n_operations: n_whole * per_run(scenario),
            n_runs: searched.n_runs as u64,
            n_acts: searched.n_acts as u64,
            finding: searched.finding,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::soak::ALL;

    #[test]
    fn a_seed_determines_what_is_found_however_many_threads_there_are() {
        let found = |n_threads, seed| {
            soak(&ALL, &[Fix::FlushRemote], seed, 100_000, n_threads, |_| {})
                .finding
                .expect("the fix is needed")
                .schedule
        };
        assert_eq!(found(1, 5), found(3, 5));
        assert_ne!(found(1, 5), found(1, 6));
    }

    #[test]
    fn it_performs_as_many_operations_as_it_is_asked_for() {
        let mut last = 0;
        let soaked = soak(&ALL, &[], 1, 3_000, 2, |n_operations| last = n_operations);
        assert!(soaked.n_operations >= 3_000 && soaked.n_operations == last, "{soaked:?}");
        assert!(soaked.n_acts > soaked.n_operations);
    }
}
