//! Two CPUs unmap while a third uses one of the pages: each flush must reach all that the other's gather left behind.
//!
//! Three busy CPUs are more than explicit fills and store buffers can carry. With may-sets nothing happens but what code
//! does, and what store buffers add, `mutual_shootdown` has.

use shootdown::{Counter, CpuId, Fix, Machine, Masked, Vpn, VpnRange};
use shootdown_sim::smp::{Config, MemoryModel, TlbModel};

use super::script::{FLUSHING, PAGE_0, and, create, unmap};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static TWO_UNMAPPERS_3CPU: Scenario = Scenario {
    name: "two_unmappers_3cpu",
    goal: "A CPU that is told of two flushes at once goes on with what one of them was about.",
    method: "CPU 0 and CPU 1 each unmap a page with interrupts masked; CPU 2 touches one of them.",
    machine: Config { memory: MemoryModel::Sc, tlb: TlbModel::MaySets, ..Config::with_cpus(3) },
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 2);
        }
        m.user_space().switch_to(m);
    },
    main: |m| match m.cpu() {
        CpuId(2) => m.access(PAGE_0),
        CpuId(number) => {
            let _masked = Masked::new(m);
            unmap(m, VpnRange::from_len(Vpn(u64::from(number)), 1));
        }
    },
    proves: &and(FLUSHING, Proof::of(Fix::DropAllWhenBehind, "stale-at-free")),
    reaches: &[Reach::Stale, Reach::Counted(Counter::RemoteRequest)],
    ..Scenario::BLANK
};
