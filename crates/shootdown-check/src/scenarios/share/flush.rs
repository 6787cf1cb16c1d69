//! What TLBs and walk caches have of a table that was left (R-HT1, R-HT7, R-LAZY2).

use shootdown::{Counter, CpuId, Fix, Machine, call};
use shootdown_sim::smp::Config;

use super::{
    super::script::{PAGE_0, TWO_CACHING_CPUS, become_lazy},
    script::{TWO_BROADCASTING_CPUS, create_sharers, leaver, run_in_leaver, stayer, unmap_file},
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static LEAVE: Scenario = Scenario {
    name: "unshare",
    goal: "A table is left, and CPUs go on using it when the last one who has it frees its pages.",
    method: "Two address spaces share a table. CPU 0 leaves it in one and unmaps it in the other; CPU 1 uses the first one.",
    machine: TWO_CACHING_CPUS,
    setup: run_in_leaver,
    main: |m| {
        if m.cpu() == CpuId(0) {
            leave_and_free(m);
        }
    },
    proves: &[
        Proof::of(Fix::WaitForAcks, "stale-at-free"),
        Proof::of(Fix::FlushRemote, "stale-at-free"),
        Proof::of(Fix::RecordUnshared, "stale-at-free"),
        Proof::of(Fix::FlushUnsharedAsFreed, "stale-at-free"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableExclusive), Reach::Counted(Counter::TableReleased)],
    ..Scenario::BLANK
};

pub(in super::super) static LEAVE_BY_BROADCAST: Scenario = Scenario {
    name: "unshare_broadcast",
    goal: "As unshare, where hardware broadcasts what is flushed.",
    method: "As unshare, on a machine that broadcasts.",
    machine: Config { caches_walks: true, ..TWO_BROADCASTING_CPUS },
    broadcasts: true,
    proves: &[Proof::of(Fix::RecordUnshared, "stale-at-free"), Proof::of(Fix::FlushUnsharedAsFreed, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Broadcast)],
    ..LEAVE
};

pub(in super::super) static LAZY: Scenario = Scenario {
    name: "unshare_lazy",
    goal: "A lazy CPU is not told of a table that was left, since it was not freed; when it is, the CPU is nobody's who has it.",
    method: "As unshare; CPU 1 has the address space that leaves the table loaded lazily, and CPU 0 has loaded neither.",
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create_sharers(m, 2, &[PAGE_0]);
        } else {
            leaver(m).switch_to(m);
            become_lazy(m);
        }
    },
    proves: &[
        Proof::of(Fix::FlushUnsharedAsFreed, "walker-in-freed-table"),
        Proof::of(Fix::TellLazyOfTables, "walker-in-freed-table"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..LEAVE
};

fn leave_and_free(m: &Sim) {
    unmap_file(m, leaver(m));
    unmap_file(m, stayer(m));
}
