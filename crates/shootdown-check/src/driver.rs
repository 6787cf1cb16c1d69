//! What both drivers can do: look at a run, list what can happen, let one thing happen.

use shootdown::CpuId;
use shootdown_sim::smp::{Act, Hardware, MAX_CPUS, Operation};

use crate::{
    failure::{Doom, Failure},
    places::PLACES,
    scenario::Scenario,
};

/// Rounds in which every CPU gets a turn, after which a run that has not come to its end is said never to do so. A
/// scenario's runs are a few hundred steps long.
const FAIR_ROUNDS: usize = 2_000;

/// Time enough for a tick's handler to come to its end before the next one.
const ROUNDS_BETWEEN_TICKS: usize = 50;

/// A run of a scenario in some state, to look at.
pub(crate) trait Situation {
    fn scenario(&self) -> &'static Scenario;

    fn hardware(&self) -> &Hardware;

    /// The operation that `cpu` performs next.
    fn pending(&self, cpu: CpuId) -> Operation;

    /// Lists what can happen next.
    fn enabled(&self, acts: &mut Vec<Act>) {
        let mut pending = [Operation::Idle; MAX_CPUS];
        self.scenario().cpus().for_each(|cpu| pending[usize::from(cpu.0)] = self.pending(cpu));
        self.hardware().enabled(&pending[..self.scenario().machine.cpus], acts);
    }

    /// Tells whether every CPU has come to its end, no kick is pending that will be taken and no store on its way.
    fn is_finished(&self) -> bool {
        self.scenario().cpus().all(|cpu| {
            let here = self.hardware().cpu(cpu);
            self.is_idle(cpu) && (!here.is_kicked() || here.is_masked()) && here.has_drained()
        })
    }

    /// Checks what must hold when the scenario is at its end.
    fn check_end(&self) -> Result<(), Failure> {
        Ok(self.hardware().check_end()?)
    }

    fn is_idle(&self, cpu: CpuId) -> bool {
        self.pending(cpu) == Operation::Idle
    }
}

/// A run of a scenario that can go on.
pub(crate) trait Driver: Situation {
    /// Lets `act`, which must be enabled, happen.
    fn perform(&mut self, act: Act) -> Result<(), Failure>;

    /// What `cpu` does when it is its turn, if anything: stores reach memory before anything else is done, interrupts are
    /// taken as soon as they can be, and clocks say that it has been too long.
    fn turn(&self, cpu: CpuId) -> Option<Act> {
        if !self.hardware().cpu(cpu).has_drained() {
            return self.hardware().drains(cpu).next();
        }
        if self.hardware().takes_interrupt(cpu) {
            return Some(Act::Interrupt { cpu });
        }
        let can_step = !self.is_idle(cpu) && self.hardware().is_ready(cpu, self.pending(cpu));
        // A wait that goes on for ever is too long at last.
        let outcome = u8::from(self.pending(cpu) == Operation::AskClock);
        can_step.then_some(Act::Step { cpu, outcome })
    }

    /// Lets one CPU after the other take its turn until the end.
    fn finish_fairly(&mut self) -> Result<(), Failure> {
        let mut middle = None;
        let mut has_changed = false;
        for round in 0..FAIR_ROUNDS {
            if round == FAIR_ROUNDS / 2 {
                middle = Some(self.hardware().clone());
            }
            let is_tick_due = round % ROUNDS_BETWEEN_TICKS == 0;
            for cpu in self.scenario().cpus() {
                if is_tick_due && self.hardware().takes_tick(cpu) {
                    self.perform(Act::Tick { cpu })?;
                }
                if let Some(act) = self.turn(cpu) {
                    self.perform(act)?;
                }
                has_changed |= middle.as_ref().is_some_and(|middle| !self.hardware().has_same_memory(middle));
            }
            if self.is_finished() {
                return self.check_end();
            }
        }
        Err(Failure::Doomed(match has_changed {
            true => Doom::Livelock,
            false if self.is_anyone_asleep() => Doom::LostKick,
            false => Doom::Deadlock,
        }))
    }

    /// Tells whether some CPU has come to its end and would take a kick, but none is pending.
    fn is_anyone_asleep(&self) -> bool {
        self.scenario().cpus().any(|cpu| {
            let here = self.hardware().cpu(cpu);
            self.is_idle(cpu) && !here.is_masked() && !here.is_kicked()
        })
    }
}

/// Makes the machine that scenarios begin on, before any setup.
pub(crate) fn blank(scenario: &Scenario) -> Hardware {
    Hardware::new(scenario.machine, PLACES.n_words(scenario.machine.cpus))
}
