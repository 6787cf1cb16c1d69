//! Reclaim takes a page away and flushes much later (R-RECLAIM); others find the page gone meanwhile.

use shootdown::{Attributes, Counter, CpuId, Fix, Frame, Gather, Machine, Reclaim, Rmap, Vpn, VpnRange};
use shootdown_sim::smp::{Config, MemoryModel};

use super::script::{FLUSHING, PAGE_0, PAGE_1, TWO_CPUS, and, create, unmap, use_everywhere, use_everywhere_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static OWED: Scenario = Scenario {
    name: "reclaim",
    goal: "An unmap finds that reclaim has the page and returns, while another CPU can still use it.",
    method: "CPU 0 takes the page away and flushes when the lock is long released; CPU 1 unmaps it.",
    machine: TWO_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_away(m, PAGE_0, |_| {});
        } else {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
    },
    proves: &[Proof::of(Fix::PayForReclaim, "stale-after-return")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::FlushForced)],
    ..Scenario::BLANK
};

pub(super) static PAID_TOO_EARLY: Scenario = Scenario {
    name: "reclaim_paid_early",
    goal: "A flush that comes just before reclaim clears an entry counts for it.",
    method: "As reclaim, by a CPU that has nothing loaded; CPU 1 has finished another gather meanwhile.",
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 1);
        } else {
            m.user_space().switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_away(m, PAGE_0, |_| {});
        } else {
            let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
            Gather::new(m, m.user_space(), &sink).finish();
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
    },
    proves: &[Proof::narrow(Fix::CountAfterClearing, "stale-after-return")],
    ..OWED
};

pub(super) static WRITTEN_OUT: Scenario = Scenario {
    name: "reclaim_dirty",
    goal: "A page is written out while a CPU can still store to it, and the store is lost.",
    method: "CPU 0 takes the page away, writes it out if it is dirty, and frees it; CPU 1 stores to it.",
    setup: |m| use_everywhere_with(m, 1, Attributes::USER_WRITE),
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_away(m, PAGE_0, |frame| m.write_back(frame));
        } else {
            m.write(PAGE_0);
            m.write(PAGE_0);
        }
    },
    proves: &and(FLUSHING, Proof::of(Fix::FlushBeforeWrite, "lost-store")),
    reaches: &[Reach::Stale],
    ..OWED
};

pub(super) static BETWEEN_LOCKS: Scenario = Scenario {
    name: "reclaim_between_locks",
    goal: "Reclaim takes a page away between two holds of the lock by one unmap, which looked what is owed at the first.",
    method: "As reclaim, of the second of two pages; CPU 1 has no room for both and flushes between.",
    machine: Config { memory: MemoryModel::Sc, may_refuse_batches: true, ..TWO_CPUS },
    setup: |m| use_everywhere(m, 2),
    main: |m| {
        if m.cpu() == CpuId(0) {
            take_away(m, PAGE_1, |_| {});
        } else {
            let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
            let pages = VpnRange::from_len(PAGE_0, 2);
            let mut gather = Gather::new(m, m.user_space(), &sink);
            gather.unmap(pages, |_| Rmap::Now);
            gather.finish();
            m.promises(pages);
        }
    },
    proves: &[
        Proof::of(Fix::LookForDebtLast, "stale-after-return"),
        Proof::of(Fix::PayForReclaim, "stale-after-return"),
    ],
    ..OWED
};

pub(super) static NESTED: Scenario = Scenario {
    name: "reclaim_nested",
    goal: "Reclaim that comes on top of reclaim makes the outer one forget that it owes a flush.",
    method: "CPU 0 takes a page away, then reclaims once more and finds nothing, and finishes both; CPU 1 uses the page.",
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            nest(m);
        } else {
            m.access(PAGE_0);
        }
    },
    proves: &FLUSHING,
    reaches: &[Reach::Stale],
    ..OWED
};

fn nest(m: &Sim) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut outer = Reclaim::new(m, &sink);
    outer.unhook(space, space.lock(m).find(PAGE_0).expect("the page is mapped"));
    // What needs memory to write a page out may reclaim in its turn.
    let mut inner = Reclaim::new(m, &sink);
    inner.flush_before_write();
    inner.finish();
    outer.finish();
}

/// Takes a page away, writes it out if it is dirty, and lets go of it.
pub(super) fn take_away(m: &Sim, page: Vpn, write_out: impl Fn(shootdown::Pfn)) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let space = m.user_space();
    let mut reclaim = Reclaim::new(m, &sink);
    let tables = space.lock(m);
    let unhooked = tables.find(page).and_then(|leaf| reclaim.unhook(space, leaf));
    drop(tables);
    if let Some(unhooked) = unhooked
        && unhooked.attributes.dirty
    {
        m.note_dirty(unhooked.frame);
        reclaim.flush_before_write();
        write_out(unhooked.frame);
    }
    reclaim.finish();
}
