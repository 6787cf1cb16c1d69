//! Runs tiny straight-line programs in every way the machine allows.

use std::collections::{BTreeSet, HashSet};

use shootdown::CpuId;
use shootdown_sim::smp::{Act, Hardware, Location, Operation, Violation};

/// What one run came to: what each CPU's loads and accesses found, CPU after CPU, and then what was left in the places
/// that the test watches.
pub(crate) type Outcome = Vec<u64>;

/// What all runs came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) ends: BTreeSet<Outcome>,
    pub(crate) violations: Vec<Violation>,
}

impl Outcomes {
    /// Tells whether some run came to this.
    pub(crate) fn allow(&self, outcome: &[u64]) -> bool {
        assert!(self.ends.iter().all(|end| end.len() == outcome.len()), "not how outcomes look here: {outcome:?}");
        self.ends.contains(outcome)
    }

    /// The ends, where no run may break a law.
    pub(crate) fn lawful_ends(self) -> Vec<Outcome> {
        assert_eq!(self.violations, [], "some run breaks a law");
        self.ends.into_iter().collect()
    }
}

/// What each CPU does, and what it does when it is kicked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Program<'p> {
    pub(crate) cpus: &'p [&'p [Operation]],
    pub(crate) handler: &'p [Operation],
    pub(crate) watched: &'p [Location],
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    hardware: Hardware,
    /// For each CPU how far its program has come, and its handler if that is running.
    positions: Vec<(usize, Option<usize>)>,
    found: Vec<Vec<u64>>,
}

/// Runs a program from `initial` in every way.
pub(crate) fn run(initial: &Hardware, program: Program<'_>) -> Outcomes {
    let n_cpus = program.cpus.len();
    let start =
        State { hardware: initial.clone(), positions: vec![(0, None); n_cpus], found: vec![Vec::new(); n_cpus] };
    let mut outcomes = Outcomes::default();
    let mut seen = HashSet::from([start.clone()]);
    let mut unfinished = vec![start];
    let mut acts = Vec::new();
    while let Some(state) = unfinished.pop() {
        let pending: Vec<Operation> = (0..n_cpus).map(|cpu| state.pending(program, cpu)).collect();
        if state.is_finished(&pending) {
            outcomes.ends.insert(state.outcome(program));
            continue;
        }
        state.hardware.enabled(&pending, &mut acts);
        for act in acts.drain(..) {
            let mut next = state.clone();
            match next.perform(&pending, act) {
                Err(violation) if !outcomes.violations.contains(&violation) => outcomes.violations.push(violation),
                Err(_) => {}
                Ok(()) if seen.insert(next.clone()) => unfinished.push(next),
                Ok(()) => {}
            }
        }
    }
    outcomes
}

impl State {
    fn pending(&self, program: Program<'_>, cpu: usize) -> Operation {
        let next = |code: &[Operation], position: usize, end| code.get(position).copied().unwrap_or(end);
        match self.positions[cpu] {
            (position, None) => next(program.cpus[cpu], position, Operation::Idle),
            (_, Some(position)) => next(program.handler, position, Operation::ReturnFromInterrupt),
        }
    }

    fn is_finished(&self, pending: &[Operation]) -> bool {
        (0..).map(CpuId).zip(pending).all(|(cpu, operation)| {
            let here = self.hardware.cpu(cpu);
            *operation == Operation::Idle && !here.is_kicked() && here.has_drained()
        })
    }

    fn outcome(&self, program: Program<'_>) -> Outcome {
        let watched = program.watched.iter().map(|at| self.hardware.peek(*at));
        self.found.iter().flatten().copied().chain(watched).collect()
    }

    fn perform(&mut self, pending: &[Operation], act: Act) -> Result<(), Violation> {
        let cpu = usize::from(act.cpu().0);
        match act {
            Act::Step { outcome, .. } => {
                let result = self.hardware.step(act.cpu(), pending[cpu], outcome)?;
                if matches!(pending[cpu], Operation::Load(..) | Operation::Modify(..) | Operation::Access(..)) {
                    self.found[cpu].push(result);
                }
                self.positions[cpu] = match self.positions[cpu] {
                    (position, None) => (position + 1, None),
                    (position, Some(_)) if pending[cpu] == Operation::ReturnFromInterrupt => (position, None),
                    (position, Some(in_handler)) => (position, Some(in_handler + 1)),
                };
                Ok(())
            }
            Act::Interrupt { .. } => {
                self.hardware.interrupt(act.cpu());
                self.positions[cpu].1 = Some(0);
                Ok(())
            }
            Act::Tick { .. } => unreachable!("litmus tests have no timers"),
            Act::Walk { .. } | Act::Drain { .. } | Act::Evict { .. } => self.hardware.happen(act),
        }
    }
}
