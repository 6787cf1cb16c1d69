//! The Alpha machine: numbered tags, no accessed or dirty bits, weak memory, interrupts that are lost while they are masked,
//! and a clock that may rescue them. On it the hangs of 2026 were found.

use shootdown::{Counter, CpuId, Fix, Level, Machine, Masked, Stale, Tagging, VpnRange, call, flush_kernel};
use shootdown_sim::smp::{Config, MemoryModel, TlbModel};

use super::script::{FLUSHING_WALKERS, PAGE_0, go_and_return, unmap_with_tables, use_one_of_two};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// All of it. The walk cache stands for what the TLB has of the tables themselves, through the self-map.
const ALPHA: Config = Config {
    has_tags: true,
    caches_walks: true,
    sets_dirty: false,
    loses_masked_kicks: true,
    ticks: true,
    ..Config::with_cpus(2)
};

pub(super) static UNMAP: Scenario = Scenario {
    name: "alpha_unmap",
    goal: "Alpha goes on with a translation, or with a table that it sees through the self-map, after they were freed.",
    method: "CPU 0 unmaps a page and its table while CPU 1 leaves for another address space and comes back.",
    machine: ALPHA,
    setup: |m| {
        call::arrive(m);
        use_one_of_two(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            go_and_return(m);
        }
    },
    tagging: Tagging::Numbered,
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    proves: &FLUSHING_WALKERS,
    ..Scenario::BLANK
};

pub(super) static SIX_OPERATIONS: Scenario = Scenario {
    name: "alpha_operations",
    goal: "Two CPUs that are in any of Alpha's synchronous operations wait for each other forever.",
    method: "CPU 0 performs all of them, CPU 1 one of them, both with interrupts masked.",
    machine: Config { memory: MemoryModel::Sc, tlb: TlbModel::MaySets, ..ALPHA },
    main: |m| {
        let _masked = Masked::new(m);
        if m.cpu() == CpuId(0) {
            flush_kernel(m, Stale::EVERYTHING);
            m.user_space().flush(m, Stale::EVERYTHING);
            flush_page(m);
            call::synchronize_instructions(m);
        } else {
            flush_page(m);
        }
    },
    reaches: &[Reach::Counted(Counter::RemoteRequest)],
    proves: &[Proof::of(Fix::ServeWhileWaiting, "deadlock")],
    ..UNMAP
};

/// Also what migration does, and what changed instructions of one page need.
fn flush_page(m: &Sim) {
    m.user_space().flush(m, Stale::leaves(VpnRange::from_len(PAGE_0, 1), Level::LEAF));
}
