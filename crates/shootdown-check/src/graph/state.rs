//! A state of the product: the hardware, and for each CPU where its code is.

use std::borrow::BorrowMut;

use shootdown::CpuId;
use shootdown_sim::smp::{Act, Hardware, MAX_CPUS, MAX_DEPTH, Operation};

use super::unfold::{NodeId, Unfolding};
use crate::{coroutine::Stop, driver::Driver, failure::Failure, scenario::Scenario};

/// Where a CPU is in its main code and in each interrupt handler on top of it. How many there are, the hardware knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Position {
    main: NodeId,
    handlers: [NodeId; MAX_DEPTH],
}

/// One state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    hardware: Hardware,
    positions: [Position; MAX_CPUS],
}

impl State {
    /// The state in which all CPUs begin.
    pub(crate) fn start(
        unfolding: &mut Unfolding,
        scenario: &'static Scenario,
        initial: &Hardware,
    ) -> Result<Self, Failure> {
        let nowhere = Position { main: NodeId::NONE, handlers: [NodeId::NONE; MAX_DEPTH] };
        let mut state = State { hardware: initial.clone(), positions: [nowhere; MAX_CPUS] };
        for cpu in scenario.cpus() {
            state.positions[usize::from(cpu.0)].main = unfolding.main(cpu);
            state.settle(unfolding, cpu)?;
        }
        Ok(state)
    }

    pub(crate) fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Where the CPU's running code is: its topmost handler, or else its main code.
    fn position(&mut self, cpu: CpuId) -> &mut NodeId {
        let position = &mut self.positions[usize::from(cpu.0)];
        match self.hardware.cpu(cpu).depth().checked_sub(1) {
            None => &mut position.main,
            Some(top) => &mut position.handlers[top],
        }
    }

    fn stop<'u>(&self, unfolding: &'u Unfolding, cpu: CpuId) -> &'u Stop {
        let position = &self.positions[usize::from(cpu.0)];
        unfolding.stop(match self.hardware.cpu(cpu).depth().checked_sub(1) {
            None => position.main,
            Some(top) => position.handlers[top],
        })
    }

    pub(crate) fn pending(&self, unfolding: &Unfolding, cpu: CpuId) -> Operation {
        self.stop(unfolding, cpu).operation()
    }

    /// Lets `act` happen.
    pub(crate) fn perform(&mut self, unfolding: &mut Unfolding, act: Act) -> Result<(), Failure> {
        match act {
            Act::Step { cpu, outcome } => {
                self.step(unfolding, cpu, outcome)?;
                self.settle(unfolding, cpu)
            }
            Act::Interrupt { cpu } => {
                self.hardware.interrupt(cpu);
                *self.position(cpu) = unfolding.handler(cpu);
                self.settle(unfolding, cpu)
            }
            Act::Tick { cpu } => {
                self.hardware.tick(cpu);
                *self.position(cpu) = unfolding.tick(cpu);
                self.settle(unfolding, cpu)
            }
            Act::Walk { .. } | Act::Drain { .. } | Act::Evict { .. } => Ok(self.hardware.happen(act)?),
        }
    }

    fn step(&mut self, unfolding: &mut Unfolding, cpu: CpuId, outcome: u8) -> Result<(), Failure> {
        let operation = self.pending(unfolding, cpu);
        if operation == Operation::ReturnFromInterrupt {
            // Forgotten, so that states do not differ in where a handler ended.
            *self.position(cpu) = NodeId::NONE;
            self.hardware.step(cpu, operation, outcome)?;
            return Ok(());
        }
        let result = self.hardware.step(cpu, operation, outcome)?;
        let position = self.position(cpu);
        *position = unfolding.follow(*position, result);
        Ok(())
    }

    /// Performs what is private to the CPU, together with the step before it.
    fn settle(&mut self, unfolding: &mut Unfolding, cpu: CpuId) -> Result<(), Failure> {
        while self.pending(unfolding, cpu).is_private() {
            self.step(unfolding, cpu, 0)?;
        }
        match self.stop(unfolding, cpu) {
            Stop::Panicked(panic) => Err(Failure::Panic(cpu, panic.clone())),
            Stop::Operation(..) => Ok(()),
        }
    }
}

/// A state together with what gives it meaning.
pub(crate) struct Product<'u, S = State> {
    pub(crate) scenario: &'static Scenario,
    pub(crate) unfolding: &'u mut Unfolding,
    pub(crate) state: S,
}

impl<'u> Product<'u> {
    /// The product in its first state.
    pub(crate) fn start(
        scenario: &'static Scenario,
        unfolding: &'u mut Unfolding,
        initial: &Hardware,
    ) -> Result<Self, Failure> {
        let state = State::start(unfolding, scenario, initial)?;
        Ok(Product { scenario, unfolding, state })
    }
}

impl<S: BorrowMut<State>> Driver for Product<'_, S> {
    fn scenario(&self) -> &'static Scenario {
        self.scenario
    }

    fn hardware(&self) -> &Hardware {
        self.state.borrow().hardware()
    }

    fn pending(&self, cpu: CpuId) -> Operation {
        self.state.borrow().pending(self.unfolding, cpu)
    }

    fn perform(&mut self, act: Act) -> Result<(), Failure> {
        self.state.borrow_mut().perform(self.unfolding, act)
    }
}
