//! Two CPUs shoot at each other: neither may wait for the other without answering it.
//!
//! With interrupts masked this is what hung Alpha, where `smp_call_function` waited with interrupts off; here a CPU
//! that waits serves its own inbox.

use shootdown::{Counter, CpuId, Fix, Machine, Masked, Vpn, VpnRange};

use shootdown_sim::smp::{Config, TlbModel};

use super::script::{FLUSHING, TWO_CPUS, and, unmap, use_everywhere};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static OPEN: Scenario = Scenario {
    name: "mutual_shootdown",
    goal: "Two CPUs that flush each other's TLB wait for each other forever.",
    method: "Each unmaps a page of its own at the same time, with interrupts open.",
    setup: |m| use_everywhere(m, 2),
    machine: Config { tlb: TlbModel::MaySets, ..TWO_CPUS },
    main: unmap_own_page,
    proves: &and(FLUSHING, Proof::of(Fix::DropAllWhenBehind, "stale-at-free")),
    reaches: &[Reach::Stale, Reach::Counted(Counter::RemoteRequest)],
    ..Scenario::BLANK
};

pub(super) static HALF_MASKED: Scenario = Scenario {
    name: "mutual_shootdown_half_masked",
    goal: "A CPU that waits with interrupts masked is deaf to the one it waits for.",
    method: "Each unmaps a page of its own at the same time, CPU 0 with interrupts masked.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            let _masked = Masked::new(m);
            unmap_own_page(m);
        } else {
            unmap_own_page(m);
        }
    },
    proves: &FLUSHING,
    ..OPEN
};

pub(super) static MASKED: Scenario = Scenario {
    name: "mutual_shootdown_masked",
    goal: "Two CPUs that wait with interrupts masked are deaf to each other.",
    method: "Each unmaps a page of its own at the same time, with interrupts masked.",
    main: |m| {
        let _masked = Masked::new(m);
        unmap_own_page(m);
    },
    proves: &and(FLUSHING, Proof::of(Fix::ServeWhileWaiting, "deadlock")),
    ..OPEN
};

fn unmap_own_page(m: &Sim) {
    unmap(m, VpnRange::from_len(Vpn(u64::from(m.cpu().0)), 1));
}
