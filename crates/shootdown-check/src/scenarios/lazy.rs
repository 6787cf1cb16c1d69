//! A lazy CPU keeps an address space loaded and runs nothing of it.
//!
//! It may be left out of a flush of leaves if it catches up before it runs user code again, but not out of one that
//! frees tables, since its walker goes on reading them (Linux b956575bed91).

use shootdown::{Counter, CpuId, Fix, Machine, VpnRange};

use super::script::{
    FLUSHING, FLUSHING_WALKERS, PAGE_0, TWO_CACHING_CPUS, TWO_LATE_CPUS, and, become_lazy, return_to_user, unmap,
    unmap_with_tables, use_everywhere,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static LEAF: Scenario = Scenario {
    name: "lazy",
    goal: "A CPU that was left out of a flush because it was lazy comes back and uses a stale translation.",
    method: "CPU 1 becomes lazy, comes back and touches the page, while CPU 0 unmaps it.",
    machine: TWO_LATE_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            pause(m);
        }
    },
    proves: &and(FLUSHING, Proof::of(Fix::CatchUp, "stale-in-use")),
    reaches: &[Reach::Stale, Reach::Counted(Counter::SkippedLazy)],
    ..Scenario::BLANK
};

pub(super) static TABLE: Scenario = Scenario {
    name: "lazy_table",
    goal: "A page table is freed while a lazy CPU's walker still points at it.",
    method: "CPU 1 becomes lazy, comes back and touches the page, while CPU 0 unmaps the page and its table.",
    machine: TWO_CACHING_CPUS,
    proves: &and(FLUSHING_WALKERS, Proof::of(Fix::TellLazyOfTables, "walker-in-freed-table")),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            pause(m);
        }
    },
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..LEAF
};

pub(super) static ARRIVAL: Scenario = Scenario {
    name: "lazy_arrival",
    goal: "A CPU that was lazy in another address space still counts as lazy, is left out of a flush, and stays stale.",
    method: "CPU 1, lazy elsewhere, switches to the address space and touches the page, while CPU 0 unmaps it.",
    setup: |m| {
        if m.cpu() == CpuId(0) {
            use_everywhere(m, 1);
            m.other_space().create(m).expect("the machine has a frame for the root");
        } else {
            m.other_space().switch_to(m);
            become_lazy(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            return_to_user(m);
            m.access(PAGE_0);
        }
    },
    reaches: &[Reach::Counted(Counter::SkippedLazy)],
    proves: &FLUSHING,
    ..LEAF
};

fn pause(m: &Sim) {
    become_lazy(m);
    return_to_user(m);
    m.access(PAGE_0);
}
