//! A model of taking a table out that was empty when somebody looked (R-THP3): with some of the locks, and not with those that
//! faults take.
//!
//! Ours looks and takes out under one hold of the page-table lock; in the same script, `retract_fault`, the fault comes before
//! or after.

use std::sync::atomic::Ordering::Release;

use shootdown::{At, Attributes, CpuId, EntryAt, Invalidate, Level, Machine, Pfn, TableFrame, VpnRange, page};

use super::{
    super::script::{PAGE_0, PAGE_1, create, unmap},
    script::cpus,
};
use crate::{machine::Sim, scenario::Scenario};

/// Where the setup puts them: the machine hands frames out in order.
const ROOT: TableFrame = TableFrame(Pfn(0));
const TABLE: TableFrame = TableFrame(Pfn(2));

pub(super) static TWO_HOLDS: Scenario = Scenario {
    name: "model_retract_2cpu",
    goal: "A table is empty when somebody looks, and is not any more when he takes it out.",
    method: "CPU 0 looks under the lock whether the table is empty, and takes it out when the lock is released; CPU 1 has a \
             fault there.",
    machine: cpus(2),
    setup: |m| {
        if m.cpu() == CpuId(0) {
            create(m, 1);
        }
        m.user_space().switch_to(m);
        if m.cpu() == CpuId(0) {
            unmap(m, VpnRange::from_len(PAGE_0, 1));
        }
    },
    main: |m| {
        if m.cpu() == CpuId(1) {
            return fault(m);
        }
        let is_empty = m.user_space().lock(m).next_leaf(VpnRange::from_len(PAGE_0, 2)).is_none();
        if is_empty {
            take_out(m);
        }
    },
    ..Scenario::BLANK
};

fn fault(m: &Sim) {
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    let mapped = m.user_space().lock(m).map(PAGE_1, frame, Attributes::USER_READ);
    mapped.unwrap_or_else(|error| page::drop_reference(m, error.frame));
}

fn take_out(m: &Sim) {
    m.store(At::Entry(EntryAt { table: ROOT, index: 0 }), 0, Release);
    m.invalidate(Invalidate::All);
    m.complete();
    m.free_table(TABLE);
}
