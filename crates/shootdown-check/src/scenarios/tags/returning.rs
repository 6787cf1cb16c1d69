//! A CPU comes back to an address space whose translations it has kept under a tag (R-AL3, R-AL4).
//!
//! While it was away no flush told it. It must look at the generation before it loads the tag, and nothing may come between
//! the look and the load.

use shootdown::{Counter, CpuId, Fix, Machine, Tagging, VpnRange};
use shootdown_sim::smp::Config;

use super::{
    super::script::{
        FLUSHING, PAGE_0, become_lazy, go_and_return, return_to_user, unmap, unmap_with_tables, use_one_of_two,
    },
    script::TWO_TAGGED_CPUS,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static SLOTS: Scenario = Scenario {
    name: "tag_slots",
    goal: "A CPU comes back to a tag and uses what was flushed while it was away, or while it was on its way.",
    method: "CPU 1 switches to another address space and back and touches the page, while CPU 0 unmaps it.",
    machine: TWO_TAGGED_CPUS,
    setup: use_one_of_two,
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            return_and_touch(m);
        }
    },
    tagging: Tagging::Slots,
    reaches: &[Reach::Stale, Reach::Counted(Counter::RemoteRequest)],
    proves: &PROOFS,
    ..Scenario::BLANK
};

const PROOFS: [Proof; 5] = {
    let [first, second, third] = FLUSHING;
    [first, second, third, Proof::of(Fix::CatchUp, "stale-in-use"), Proof::of(Fix::MaskWhileSwitching, "stale-in-use")]
};

pub(in super::super) static NUMBERS: Scenario = Scenario { name: "tag_numbers", tagging: Tagging::Numbered, ..SLOTS };

pub(in super::super) static TABLES: Scenario = Scenario {
    name: "tag_numbers_table",
    goal: "A CPU comes back to a tag under which its walker still points at a table that was freed.",
    method: "CPU 1 switches to another address space and back, while CPU 0 unmaps a page and its table.",
    machine: Config { caches_walks: true, ..TWO_TAGGED_CPUS },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            return_and_touch(m);
        }
    },
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    proves: &[Proof::of(Fix::CatchUp, "walker-in-freed-table")],
    ..NUMBERS
};

pub(in super::super) static LAZY: Scenario = Scenario {
    name: "tag_numbers_lazy",
    goal: "A lazy CPU drops what it is told to under a tag that is not the address space's.",
    method: "CPU 1 becomes lazy, comes back and touches the page, while CPU 0 unmaps it and its table.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            become_lazy(m);
            return_to_user(m);
            m.access(PAGE_0);
        }
    },
    proves: &[],
    ..TABLES
};

fn return_and_touch(m: &Sim) {
    go_and_return(m);
    m.access(PAGE_0);
}
