//! The live driver: each CPU's code on its own coroutine, interrupt handlers on top of what they interrupted.
//!
//! Fast, and needs no memory, but sees one interleaving at a time. It searches at random, and replays what either
//! driver found. It alone also checks that owned words are owned ([`Race`](crate::Race)).

use std::fmt;

use shootdown::{CpuId, Fix};
use shootdown_sim::smp::{Act, Hardware, Operation};

use crate::{
    bias::Bias,
    coroutine::{Answer, Code, Role, Stop, Task},
    driver::{self, Driver},
    failure::Failure,
    fix_set::FixSet,
    races::{Actor, Races},
    report::Finding,
    rng::Rng,
    scenario::Scenario,
    schedule::Schedule,
    trace::{Trace, TraceBuilder},
};

/// Acts after which a random run no longer acts at random but lets every CPU take its turn.
const MAX_RANDOM_ACTS: usize = 2_000;

/// All CPUs of a scenario, running.
pub(crate) struct Live {
    scenario: &'static Scenario,
    hardware: Hardware,
    races: Races,
    cpus: Vec<Running>,
}

struct Running {
    task: Task,
    stop: Stop,
}

impl Running {
    fn start(code: Code) -> Self {
        let mut task = Task::new(code);
        let stop = task.resume_to_stop(Answer::Result(0));
        Running { task, stop }
    }

    fn resume(&mut self, answer: Answer) {
        self.stop = self.task.resume_to_stop(answer);
    }
}

impl Live {
    /// Starts the scenario from its initial state.
    pub(crate) fn start(scenario: &'static Scenario, left_out: FixSet, initial: &Hardware) -> Result<Self, Failure> {
        let cpus = scenario.cpus().map(|cpu| Running::start(Code { scenario, left_out, cpu, role: Role::Main }));
        let mut live = Live { scenario, hardware: initial.clone(), races: Races::new(), cpus: cpus.collect() };
        for cpu in scenario.cpus() {
            live.settle(cpu)?;
        }
        Ok(live)
    }

    /// Where the code of `cpu` stands.
    pub(crate) fn stop(&self, cpu: CpuId) -> &Stop {
        &self.cpus[usize::from(cpu.0)].stop
    }

    fn running(&mut self, cpu: CpuId) -> &mut Running {
        &mut self.cpus[usize::from(cpu.0)]
    }

    fn step(&mut self, cpu: CpuId, outcome: u8) -> Result<(), Failure> {
        let operation = self.pending(cpu);
        let actor = Actor::new(cpu, self.hardware.cpu(cpu).depth());
        let result = self.hardware.step(cpu, operation, outcome)?;
        self.races.hear(actor, operation).map_err(Failure::Race)?;
        self.running(cpu).resume(Answer::Result(result));
        Ok(())
    }

    /// Performs what is private to the CPU, together with the step before it.
    fn settle(&mut self, cpu: CpuId) -> Result<(), Failure> {
        while self.pending(cpu).is_private() {
            self.step(cpu, 0)?;
        }
        match self.stop(cpu) {
            Stop::Panicked(panic) => Err(Failure::Panic(cpu, panic.clone())),
            Stop::Operation(..) => Ok(()),
        }
    }
}

impl Driver for Live {
    fn scenario(&self) -> &'static Scenario {
        self.scenario
    }

    fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    fn pending(&self, cpu: CpuId) -> Operation {
        self.stop(cpu).operation()
    }

    fn perform(&mut self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Step { cpu, outcome } => {
                self.step(cpu, outcome)?;
                self.settle(cpu)
            }
            Act::Interrupt { cpu } => {
                self.hardware.interrupt(cpu);
                self.races.hear_interrupt(cpu);
                self.running(cpu).resume(Answer::Interrupt);
                self.settle(cpu)
            }
            Act::Walk { cpu, walk } => Ok(self.hardware.speculate(cpu, walk)?),
        }
    }
}

/// Makes the initial state of a scenario by running its setup, one CPU after the other.
///
/// # Panics
/// If the setup fails or leaves a kick pending: the scenario is wrong.
pub(crate) fn initial(scenario: &'static Scenario, left_out: FixSet) -> Hardware {
    let mut hardware = driver::blank();
    for cpu in scenario.cpus() {
        let mut setup = Running::start(Code { scenario, left_out, cpu, role: Role::Setup });
        while setup.stop.operation() != Operation::Idle {
            match hardware.step(cpu, setup.stop.operation(), 0) {
                Ok(result) => setup.resume(Answer::Result(result)),
                Err(violation) => panic!("the setup of {} on CPU {}: {violation}", scenario.name, cpu.0),
            }
        }
        if let Stop::Panicked(panic) = setup.stop {
            panic!("the setup of {} on CPU {}: {panic}", scenario.name, cpu.0);
        }
    }
    let is_kicked = scenario.cpus().any(|cpu| hardware.cpu(cpu).is_kicked());
    assert!(!is_kicked, "the setup of {} leaves a kick pending", scenario.name);
    hardware
}

/// What a random search did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Runs made, the failing one included.
    pub n_runs: usize,
    /// Acts in all of them.
    pub n_acts: usize,
    /// What was found, if anything.
    pub finding: Option<Finding>,
}

/// Runs a scenario at most `n_runs` times, with what happens next chosen at random; in each run some CPUs and
/// some walkers are slow.
///
/// A run that takes very long is brought to its end with every CPU taking its turn; if it has none even so, that counts
/// as doomed. The graph driver, which knows all schedules, is exact about it.
#[must_use]
pub fn search(scenario: &'static Scenario, left_out: &[Fix], seed: u64, n_runs: usize) -> Searched {
    let left_out = FixSet::from(left_out);
    let initial = initial(scenario, left_out);
    let mut rng = Rng::new(seed);
    let mut searched = Searched { n_runs: 0, n_acts: 0, finding: None };
    while searched.n_runs < n_runs && searched.finding.is_none() {
        let mut acts = Vec::new();
        let run = run_at_random(scenario, left_out, &initial, &mut rng, &mut acts);
        searched.n_runs += 1;
        searched.n_acts += acts.len();
        if let Err(failure) = run {
            searched.finding = Some(Finding::new(scenario, left_out, &initial, acts, &failure));
        }
    }
    searched
}

fn run_at_random(
    scenario: &'static Scenario,
    left_out: FixSet,
    initial: &Hardware,
    rng: &mut Rng,
    acts: &mut Vec<Act>,
) -> Result<(), Failure> {
    let mut live = Live::start(scenario, left_out, initial)?;
    let bias = Bias::draw(rng);
    let mut enabled = Vec::new();
    while !live.is_finished() && acts.len() < MAX_RANDOM_ACTS {
        live.enabled(&mut enabled);
        if enabled.is_empty() {
            break;
        }
        let act = bias.pick(&enabled, rng);
        acts.push(act);
        live.perform(act)?;
    }
    live.finish_fairly()
}

/// A replayed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What happened, step by step.
    pub trace: Trace,
    /// What the schedule ran into, if anything. After its last act, every CPU takes its turn until the end.
    pub failure: Option<Failure>,
}

/// A schedule does not fit the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// It is one of another scenario.
    OtherScenario(String),
    /// The act at this place cannot happen there, or comes after the failure.
    CannotHappen {
        /// The act.
        act: Act,
        /// Its place, from 0.
        index: usize,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::OtherScenario(name) => write!(f, "the schedule is one of scenario {name:?}"),
            ReplayError::CannotHappen { act, index } => write!(f, "act {index} of the schedule cannot happen: {act:?}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Replays a schedule.
///
/// # Errors
/// [`ReplayError`] if the schedule does not fit the scenario, as when the library has changed since.
pub fn replay(scenario: &'static Scenario, left_out: &[Fix], schedule: &Schedule) -> Result<Replayed, ReplayError> {
    if schedule.scenario != scenario.name {
        return Err(ReplayError::OtherScenario(schedule.scenario.clone()));
    }
    let left_out = FixSet::from(left_out);
    replay_acts(scenario, left_out, &initial(scenario, left_out), &schedule.acts)
}

pub(crate) fn replay_acts(
    scenario: &'static Scenario,
    left_out: FixSet,
    initial: &Hardware,
    acts: &[Act],
) -> Result<Replayed, ReplayError> {
    let mut trace = TraceBuilder::new(scenario, left_out);
    let mut enabled = Vec::new();
    let mut run = Live::start(scenario, left_out, initial);
    for (index, act) in acts.iter().enumerate() {
        let cannot_happen = ReplayError::CannotHappen { act: *act, index };
        let Ok(live) = &mut run else {
            return Err(cannot_happen);
        };
        live.enabled(&mut enabled);
        if !enabled.contains(act) {
            return Err(cannot_happen);
        }
        trace.push(live, *act);
        if let Err(failure) = live.perform(*act) {
            run = Err(failure);
        }
    }
    let failure = run.and_then(|mut live| live.finish_fairly()).err();
    Ok(Replayed { trace: trace.end(failure.as_ref()), failure })
}
