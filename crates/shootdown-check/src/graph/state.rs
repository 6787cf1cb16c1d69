//! A state of the product: the hardware, and for each CPU where its code is.

use std::hash::{Hash, Hasher};

use shootdown::CpuId;
use shootdown_sim::smp::{Act, Hardware, MAX_CPUS, MAX_DEPTH, Operation, read_number, write_number};

use super::unfold::{NodeId, Obstacle, Unfolding};
use crate::{
    coroutine::Stop,
    driver::{Driver, Situation},
    failure::Failure,
    scenario::Scenario,
};

/// Where a CPU is in its main code and in each interrupt handler on top of it. How many there are, the hardware knows;
/// above those there is no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    main: NodeId,
    handlers: [NodeId; MAX_DEPTH],
}

impl Position {
    const NOWHERE: Position = Position { main: NodeId::NONE, handlers: [NodeId::NONE; MAX_DEPTH] };
}

/// One state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    hardware: Hardware,
    positions: [Position; MAX_CPUS],
}

impl Hash for State {
    /// As few words as there can be: every state is hashed.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        const { assert!(MAX_DEPTH == 2) };
        self.hardware.hash(hasher);
        for Position { main, handlers: [first, second] } in &self.positions {
            // CPUs that there are not come last.
            if *main == NodeId::NONE {
                break;
            }
            hasher.write_u64(u64::from(main.0) << 32 | u64::from(first.0));
            if *first != NodeId::NONE {
                hasher.write_u64(u64::from(second.0));
            }
        }
    }
}

impl Clone for State {
    fn clone(&self) -> Self {
        State { hardware: self.hardware.clone(), positions: self.positions }
    }

    fn clone_from(&mut self, other: &Self) {
        self.hardware.clone_from(&other.hardware);
        self.positions = other.positions;
    }
}

impl State {
    /// The state in which all CPUs begin.
    pub(crate) fn start(
        unfolding: &mut Unfolding,
        scenario: &'static Scenario,
        initial: &Hardware,
    ) -> Result<Self, Failure> {
        unfolding.run_until_seen(|unfolding| {
            let mut state = State { hardware: initial.clone(), positions: [Position::NOWHERE; MAX_CPUS] };
            for cpu in scenario.cpus() {
                state.positions[usize::from(cpu.0)].main = unfolding.main(cpu);
                state.settle(unfolding, cpu)?;
            }
            Ok(state)
        })
    }

    pub(crate) fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Appends all that tells it from other states of one search.
    pub(crate) fn pack(&self, scenario: &Scenario, bytes: &mut Vec<u8>) {
        self.hardware.pack(bytes);
        for cpu in scenario.cpus() {
            let Position { main, handlers } = &self.positions[usize::from(cpu.0)];
            let nodes = std::iter::once(main).chain(&handlers[..self.hardware.cpu(cpu).depth()]);
            nodes.for_each(|node| write_number(bytes, u64::from(node.0)));
        }
    }

    /// Becomes what was packed, by a state of the same search, and takes it off the front.
    pub(crate) fn unpack(&mut self, scenario: &Scenario, bytes: &mut &[u8]) {
        self.hardware.unpack(bytes);
        let mut read_node = || NodeId(read_number(bytes) as u32);
        for cpu in scenario.cpus() {
            let mut position = Position { main: read_node(), ..Position::NOWHERE };
            let handlers = &mut position.handlers[..self.hardware.cpu(cpu).depth()];
            handlers.iter_mut().for_each(|node| *node = read_node());
            self.positions[usize::from(cpu.0)] = position;
        }
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

    fn pending(&self, unfolding: &Unfolding, cpu: CpuId) -> Operation {
        self.stop(unfolding, cpu).operation()
    }

    /// Lets `act` happen. After an obstacle the state is of no more use.
    pub(crate) fn perform(&mut self, unfolding: &Unfolding, act: Act) -> Result<(), Obstacle> {
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

    fn step(&mut self, unfolding: &Unfolding, cpu: CpuId, outcome: u8) -> Result<(), Obstacle> {
        let operation = self.pending(unfolding, cpu);
        if operation == Operation::ReturnFromInterrupt {
            // Forgotten, so that states do not differ in where a handler ended.
            *self.position(cpu) = NodeId::NONE;
            self.hardware.step(cpu, operation, outcome)?;
            return Ok(());
        }
        let result = self.hardware.step(cpu, operation, outcome)?;
        let position = self.position(cpu);
        *position = unfolding.follow(*position, result)?;
        Ok(())
    }

    /// Performs what is private to the CPU, together with the step before it.
    fn settle(&mut self, unfolding: &Unfolding, cpu: CpuId) -> Result<(), Obstacle> {
        while self.pending(unfolding, cpu).is_private() {
            self.step(unfolding, cpu, 0)?;
        }
        match self.stop(unfolding, cpu) {
            Stop::Panicked(panic) => Err(Obstacle::Failure(Failure::Panic(cpu, panic.clone()))),
            Stop::Operation(..) => Ok(()),
        }
    }
}

/// A state to look at, together with what gives it meaning.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) scenario: &'static Scenario,
    pub(crate) unfolding: &'a Unfolding,
    pub(crate) state: &'a State,
}

impl Situation for View<'_> {
    fn scenario(&self) -> &'static Scenario {
        self.scenario
    }

    fn hardware(&self) -> &Hardware {
        self.state.hardware()
    }

    fn pending(&self, cpu: CpuId) -> Operation {
        self.state.pending(self.unfolding, cpu)
    }
}

/// A run of the product, which runs code where nobody knows yet what it does.
pub(crate) struct Product<'u> {
    scenario: &'static Scenario,
    unfolding: &'u mut Unfolding,
    state: State,
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

    fn view(&self) -> View<'_> {
        View { scenario: self.scenario, unfolding: self.unfolding, state: &self.state }
    }
}

impl Situation for Product<'_> {
    fn scenario(&self) -> &'static Scenario {
        self.scenario
    }

    fn hardware(&self) -> &Hardware {
        self.state.hardware()
    }

    fn pending(&self, cpu: CpuId) -> Operation {
        self.view().pending(cpu)
    }
}

impl Driver for Product<'_> {
    fn perform(&mut self, act: Act) -> Result<(), Failure> {
        self.state = self.unfolding.run_until_seen(|unfolding| {
            let mut next = self.state.clone();
            next.perform(unfolding, act)?;
            Ok(next)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{left_out::LeftOut, live, rng::Rng, scenarios};

    const N_ACTS: usize = 2_000;

    /// Walks at random; every state must come back from its bytes, whatever was there before.
    fn walk(scenario: &'static Scenario, left_out: LeftOut, rng: &mut Rng) {
        let initial = live::initial(scenario, left_out);
        let mut unfolding = Unfolding::new(scenario, left_out);
        let mut other = State::start(&mut unfolding, scenario, &initial).expect("a run begins");
        let (mut bytes, mut acts) = (Vec::new(), Vec::new());
        let mut n_acts = 0;
        while n_acts < N_ACTS {
            let mut run = Product::start(scenario, &mut unfolding, &initial).expect("a run begins");
            loop {
                bytes.clear();
                run.state.pack(scenario, &mut bytes);
                let mut rest = &bytes[..];
                other.unpack(scenario, &mut rest);
                assert_eq!((&other, rest), (&run.state, &[][..]), "{}", scenario.name);
                run.enabled(&mut acts);
                n_acts += 1;
                if acts.is_empty() || n_acts >= N_ACTS || run.perform(acts[rng.below(acts.len())]).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn every_state_comes_back_from_its_bytes() {
        let mut rng = Rng::new(1);
        for scenario in scenarios::all_and_models() {
            walk(scenario, LeftOut::NOTHING, &mut rng);
            for proof in scenario.proves {
                walk(scenario, LeftOut::from(&[proof.fix][..]), &mut rng);
            }
        }
    }
}
