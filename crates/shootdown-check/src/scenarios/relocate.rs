//! Moving pages to other addresses (R-MREMAP, R-MREMAP-PUD, R-MREMAP-RETRACT).

use shootdown::{Attributes, CpuId, Fix, Frame, Gather, Machine, Pfn, Rmap, Vpn, VpnRange, gather::Area};
use shootdown_sim::smp::{Config, TlbModel};

use super::script::{
    PAGE_0, PAGE_1, TWO_CACHING_CPUS, TWO_CPUS, create_with, unmap_with_tables, use_everywhere, use_everywhere_with,
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static TAKEN_AWAY: Scenario = Scenario {
    name: "relocate_2cpu",
    goal: "A page is freed that was found at its new address, while a CPU still reaches it by the old one.",
    method: "CPU 0 moves the page; CPU 1 uses it at its old address, and takes it away at the new one with an early flush.",
    machine: TWO_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            relocate(m, VpnRange::from_len(PAGE_0, 1), PAGE_1);
        } else {
            m.access(PAGE_0);
            take_away(m, PAGE_1);
        }
    },
    proves: &[
        Proof::of(Fix::FlushBeforeUnlock, "stale-at-free"),
        Proof::of(Fix::WaitForAcks, "stale-after-return"),
        Proof::of(Fix::FlushRemote, "stale-after-return"),
    ],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

pub(super) static WRITTEN: Scenario = Scenario {
    name: "relocate_written_2cpu",
    goal: "A store to a page that is being moved, or the page itself, is lost, also where there is no memory to move it.",
    method: "CPU 0 moves a page to another table and may get none; CPU 1 writes to it before and after.",
    machine: Config { may_refuse_tables: true, ..TWO_CACHING_CPUS },
    setup: |m| use_everywhere_with(m, 1, Attributes::USER_WRITE),
    main: |m| {
        if m.cpu() == CpuId(0) {
            relocate(m, VpnRange::from_len(PAGE_0, 1), PAGE_2);
        } else {
            m.write(PAGE_0);
            m.write(PAGE_2);
        }
    },
    proves: &[Proof::of(Fix::AtomicUnhook, "lost-store")],
    ..TAKEN_AWAY
};

pub(super) static TABLE: Scenario = Scenario {
    name: "relocate_table",
    goal: "A table is moved with all it translates, and a cached pointer to it still leads there from the old address.",
    method: "CPU 0 moves the table, and may get none to put it into; CPU 1 writes at both addresses.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            relocate(m, VpnRange::from_len(PAGE_0, 2), PAGE_2);
        } else {
            m.write(PAGE_0);
            m.write(PAGE_2);
        }
    },
    proves: &[
        Proof::of(Fix::DropWalkCaches, "stale-after-return"),
        Proof::of(Fix::WaitForAcks, "stale-after-return"),
        Proof::of(Fix::FlushRemote, "stale-after-return"),
    ],
    ..WRITTEN
};

pub(super) static INTO_TABLE: Scenario = Scenario {
    name: "relocate_into_table",
    goal: "A table whose translations have moved to another one is freed while a walker still points at it.",
    method: "As relocate_table, where a table is in the way, so that the pages move one by one.",
    machine: Config { tlb: TlbModel::MaySets, may_refuse_tables: true, ..TWO_CACHING_CPUS },
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_with(m, 1, Attributes::USER_WRITE);
            let frame = m.alloc_frame();
            m.user_space().lock(m).map(PAGE_3, frame, Attributes::USER_WRITE).expect("there is room");
        }
        m.user_space().switch_to(m);
    },
    proves: &[Proof::of(Fix::AtomicUnhook, "lost-store"), Proof::of(Fix::DropWalkCaches, "walker-in-freed-table")],
    ..TABLE
};

pub(super) static LOOKED_FOR: Scenario = Scenario {
    name: "relocate_looked_for",
    goal: "A driver looks where its page is mapped, finds it at neither address, and frees it.",
    method: "CPU 0 moves a table of pages; CPU 1 looks for the page at its new address and then at its old one.",
    machine: TWO_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            relocate(m, VpnRange::from_len(PAGE_0, 2), PAGE_2);
        } else {
            revoke(m);
        }
    },
    proves: &[Proof::of(Fix::HoldRmapToMove, "stale-at-free")],
    ..TAKEN_AWAY
};

pub(super) static TABLE_GONE: Scenario = Scenario {
    name: "relocate_table_gone",
    goal: "A table is moved that was freed since somebody looked.",
    method: "CPU 0 moves a table of pages, which CPU 1 unmaps with its table at the same time.",
    machine: Config { tlb: TlbModel::MaySets, ..TWO_CACHING_CPUS },
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            relocate(m, VpnRange::from_len(PAGE_0, 2), PAGE_2);
        } else {
            unmap_with_tables(m, VpnRange::from_len(PAGE_0, 2));
        }
    },
    proves: &[Proof::of(Fix::LookAgainToMove, "walker-in-freed-table")],
    ..TAKEN_AWAY
};

/// The first page that another table translates, and the second.
const PAGE_2: Vpn = Vpn(2);
const PAGE_3: Vpn = Vpn(3);

/// Where the page lies: in the first frame that is taken after the root's.
const FRAME: Pfn = Pfn(1);

fn relocate(m: &Sim, from: VpnRange, to: Vpn) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let moved = gather.relocate(from, to, || m.rmap().lock(m), |_| {});
    gather.finish();
    if moved.is_ok() {
        m.promises(from);
    }
}

/// Looks where the page is mapped, unmaps it there, and frees it.
fn revoke(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let held = m.rmap().lock(m);
    let mut gather = Gather::for_area(m, space, &sink, Area::Uncounted);
    for page in [PAGE_2, PAGE_0] {
        gather.unhook_range(&space.lock(m), VpnRange::from_len(page, 1), |_| Rmap::Now);
    }
    gather.finish();
    drop(held);
    m.free_frame_of_owner(FRAME);
}

/// Unmaps a page if it is there, and flushes as a gather does that has no room left: before it looks for others.
fn take_away(m: &Sim, page: Vpn) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &sink);
    let tables = space.lock(m);
    gather.unhook_range(&tables, VpnRange::from_len(page, 1), |_| Rmap::Now);
    drop(tables);
    gather.flush();
    gather.finish();
}
