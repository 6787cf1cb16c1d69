//! The base case of every flush, where it is broadcast.

use shootdown::{Counter, CpuId, Fix, Machine, VpnRange};
use shootdown_sim::smp::Config;

use super::{
    super::script::{PAGE_0, become_lazy, unmap, unmap_with_tables, use_everywhere, use_everywhere_with},
    script::{TWO_BROADCASTING_CPUS, USED},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static UNMAP: Scenario = Scenario {
    name: "broadcast_unmap",
    goal: "A frame is freed while a broadcast is still under way to a TLB, or came before the change that it is for.",
    method: "CPU 0 unmaps the page that CPU 1 touches.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    setup: |m| use_everywhere_with(m, 1, USED),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            m.access(PAGE_0);
        }
    },
    // The entry is cleared late, so that without the first it is still there when the frame has gone.
    proves: &[
        Proof::of(Fix::FlushBeforeFree, "mapped-no-data"),
        Proof::of(Fix::WaitForAcks, "stale-at-free"),
        Proof::of(Fix::FlushRemote, "stale-at-free"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::Broadcast)],
    ..Scenario::BLANK
};

pub(in super::super) static TABLE: Scenario = Scenario {
    name: "broadcast_unmap_table",
    goal: "A page table is freed while a walker that a broadcast should have reached points at it.",
    method: "CPU 0 unmaps a page and its table while both walkers may cache the way to it; CPU 1 becomes lazy.",
    machine: Config { caches_walks: true, ..TWO_BROADCASTING_CPUS },
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        } else {
            become_lazy(m);
        }
    },
    proves: &[
        Proof::of(Fix::FlushBeforeFree, "stale-at-free"),
        Proof::of(Fix::WaitForAcks, "stale-at-free"),
        Proof::of(Fix::FlushRemote, "walker-in-freed-table"),
        Proof::of(Fix::DropWalkCaches, "walker-in-freed-table"),
    ],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..UNMAP
};
