//! Two CPUs call a third at the same time: only the first to find its inbox empty interrupts it.

use shootdown::{Counter, CpuId, Fix, Machine};
use shootdown_sim::smp::Config;

use super::{super::script::TWO_CPUS, script::call};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

const TARGET: CpuId = CpuId(2);

pub(in super::super) static TWO_SENDERS: Scenario = Scenario {
    name: "two_senders",
    goal: "A request that did not interrupt its target, since another one had, is never answered.",
    method: "CPU 0 and CPU 1 both call CPU 2, which does nothing but take interrupts.",
    machine: Config { cpus: 3, ..TWO_CPUS },
    main,
    reaches: &[Reach::Counted(Counter::Kick)],
    proves: &[Proof::of(Fix::AtomicDrain, "lost-kick")],
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() != TARGET {
        call(m, TARGET.0);
    }
}
