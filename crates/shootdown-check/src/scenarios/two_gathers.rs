//! Two CPUs unmap the same page at the same time (R-MADV, R-NESTED-TABLES).
//!
//! Who comes second finds the entry absent and has nothing to flush; but the first may not have flushed yet.

use shootdown::{Counter, CpuId, Fix, Machine, VpnRange};

use shootdown_sim::smp::{Config, TlbModel};

use super::script::{PAGE_0, TWO_CACHING_CPUS, unmap, unmap_with_tables, use_everywhere};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static PAGE: Scenario = Scenario {
    name: "two_gathers",
    goal: "An unmap finds the page gone and returns, while another CPU can still use it.",
    method: "Both CPUs unmap the same page.",
    setup: |m| use_everywhere(m, 1),
    main: |m| unmap(m, VpnRange::from_len(PAGE_0, 1)),
    reaches: &[Reach::Stale, Reach::Counted(Counter::FlushForced)],
    proves: &[Proof::of(Fix::FlushForOthers, "stale-after-return")],
    ..Scenario::BLANK
};

pub(super) static TABLE: Scenario = Scenario {
    name: "two_gathers_table",
    goal: "A gather that flushes for another one forgets that it has unhooked a table itself.",
    method: "CPU 0 unmaps a page and its table, CPU 1 the same page.",
    machine: Config { tlb: TlbModel::MaySets, ..TWO_CACHING_CPUS },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
    },
    proves: &[Proof::of(Fix::KeepTablesInMind, "walker-in-freed-table")],
    ..PAGE
};
