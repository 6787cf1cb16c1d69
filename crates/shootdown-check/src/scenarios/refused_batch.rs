//! A gather that gets no memory flushes early and goes on.

use shootdown::{Counter, CpuId, Fix, Machine, VpnRange};
use shootdown_sim::smp::Config;

use super::script::{FLUSHING, PAGE_0, PAGE_1, TWO_CPUS, and, unmap, use_everywhere};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static REFUSED_BATCH: Scenario = Scenario {
    name: "refused_batch",
    goal: "A gather without room loses a frame, or a page's part of the flush.",
    method: "CPU 0 has one slot and unmaps two pages, and its request for a batch may be refused; CPU 1 touches both.",
    machine: Config { may_refuse_batches: true, ..TWO_CPUS },
    setup: |m| use_everywhere(m, 2),
    main,
    proves: &and(FLUSHING, Proof::of(Fix::FlushWithoutRoom, "stale-at-free")),
    reaches: &[Reach::Stale, Reach::Counted(Counter::BatchRefused)],
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        unmap(m, VpnRange::from_len(PAGE_0, 2));
    } else {
        m.access(PAGE_0);
        m.access(PAGE_1);
    }
}
