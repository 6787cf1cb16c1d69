//! How often walks are waited for (R-HT5, M40): as many interrupts as tables is what this is about.

use std::sync::atomic::Ordering::Relaxed;

use shootdown::{Counter, CpuId, Fix, Machine, Modify, Vpn, call, walk::Walkers};

use super::{
    super::script::PAGE_0,
    script::{BOTH_TABLES, FIRST_TABLE, TWO_BROADCASTING_CPUS, create_sharers, leaver, stayer, unshare},
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static TWO_TABLES: Scenario = Scenario {
    name: "unshare_two_tables",
    goal: "Each of several tables that are left at once costs a round of interrupts.",
    method: "CPU 0 leaves two tables under one hold of the file map, and is the last but one to do so; CPU 1 counts what \
             interrupts it. The machine broadcasts what is flushed.",
    machine: TWO_BROADCASTING_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create_sharers(m, 2, &[PAGE_0, Vpn(2)]);
        }
        leaver(m).switch_to(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unshare(m, leaver(m), BOTH_TABLES);
            assert!(interrupts(m) <= 1, "more rounds of interrupts than one");
        }
    },
    handler: |m| {
        m.scratch(0).update(m, Modify::Add(1), Relaxed);
        call::handle_kick(m);
    },
    broadcasts: true,
    walkers: Walkers::Unannounced,
    proves: &[Proof::of(Fix::QuiesceOnce, "panic")],
    reaches: &[Reach::Counted(Counter::Quiescence), Reach::Counted(Counter::QuiescenceCoalesced)],
    ..Scenario::BLANK
};

pub(in super::super) static NOT_LAST: Scenario = Scenario {
    name: "unshare_not_last",
    goal: "A table that several others have is left, and costs a round of interrupts.",
    method: "Three address spaces share a table. CPU 0 leaves it in one; CPU 1 counts what interrupts it. The machine \
             broadcasts what is flushed.",
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create_sharers(m, 3, &[PAGE_0]);
            leaver(m).switch_to(m);
        } else {
            stayer(m).switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unshare(m, leaver(m), FIRST_TABLE);
            assert!(interrupts(m) == 0, "a round of interrupts that is of no use");
        }
    },
    proves: &[Proof::of(Fix::QuiesceForLastOnly, "panic")],
    reaches: &[Reach::Counted(Counter::QuiescenceNotLast)],
    ..TWO_TABLES
};

/// How often CPU 1 was interrupted for something that CPU 0 has waited for.
fn interrupts(m: &Sim) -> u64 {
    m.scratch(0).load(m, Relaxed)
}
