//! One shootdown with two targets: one CPU's answer must not stand in for the other's.

use shootdown::{CpuId, Machine, VpnRange};
use shootdown_sim::smp::Config;

use super::script::{FLUSHING, PAGE_0, TWO_CPUS, unmap, use_everywhere};
use crate::{machine::Sim, reach::Reach, scenario::Scenario};

pub(super) static UNMAP_3CPU: Scenario = Scenario {
    name: "unmap_3cpu",
    goal: "A frame is freed when one of two targets has answered.",
    method: "CPU 0 unmaps the page that CPU 1 and CPU 2 both touch, while all walkers may cache it at any time.",
    machine: Config { cpus: 3, ..TWO_CPUS },
    setup: |m| use_everywhere(m, 1),
    main,
    proves: &FLUSHING,
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        unmap(m, VpnRange::from_len(PAGE_0, 1));
    } else {
        m.access(PAGE_0);
    }
}
