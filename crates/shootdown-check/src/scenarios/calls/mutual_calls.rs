//! CPUs call each other with interrupts masked (R-IPI1, R-AL2): each must answer while it waits.

use shootdown::{Counter, Fix, Machine, Masked};
use shootdown_sim::smp::{Config, MemoryModel};

use super::script::call;
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static MUTUAL_CALLS: Scenario = Scenario {
    name: "mutual_calls",
    goal: "CPUs that call each other with interrupts masked wait for each other forever.",
    method: "Each calls the other with interrupts masked.",
    main,
    reaches: &[Reach::Counted(Counter::WaitRound)],
    proves: &[Proof::of(Fix::ServeWhileWaiting, "deadlock")],
    ..Scenario::BLANK
};

pub(in super::super) static THREE_CPUS: Scenario = Scenario {
    name: "mutual_calls_3cpu",
    method: "Each calls the next one with interrupts masked.",
    machine: Config { memory: MemoryModel::Sc, ..Config::with_cpus(3) },
    ..MUTUAL_CALLS
};

fn main(m: &Sim) {
    let _masked = Masked::new(m);
    let n_cpus = m.cpus().count() as u16;
    call(m, (m.cpu().0 + 1) % n_cpus);
}
