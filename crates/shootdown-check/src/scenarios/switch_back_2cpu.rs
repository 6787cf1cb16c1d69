//! A CPU that comes back to an address space in whose mask its bit has stayed.

use shootdown::{Counter, CpuId, Departure, Fix, Machine};

use super::{script::create, switch_2cpu::SWITCH_2CPU};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static SWITCH_BACK_2CPU: Scenario = Scenario {
    name: "switch_back_2cpu",
    goal: "A flusher skips a CPU that has loaded something else, while that CPU is on its way back with an old generation.",
    method: "CPU 1 leaves its bit behind, then switches back and touches the page, while CPU 0 unmaps it.",
    setup,
    departure: Departure::LeavesBit,
    proves: &[
        Proof::of(Fix::FlushBeforeFree, "stale-at-free"),
        Proof::of(Fix::WaitForAcks, "stale-at-free"),
        Proof::of(Fix::FlushRemote, "stale-at-free"),
        Proof::of(Fix::ShowSwitching, "stale-at-free"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::SkippedNotLoaded)],
    ..SWITCH_2CPU
};

fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create(m, 1);
        m.user_space().switch_to(m);
    } else {
        m.other_space().create(m).expect("the machine has a frame for the root");
        m.user_space().switch_to(m);
        m.other_space().switch_to(m);
    }
}
