//! Freeing a page table: the other CPU's walk cache may point at it although its TLB holds nothing.

use shootdown::{Counter, CpuId, Fix, Machine, VpnRange};

use super::script::{FLUSHING, PAGE_0, TWO_CACHING_CPUS, and, unmap_with_tables, use_everywhere};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static UNMAP_TABLES_2CPU: Scenario = Scenario {
    name: "unmap_tables_2cpu",
    goal: "A page table is freed while a walker still points at it.",
    method: "CPU 0 unmaps a page and its table while both walkers may cache the way to it, and CPU 1 touches the page.",
    machine: TWO_CACHING_CPUS,
    setup: |m| use_everywhere(m, 1),
    main,
    proves: &and(FLUSHING, Proof::of(Fix::DropWalkCaches, "walker-in-freed-table")),
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
    } else {
        m.access(PAGE_0);
    }
}
