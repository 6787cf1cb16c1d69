//! The live driver: each CPU's code on its own coroutine, interrupt handlers on top of what they interrupted.
//!
//! Fast, and needs no memory, but sees one interleaving at a time. It searches at random, and replays what either
//! driver found. It alone also checks that owned words are owned ([`Race`]).

use shootdown::CpuId;
use shootdown_sim::smp::{Act, Hardware, Operation};

pub(crate) use crate::portfolio::search_without;
use crate::{
    coroutine::{Answer, Code, Role, Stop, Task},
    driver::{self, Driver, Situation},
    failure::Failure,
    left_out::LeftOut,
    places::touched,
    races::{Actor, Race, Races},
    scenario::Scenario,
};
pub use crate::{
    portfolio::{Searched, Strategy, search, search_with},
    replay::{ReplayError, Replayed, replay},
};

/// All CPUs of a scenario, running.
pub(crate) struct Live {
    scenario: &'static Scenario,
    hardware: Hardware,
    races: Races,
    /// A race that was just heard of.
    race: Option<Race>,
    ignores_races: bool,
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
    pub(crate) fn start(scenario: &'static Scenario, left_out: LeftOut, initial: &Hardware) -> Result<Self, Failure> {
        let cpus = scenario.cpus().map(|cpu| Running::start(Code { scenario, left_out, cpu, role: Role::Main }));
        let (races, cpus) = (Races::new(), cpus.collect());
        let mut live = Live { scenario, hardware: initial.clone(), races, race: None, ignores_races: false, cpus };
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
        self.race = self.race.take().or(self.races.hear(actor, operation).err());
        self.running(cpu).resume(Answer::Result(result));
        Ok(())
    }

    /// Begins the handler of an interrupt that the hardware has taken.
    fn interrupted(&mut self, cpu: CpuId, answer: Answer) -> Result<(), Failure> {
        self.races.hear_interrupt(cpu);
        self.running(cpu).resume(answer);
        self.settle(cpu)
    }

    /// Performs what is private to the CPU, together with the step before it.
    fn settle(&mut self, cpu: CpuId) -> Result<(), Failure> {
        while self.pending(cpu).is_private() {
            self.step(cpu, 0)?;
        }
        match self.stop(cpu) {
            Stop::Panicked(panic) => Err(Failure::Panic(cpu, panic.clone())),
            Stop::Operation(..) => self.check_races(),
        }
    }

    /// A run can go on after a race, unlike after other failures: the machine is as if there were none.
    fn check_races(&mut self) -> Result<(), Failure> {
        match self.race.take() {
            Some(race) if !self.ignores_races => Err(Failure::Race(race)),
            _ => Ok(()),
        }
    }

    /// Looks for races no longer.
    pub(crate) fn ignore_races(&mut self) {
        self.ignores_races = true;
    }
}

impl Situation for Live {
    fn scenario(&self) -> &'static Scenario {
        self.scenario
    }

    fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    fn pending(&self, cpu: CpuId) -> Operation {
        self.stop(cpu).operation()
    }
}

impl Driver for Live {
    fn perform(&mut self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Step { cpu, outcome } => {
                self.step(cpu, outcome)?;
                self.settle(cpu)
            }
            Act::Interrupt { cpu } => {
                self.hardware.interrupt(cpu);
                self.interrupted(cpu, Answer::Interrupt)
            }
            Act::Tick { cpu } => {
                self.hardware.tick(cpu);
                self.interrupted(cpu, Answer::Tick)
            }
            Act::Walk { .. } | Act::Drain { .. } | Act::Evict { .. } => Ok(self.hardware.happen(act)?),
        }
    }
}

/// A run that remembers its acts.
pub(crate) struct Recording {
    live: Live,
    pub(crate) acts: Vec<Act>,
}

impl Recording {
    pub(crate) fn new(live: Live) -> Self {
        Recording { live, acts: Vec::new() }
    }

    /// Lets `act` happen and tells whether it was more than a look at memory.
    pub(crate) fn perform_and_tell(&mut self, act: Act) -> Result<bool, Failure> {
        let looks_at = match act {
            Act::Step { cpu, .. } => touched(self.pending(cpu)),
            _ => None,
        };
        let was = looks_at.map(|at| self.hardware().peek_from(act.cpu(), at));
        self.perform(act)?;
        let is = looks_at.map(|at| self.hardware().peek_from(act.cpu(), at));
        Ok(looks_at.is_none() || is != was)
    }

    /// Lets every CPU take its turn until the end. If there is none, none of that is remembered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let n_acts = self.acts.len();
        let finished = self.finish_fairly();
        if let Err(Failure::Doomed(_)) = finished {
            self.acts.truncate(n_acts);
        }
        finished
    }
}

impl Situation for Recording {
    fn scenario(&self) -> &'static Scenario {
        self.live.scenario
    }

    fn hardware(&self) -> &Hardware {
        &self.live.hardware
    }

    fn pending(&self, cpu: CpuId) -> Operation {
        self.live.pending(cpu)
    }
}

impl Driver for Recording {
    fn perform(&mut self, act: Act) -> Result<(), Failure> {
        self.acts.push(act);
        self.live.perform(act)
    }
}

/// Makes the initial state of a scenario by running its setup, one CPU after the other.
///
/// # Panics
/// If the setup fails or leaves a kick pending: the scenario is wrong.
pub(crate) fn initial(scenario: &'static Scenario, left_out: LeftOut) -> Hardware {
    let mut hardware = driver::blank(scenario);
    for cpu in scenario.cpus() {
        let mut setup = Running::start(Code { scenario, left_out, cpu, role: Role::Setup });
        while setup.stop.operation() != Operation::Idle {
            let result = hardware.step(cpu, setup.stop.operation(), 0);
            match result.and_then(|result| hardware.drain_all(cpu).map(|()| result)) {
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
