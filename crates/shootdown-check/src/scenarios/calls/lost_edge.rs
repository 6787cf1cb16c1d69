//! An interrupt for a call arrives while its target has interrupts masked, and the machine drops it (R-AL1, R-IPI3).
//!
//! What the sender has posted is still in the inbox. Somebody must look there: every other interrupt at its end, or the
//! sender, who raises the interrupt again when it has waited for too long.

use shootdown::{Counter, CpuId, Fix, Machine};
use shootdown_sim::smp::{Config, MemoryModel};

use super::script::{call, mask_and_unmask};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

const LOSSY: Config = Config { loses_masked_kicks: true, ..Config::with_cpus(2) };

pub(in super::super) static LOST_EDGE: Scenario = Scenario {
    name: "lost_edge",
    goal: "The interrupt for a call is dropped, and its sender waits forever.",
    method: "CPU 0 calls CPU 1, which masks interrupts for a moment; timers tick.",
    machine: Config { ticks: true, ..LOSSY },
    main,
    reaches: &[Reach::Counted(Counter::RescuedCall)],
    proves: &[Proof::of(Fix::PollOnExit, "lost-kick")],
    ..Scenario::BLANK
};

pub(in super::super) static OVERDUE: Scenario = Scenario {
    name: "lost_edge_overdue",
    method: "CPU 0 calls CPU 1, which masks interrupts for a moment; nothing ticks, but CPU 0 knows how long it waits.",
    machine: Config { has_clock: true, ..LOSSY },
    reaches: &[Reach::Counted(Counter::KickAgain)],
    proves: &[Proof::of(Fix::KickAgain, "lost-kick")],
    ..LOST_EDGE
};

pub(in super::super) static SILENCED_3CPU: Scenario = Scenario {
    name: "silenced_sender_3cpu",
    goal: "A call finds another one in its target's inbox, raises no interrupt, and that one's was dropped.",
    method: "CPU 0 and CPU 2 call CPU 1, which masks interrupts for a moment; its timer ticks.",
    machine: Config { cpus: 3, memory: MemoryModel::Sc, ticks: true, ..LOSSY },
    reaches: &[Reach::Counted(Counter::RescuedCall), Reach::Counted(Counter::KickCoalesced)],
    ..LOST_EDGE
};

fn main(m: &Sim) {
    match m.cpu() {
        CpuId(1) => mask_and_unmask(m),
        _ => call(m, 1),
    }
}
