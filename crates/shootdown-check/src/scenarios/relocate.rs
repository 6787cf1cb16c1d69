//! Moving pages to other addresses (R-MREMAP).

use shootdown::{Attributes, CpuId, Fix, Frame, Gather, Machine, Rmap, Vpn, VpnRange};
use shootdown_sim::smp::Config;

use super::script::{PAGE_0, PAGE_1, TWO_CACHING_CPUS, TWO_CPUS, use_everywhere, use_everywhere_with};
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
    method: "CPU 0 moves a page out of its table and may get none for its new address; CPU 1 writes to it before and after.",
    machine: Config { may_refuse_tables: true, ..TWO_CACHING_CPUS },
    setup: |m| use_everywhere_with(m, 1, Attributes::USER_WRITE),
    main: |m| {
        if m.cpu() == CpuId(0) {
            relocate(m, VpnRange::from_len(PAGE_0, 2), PAGE_2);
        } else {
            m.write(PAGE_0);
            m.write(PAGE_2);
        }
    },
    proves: &[Proof::of(Fix::AtomicUnhook, "lost-store"), Proof::of(Fix::DropWalkCaches, "walker-in-freed-table")],
    ..TAKEN_AWAY
};

/// The first page that another table translates.
const PAGE_2: Vpn = Vpn(2);

fn relocate(m: &Sim, from: VpnRange, to: Vpn) {
    let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let moved = gather.relocate(from, to, |_| {});
    gather.finish();
    if moved.is_ok() {
        m.promises(from);
    }
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
