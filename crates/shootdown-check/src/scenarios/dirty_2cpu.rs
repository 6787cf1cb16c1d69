//! Stores that other CPUs make into a page until its translation is gone from their TLBs, and the dirty bit that tells
//! of them.

use shootdown::{Attributes, CpuId, Fix, Machine, VpnRange};

use super::script::{FLUSHING, PAGE_0, and, change, unmap, use_everywhere_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(super) static UNMAP: Scenario = Scenario {
    name: "unmap_dirty_2cpu",
    goal: "A CPU's store sets the dirty bit after the entry was read and before it is cleared, and nobody learns of it.",
    method: "CPU 1 writes to the page while CPU 0 unmaps it; who unmaps a dirty page notes that it is.",
    setup: |m| use_everywhere_with(m, 1, Attributes::USER_WRITE),
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        } else {
            write_twice(m);
        }
    },
    proves: &and(FLUSHING, Proof::of(Fix::AtomicUnhook, "lost-store")),
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

pub(super) static PROTECT: Scenario = Scenario {
    name: "protect_2cpu",
    goal: "A CPU goes on writing to a page after the operation that forbade it has returned.",
    method: "CPU 1 writes to the page while CPU 0 takes the permission away.",
    setup: |m| use_everywhere_with(m, 1, Attributes::USER_WRITE),
    main: |m| {
        if m.cpu() == CpuId(0) {
            change(m, PAGE_0, |was| Attributes { writable: false, ..was });
            m.promises(VpnRange::from_len(PAGE_0, 1));
        } else {
            write_twice(m);
        }
    },
    proves: &[
        Proof::of(Fix::WaitForAcks, "stale-after-return"),
        Proof::of(Fix::FlushRemote, "stale-after-return"),
        Proof::of(Fix::RecordChanges, "stale-after-return"),
    ],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

/// What Linux does before it writes a page of a file back (`page_mkclean`, `clear_page_dirty_for_io`).
pub(super) static WRITE_BACK: Scenario = Scenario {
    name: "write_back_2cpu",
    goal: "A store through a translation that still counts as dirty comes after the page was written back, and is lost.",
    method: "CPU 1 has written to the page and does again, while CPU 0 makes it clean and read-only and writes it back.",
    setup: |m| {
        use_everywhere_with(m, 1, Attributes::USER_WRITE);
        if m.cpu() == CpuId(1) {
            m.write(PAGE_0);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            let frame = change(m, PAGE_0, |was| Attributes { writable: false, dirty: false, ..was });
            m.write_back(frame);
        } else {
            m.write(PAGE_0);
        }
    },
    proves: &[Proof::of(Fix::WaitForAcks, "lost-store"), Proof::of(Fix::FlushRemote, "lost-store")],
    ..PROTECT
};

/// Once to set the dirty bit, and once more through what the TLB remembers of it.
fn write_twice(m: &Sim) {
    m.write(PAGE_0);
    m.write(PAGE_0);
}
