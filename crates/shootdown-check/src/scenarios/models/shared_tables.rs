//! Models of tables that address spaces share, as Linux had them.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{
    At, CpuId, EntryAt, Gather, Invalidate, Machine, Modify, Pfn, TableFrame, page::DropReference, share::Unsharing,
};

use super::{
    super::{
        script::{PAGE_0, unmap_with_tables},
        share::{
            race::BOTH_LEAVE,
            script::{FIRST_TABLE, SHARED, leaver, stayer, unmap_file},
        },
    },
    script::{cpus, setup},
};
use crate::{machine::Sim, scenario::Scenario};

/// Until 2024 (CVE-2024-57883). Ours counts those who share a table and nothing else; `unshare_race` is what becomes of the
/// last one.
pub(super) static REFERENCES: Scenario = Scenario {
    name: "model_references_2cpu",
    goal: "The references to a table are taken for the number of those who share it, and somebody else takes one for a moment.",
    method: "CPU 0, which has the table alone, unmaps it if nobody else has it and leaves it otherwise; CPU 1 scans memory.",
    machine: cpus(2),
    setup: |m| {
        setup(m);
        references(m).store(m, 1, Relaxed);
    },
    main: |m| {
        if m.cpu() == CpuId(1) {
            references(m).update(m, Modify::Add(1), Relaxed);
            references(m).update(m, Modify::Add(1_u64.wrapping_neg()), Release);
        } else if references(m).load(m, Acquire) > 1 {
            leave_table(m);
        } else {
            unmap_with_tables(m, FIRST_TABLE);
        }
    },
    ..Scenario::BLANK
};

fn references(m: &Sim) -> &'static shootdown::Shared<Sim> {
    m.scratch(0)
}

/// Clears the pointer to the table, since the others need what is in it.
fn leave_table(m: &Sim) {
    references(m).update(m, Modify::Add(1_u64.wrapping_neg()), Release);
    let root = TableFrame(Pfn(0));
    m.store(At::Entry(EntryAt { table: root, index: 0 }), 0, Release);
    m.invalidate(Invalidate::All);
    m.complete();
}

/// In the same script ours keeps the file map locked until it has flushed: `unshare_race`. It cannot be written with the
/// guard that it is to have; so here it has none.
pub(super) static TOO_LATE: Scenario = Scenario {
    name: "model_settled_late_2cpu",
    goal: "What was owed for a table that was left is paid after the file map was released.",
    method: "As unshare_race; CPU 0 releases the file map before it flushes.",
    main: |m| {
        if m.cpu() == CpuId(1) {
            return unmap_file(m, stayer(m));
        }
        let space = leaver(m);
        let file_map = m.rmap().lock(m);
        let mut unsharing = Unsharing::begin(());
        let mut gather = Gather::new(m, space, &DropReference);
        gather.unshare(&mut space.lock(m), FIRST_TABLE, SHARED, &mut unsharing);
        drop(file_map);
        unsharing.settle(&mut gather);
        gather.finish();
        m.access(PAGE_0);
    },
    proves: &[],
    reaches: &[],
    ..BOTH_LEAVE
};
