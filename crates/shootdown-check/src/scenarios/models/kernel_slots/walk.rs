//! Models of kernels that copy a new slot to all roots at once, as x86-64 does for what maps all memory.
//!
//! It is enough where one lock is held from before the slot is filled until it is in every root, by whoever may find it
//! filled and by whoever creates a root, until the root is on the list. It fails where the slot can be seen before it is
//! everywhere, and where a root can be missed.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use shootdown::{CpuId, Machine, Modify, Shared};

use super::{
    super::script::cpus,
    script::{
        INIT, NEXT_PAGE, PAGE, copy_slot, create_roots, fill_init_slot, hand_out, load, locked, map, root, set_slot,
        slot, use_page, wait_for,
    },
};
use crate::{machine::Sim, scenario::Scenario};

/// The shortest trace: CPU 1 finds the slot filled before CPU 0 has copied it anywhere, and has a fault (R-VM1).
pub(in super::super) static HANDED_OUT_EARLY: Scenario = Scenario {
    name: "model_slot_walk_early_2cpu",
    goal: "A slot that is filled is taken for one that every root has.",
    method: "Each CPU, in a process of its own, allocates an address under one slot and uses it; who fills the slot copies it to \
             all roots after the lock.",
    machine: cpus(2),
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_roots(m, 2);
            (0..2).for_each(|process| list(m, process));
        }
        load(m, process_of(m.cpu()));
    },
    main: |m| {
        let page = if m.cpu() == CpuId(0) { PAGE } else { NEXT_PAGE };
        let mut is_new = false;
        locked(m, |m| is_new = fill_init_slot(m, page));
        map(m, page);
        if is_new {
            copy_to_listed(m);
        }
        use_page(m, page);
    },
    ..Scenario::BLANK
};

/// The shortest trace: CPU 1 reads the empty slot, CPU 0 fills it and finds no root on the list but its own; then CPU 1
/// stores what it has read, and puts its root on the list.
pub(in super::super) static MISSED_ROOT: Scenario = Scenario {
    name: "model_slot_walk_new_root_2cpu",
    goal: "A root is created while a slot is copied to all roots, with the empty slot and not yet on the list.",
    method: "CPU 0 fills a slot and copies it under a lock; CPU 1 creates a root without the lock, goes there and uses the address.",
    setup: create_one,
    main: |m| {
        if m.cpu() == CpuId(0) {
            allocate_locked(m);
        } else {
            create(m);
            load(m, CREATED);
            wait_for(m, PAGE);
            use_page(m, PAGE);
        }
    },
    ..HANDED_OUT_EARLY
};

pub(in super::super) static LOCKED: Scenario = Scenario {
    name: "model_slot_walk_locked_2cpu",
    goal: "A slot is found filled that is not in every root, or a root is missed by who fills it.",
    method: "CPU 0 allocates an address, CPU 1 creates a root, goes there, allocates another and uses both; the lock is held until \
             the slot is in all roots, and the root on the list.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            allocate_locked(m);
            use_page(m, PAGE);
            return;
        }
        locked(m, create);
        load(m, CREATED);
        locked(m, fill_and_copy);
        map(m, NEXT_PAGE);
        use_page(m, NEXT_PAGE);
        wait_for(m, PAGE);
        use_page(m, PAGE);
    },
    ..MISSED_ROOT
};

/// The process whose root CPU 1 creates.
const CREATED: u32 = 1;

fn process_of(cpu: CpuId) -> u32 {
    u32::from(cpu.0)
}

/// The first process is there and runs everywhere.
fn create_one(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create_roots(m, 2);
        list(m, 0);
    }
    load(m, 0);
}

fn allocate_locked(m: &Sim) {
    locked(m, fill_and_copy);
    map(m, PAGE);
    hand_out(m, PAGE);
}

fn fill_and_copy(m: &Sim) {
    if fill_init_slot(m, PAGE) {
        copy_to_listed(m);
    }
}

fn create(m: &Sim) {
    copy_slot(m, root(CREATED), PAGE);
    list(m, CREATED);
}

fn copy_to_listed(m: &Sim) {
    let filled = slot(m, INIT, PAGE);
    let are_listed = listed(m).load(m, Acquire);
    for process in (0..2).filter(|process| are_listed & 1 << process != 0) {
        set_slot(m, root(process), PAGE, filled);
    }
}

/// Puts a process on the list of those whose roots get new slots.
fn list(m: &Sim, process: u32) {
    listed(m).update(m, Modify::Or(1 << process), AcqRel);
}

fn listed(m: &Sim) -> &'static Shared<Sim> {
    m.scratch(2)
}
