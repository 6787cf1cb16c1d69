//! A CPU that comes to an address space while it is being flushed.

use shootdown::{CpuId, Machine, VpnRange};

use super::script::{FLUSHING, PAGE_0, TWO_LATE_CPUS, create, unmap};
use crate::{machine::Sim, reach::Reach, scenario::Scenario};

pub(super) static SWITCH_2CPU: Scenario = Scenario {
    name: "switch_2cpu",
    goal: "A CPU that was not yet in the residency mask caches the old translation after the flush left it out.",
    method: "CPU 1 switches to the address space and touches the page, while CPU 0 unmaps it.",
    machine: TWO_LATE_CPUS,
    setup,
    main,
    proves: &FLUSHING,
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create(m, 1);
        m.user_space().switch_to(m);
    }
}

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        unmap(m, VpnRange::from_len(PAGE_0, 1));
    } else {
        m.user_space().switch_to(m);
        m.access(PAGE_0);
    }
}
