//! Two CPUs take the same page out at the same time (R-MADV, R-MIGVMA, R-NESTED-TABLES).
//!
//! Who comes second finds the entry absent and has nothing to flush; but the first may not have flushed yet.

use shootdown::{Counter, CpuId, Fix, Frame, Gather, Machine, Rmap, VpnRange, gather::Area};
use shootdown_sim::smp::{Config, TlbModel};

use super::script::{PAGE_0, TWO_CACHING_CPUS, unmap, unmap_with_tables, use_everywhere};
use crate::{
    machine::Sim,
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

pub(super) static COLLECTED: Scenario = Scenario {
    name: "collected_2cpu",
    goal: "An unmap finds that the page was taken out to be migrated, and returns, while another CPU can still use it.",
    method: "CPU 0 takes the page out, releases the lock, and flushes to copy it; CPU 1 unmaps it.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            collect(m);
        } else {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
    },
    ..PAGE
};

fn collect(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::for_area(m, space, &sink, Area::Uncounted);
    let mut collected = None;
    gather.unhook_range(&space.lock(m), VpnRange::from_len(PAGE_0, 1), |unhooked| {
        collected = Some(unhooked.frame);
        Rmap::Now
    });
    gather.finish();
    if let Some(frame) = collected {
        m.free_frame_of_owner(frame);
    }
}
