//! Models of an allocation that fails halfway, where slots are filled ahead of all roots and those that come later are copied
//! to all of them at the end.
//!
//! That end must be come to on every way out: what was filled stays filled, and whoever finds it so copies nothing. Linux
//! leaves the loop there and does not return.

use shootdown::{Attributes, CpuId, EntryFormat, Level, Machine, Pfn, arch::tiny::Tiny};

use super::{
    super::script::cpus,
    script::{NEXT_PAGE, PAGE, copy_slot, create_roots, fill_init_slot, load, locked, map, root, set_leaf, use_page},
};
use crate::{machine::Sim, scenario::Scenario};

/// The shortest trace: CPU 0's allocation fails first; CPU 1 then finds the slot filled, and has a fault.
pub(in super::super) static FORGETS: Scenario = Scenario {
    name: "model_slot_error_path_2cpu",
    goal: "An allocation fails after it has filled a slot, and nobody copies the slot to the roots.",
    method: "CPU 0 allocates two pages where there is memory for one, and returns at once; CPU 1 allocates one and uses it; one \
             lock around either.",
    machine: cpus(2),
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create_roots(m, 1);
            // All but the frames for a table and a page are somebody else's.
            while m.alloc_frame().pfn() != LAST_OTHER {}
        }
        load(m, 0);
    },
    main: |m| fail_and_succeed(m, |_, _| {}),
    ..Scenario::BLANK
};

pub(in super::super) static COPIES: Scenario = Scenario {
    name: "model_slot_error_path_copies_2cpu",
    goal: "An allocation fails after it has filled a slot, and nobody copies the slot to the roots.",
    method: "As model_slot_error_path_2cpu; CPU 0 copies the slot all the same.",
    main: |m| fail_and_succeed(m, copy_if),
    ..FORGETS
};

const LAST_OTHER: Pfn = Pfn(4);

fn fail_and_succeed(m: &Sim, leave: fn(&Sim, bool)) {
    if m.cpu() == CpuId(0) {
        return locked(m, |m| fail(m, leave));
    }
    locked(m, succeed);
    use_page(m, NEXT_PAGE);
}

/// Allocates two pages where there is memory for no more than one.
fn fail(m: &Sim, leave: fn(&Sim, bool)) {
    let is_new = fill_init_slot(m, PAGE);
    if let Some(frame) = m.try_alloc_frame() {
        set_leaf(m, PAGE, Tiny::leaf(frame.pfn(), Level::LEAF, Attributes::USER_WRITE));
        assert!(m.try_alloc_frame().is_none(), "there is no memory for a second page");
        set_leaf(m, PAGE, 0);
        m.free_frame(frame);
    }
    leave(m, is_new);
}

fn succeed(m: &Sim) {
    let is_new = fill_init_slot(m, NEXT_PAGE);
    map(m, NEXT_PAGE);
    copy_if(m, is_new);
}

fn copy_if(m: &Sim, is_new: bool) {
    if is_new {
        copy_slot(m, root(0), PAGE);
    }
}
