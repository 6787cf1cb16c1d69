//! Breadth-first search over all states, with fingerprints for those that were seen.

use std::mem;

use rustc_hash::FxHashMap;
use shootdown_sim::smp::{Act, Hardware};

use super::{Limits, Product, Unfolding, doom, fingerprint::fingerprint, state::State};
use crate::{
    driver::Driver,
    failure::Failure,
    fix_set::FixSet,
    reach::Missing,
    report::{Finding, Report},
    scenario::Scenario,
    schedule::{decode, encode},
};

/// A state's number, in the order in which states were reached.
pub(super) type StateIdx = u32;

/// What is remembered of the states.
#[derive(Default)]
struct Reached {
    by_fingerprint: FxHashMap<u64, StateIdx>,
    /// How each was reached first.
    came_by: Vec<CameBy>,
    /// The transitions, by the numbers of the states at both ends.
    transitions: Vec<(StateIdx, StateIdx)>,
    /// States in which the scenario is at its end.
    ends: Vec<StateIdx>,
    /// What the scenario must come by and has not yet.
    missing: Missing,
}

/// The state before, and the act as a byte.
#[derive(Clone, Copy)]
struct CameBy {
    before: StateIdx,
    act: u8,
}

impl CameBy {
    /// Where the first state came from.
    const NOWHERE: CameBy = CameBy { before: StateIdx::MAX, act: 0 };
}

impl Reached {
    /// Takes note of a state; tells its number and whether it is new.
    fn insert(&mut self, state: &State, came_by: CameBy) -> (StateIdx, bool) {
        let next = StateIdx::try_from(self.came_by.len()).expect("the limit is below 2^32 states");
        let idx = *self.by_fingerprint.entry(fingerprint(state)).or_insert(next);
        if idx == next {
            self.missing.look(state.hardware());
            self.came_by.push(came_by);
        }
        (idx, idx == next)
    }

    /// The acts that lead to a state, one of the shortest ways.
    fn way_to(&self, mut idx: StateIdx) -> Vec<Act> {
        let mut acts = Vec::new();
        while self.came_by[idx as usize].before != CameBy::NOWHERE.before {
            let CameBy { before, act } = self.came_by[idx as usize];
            acts.push(decode(act).expect("the byte was made of an act"));
            idx = before;
        }
        acts.reverse();
        acts
    }
}

/// How a search ended.
enum Ended {
    Exhausted,
    AtLimit,
    Failed(Failure, Vec<Act>),
}

/// Explores a scenario from its initial state.
pub(super) fn run(scenario: &'static Scenario, left_out: FixSet, initial: &Hardware, limits: Limits) -> Report {
    let mut unfolding = Unfolding::new(scenario, left_out);
    let mut reached = Reached { missing: Missing::new(scenario.reaches), ..Reached::default() };
    let ended = match State::start(&mut unfolding, scenario, initial) {
        Ok(start) => explore(scenario, &mut unfolding, &mut reached, start, limits),
        Err(failure) => Ended::Failed(failure, Vec::new()),
    };
    let is_exhausted = matches!(ended, Ended::Exhausted);
    let failed = match ended {
        Ended::Exhausted => find_doom(scenario, &mut unfolding, &reached, initial),
        Ended::AtLimit => None,
        Ended::Failed(failure, acts) => Some((failure, acts)),
    };
    let missed = if is_exhausted { mem::take(&mut reached.missing).finish() } else { Vec::new() };
    Report {
        scenario: scenario.name,
        left_out,
        machine: scenario.machine,
        n_states: reached.came_by.len(),
        n_transitions: reached.transitions.len(),
        n_local_nodes: unfolding.n_nodes(),
        is_exhausted,
        missed,
        finding: failed.map(|(failure, acts)| Finding::new(scenario, left_out, initial, acts, &failure)),
    }
}

/// States are taken in the order in which they were reached, so the first failure is one of those with the fewest acts.
fn explore(
    scenario: &'static Scenario,
    unfolding: &mut Unfolding,
    reached: &mut Reached,
    start: State,
    limits: Limits,
) -> Ended {
    // States of which the next are not known yet, and those. They are large, so they stay where they are.
    let mut layer = vec![(reached.insert(&start, CameBy::NOWHERE).0, start)];
    let mut next_layer = Vec::new();
    let mut acts = Vec::new();
    while !layer.is_empty() {
        for (idx, state) in &mut layer {
            let product = Product { scenario, unfolding: &mut *unfolding, state: &mut *state };
            if product.is_finished() {
                if let Err(failure) = product.check_end() {
                    return Ended::Failed(failure, reached.way_to(*idx));
                }
                reached.ends.push(*idx);
                continue;
            }
            product.enabled(&mut acts);
            for act in acts.drain(..) {
                let mut next = state.clone();
                if let Err(failure) = next.perform(unfolding, act) {
                    let mut way = reached.way_to(*idx);
                    way.push(act);
                    return Ended::Failed(failure, way);
                }
                let (next_idx, is_new) = reached.insert(&next, CameBy { before: *idx, act: encode(act) });
                reached.transitions.push((*idx, next_idx));
                if is_new {
                    next_layer.push((next_idx, next));
                }
            }
            if reached.came_by.len() > limits.max_states {
                return Ended::AtLimit;
            }
        }
        mem::swap(&mut layer, &mut next_layer);
        next_layer.clear();
    }
    Ended::Exhausted
}

/// Finds the doomed state with the shortest way to it, and what its doom looks like.
fn find_doom(
    scenario: &'static Scenario,
    unfolding: &mut Unfolding,
    reached: &Reached,
    initial: &Hardware,
) -> Option<(Failure, Vec<Act>)> {
    let doomed = doom::first_doomed(reached.came_by.len(), &reached.transitions, &reached.ends)?;
    let acts = reached.way_to(doomed);
    let mut product = Product::start(scenario, unfolding, initial).expect("the search came by here");
    for act in &acts {
        product.perform(*act).expect("the search came by here");
    }
    let failure = product.finish_fairly().expect_err("no schedule leads out of a doomed state");
    Some((failure, acts))
}
