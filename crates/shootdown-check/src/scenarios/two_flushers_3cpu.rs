//! Two CPUs flush at the same time while a third may use what they flush: it must forget both, in whatever order it hears.
//!
//! Three busy CPUs are more than explicit fills and store buffers can carry. With may-sets nothing happens but what code
//! does, and what store buffers add, `mutual_shootdown` has.

use shootdown::{Counter, CpuId, Fix, Level, Machine, Masked, Stale, VpnRange};
use shootdown_sim::smp::{Config, MemoryModel, TlbModel};

use super::script::{FLUSHING, PAGE_0, PAGE_1, and, unmap, use_everywhere};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static TWO_FLUSHERS_3CPU: Scenario = Scenario {
    name: "two_flushers_3cpu",
    goal: "A CPU that is told of two flushes at once goes on with what one of them was about.",
    method: "CPU 0 unmaps a page, CPU 1 flushes another one, both with interrupts masked; CPU 2 runs user code.",
    machine: Config { memory: MemoryModel::Sc, tlb: TlbModel::MaySets, ..Config::with_cpus(3) },
    setup: |m| use_everywhere(m, 1),
    main: |m| match m.cpu() {
        CpuId(0) => {
            let _masked = Masked::new(m);
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
        CpuId(1) => {
            let _masked = Masked::new(m);
            m.user_space().flush(m, Stale::leaves(VpnRange::from_len(PAGE_1, 1), Level::LEAF));
        }
        _ => {}
    },
    proves: &and(FLUSHING, Proof::of(Fix::DropAllWhenBehind, "stale-at-free")),
    reaches: &[Reach::Stale, Reach::Counted(Counter::RemoteRequest)],
    ..Scenario::BLANK
};
