//! Models of addresses that wait in quarantine until a purge has all CPUs forget them at once, as those of Linux do.
//!
//! It is enough where a purge takes them out of quarantine, then flushes, then says that they are free, and where nobody takes
//! an empty quarantine for a purge that has ended: one lock around the purge is enough for that.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use shootdown::{CpuId, Machine, Modify, Shared};
use shootdown_sim::smp::Access;

use super::{
    super::script::cpus,
    script::{NEW, OLD, PAGE, flush, forget, map, setup_without_user, unmap},
};
use crate::{machine::Sim, scenario::Scenario};

pub(in super::super) static FLUSHES_FIRST: Scenario = Scenario {
    name: "model_address_purge_2cpu",
    goal: "An address leaves quarantine, and is used, before all CPUs have forgotten what was there.",
    method: "CPU 0 unmaps a page, frees its frame, and purges; CPU 1 maps another frame to an address that is free, and uses it.",
    machine: cpus(2),
    setup: setup_without_user,
    main: |m| give_back_and_take(m, purge),
    handler: forget,
    ..Scenario::BLANK
};

/// The shortest trace: CPU 1 takes the address before CPU 0 has begun to flush, and still remembers the page (R-VM4).
pub(in super::super) static FLUSHES_LAST: Scenario = Scenario {
    name: "model_address_purge_early_2cpu",
    method: "CPU 0 unmaps a page, frees its frame, and purges, but flushes last; CPU 1 maps another frame to an address that is \
             free, and uses it.",
    main: |m| {
        give_back_and_take(m, |m| {
            let detached = detach(m);
            set_free(m, detached);
            flush(m);
        });
    },
    ..FLUSHES_FIRST
};

/// The shortest trace: CPU 0 empties the quarantine; CPU 1 finds nothing there and goes to the frame that was freed
/// (after R-VPURGE).
pub(in super::super) static TWO_PURGES: Scenario = Scenario {
    name: "model_address_two_purges_2cpu",
    goal: "A purge finds nothing in quarantine, and returns while another one is still to flush what was there.",
    method: "CPU 1 unmaps a page, frees its frame, purges, and maps another frame to the same address, which it uses; CPU 0 \
             purges, too.",
    main: |m| purge_and_reuse(m, purge),
    ..FLUSHES_FIRST
};

pub(in super::super) static ONE_PURGE: Scenario = Scenario {
    name: "model_address_purge_locked_2cpu",
    method: "As model_address_two_purges_2cpu, with a lock around the purge.",
    main: |m| purge_and_reuse(m, purge_locked),
    ..TWO_PURGES
};

fn give_back_and_take(m: &Sim, purge: fn(&Sim)) {
    if m.cpu() == CpuId(0) {
        give_back(m);
        purge(m);
    } else {
        m.spin(|m| (free(m).load(m, Acquire) & ADDRESS != 0).then_some(()));
        reuse(m);
    }
}

fn purge_and_reuse(m: &Sim, purge: fn(&Sim)) {
    if m.cpu() == CpuId(1) {
        give_back(m);
        purge(m);
        // Nobody else asks for this address: it is its own again as soon as it has been purged.
        reuse(m);
    } else {
        purge(m);
    }
}

fn give_back(m: &Sim) {
    unmap(m, PAGE);
    m.free_frame_of_owner(OLD);
    quarantine(m).update(m, Modify::Or(ADDRESS), AcqRel);
}

fn reuse(m: &Sim) {
    map(m, PAGE, NEW);
    assert!(m.tries(PAGE, Access::Read), "the page is mapped");
}

fn purge_locked(m: &Sim) {
    let lock = m.scratch(3);
    m.spin(|m| (lock.modify(m, Modify::CompareExchange { old: 0, new: 1 }, Acquire) == 0).then_some(()));
    purge(m);
    lock.store(m, 0, Release);
}

fn purge(m: &Sim) {
    let detached = detach(m);
    if detached != 0 {
        flush(m);
        set_free(m, detached);
    }
}

/// Empties the quarantine and returns what was there.
fn detach(m: &Sim) -> u64 {
    quarantine(m).modify(m, Modify::Swap(0), AcqRel)
}

fn set_free(m: &Sim, addresses: u64) {
    free(m).update(m, Modify::Or(addresses), AcqRel);
}

/// The address of the page, as a bit.
const ADDRESS: u64 = 1 << PAGE.0;

/// The addresses that wait for a flush.
fn quarantine(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(1)
}

/// The addresses that may be used.
fn free(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(2)
}
