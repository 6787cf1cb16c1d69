//! Small pages that become a large one, a large one that becomes small ones, tables that go with all that is in them; and who
//! uses them meanwhile (R-THP1, R-THP2, R-SPLIT383).

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{
    Attributes, Counter, CpuId, Fix, Gather, Level, Machine, Vpn, call,
    page::{self, DropReference, References},
    table::QuiescentTable,
    walk::{self, Pins, Purpose, Walkers, Walking},
};
use shootdown_sim::smp::Config;

use super::script::{PAGE_0, PAGE_1, TWO_CACHING_CPUS, TWO_CPUS, use_everywhere, use_everywhere_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// The level of a large page.
const LARGE: Level = Level(2);

pub(super) static COLLAPSE: Scenario = Scenario {
    name: "collapse",
    goal: "A store to a small page is lost, since it comes after the page was copied; or there are two sizes at a time.",
    method: "CPU 0 makes a large page of two small ones; CPU 1 stores to one of them.",
    machine: Config { forbids_two_sizes: true, ..TWO_CACHING_CPUS },
    setup: |m| use_everywhere_with(m, 2, Attributes::USER_WRITE),
    main: |m| {
        if m.cpu() == CpuId(0) {
            free(m, collapse(m, PAGE_0));
        } else {
            m.write(PAGE_1);
            m.write(PAGE_1);
        }
    },
    proves: &[Proof::of(Fix::WaitForAcks, "stale-at-free"), Proof::of(Fix::FlushRemote, "stale-at-free")],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

pub(super) static COLLAPSE_UNDER_WALK: Scenario = Scenario {
    name: "collapse_walk",
    goal: "The table of the small pages is put to another use while somebody walks in it.",
    method: "CPU 0 makes a large page of two small ones and frees their table; CPU 1 looks for one of them without a lock. \
             The flush interrupts nobody.",
    machine: Config { has_tags: true, ..TWO_CPUS },
    broadcasts: true,
    walkers: Walkers::Unannounced,
    setup: |m| {
        call::arrive(m);
        use_everywhere(m, 2);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            free(m, collapse(m, PAGE_0));
        } else {
            let walking = Walking::begin(m);
            _ = walking.find(m.user_space(), PAGE_0);
        }
    },
    proves: &[
        Proof::of(Fix::QuiesceBeforeReuse, "entry-of-no-table"),
        Proof::of(Fix::ProveByInterrupt, "entry-of-no-table"),
    ],
    reaches: &[Reach::Counted(Counter::Quiescence)],
    ..Scenario::BLANK
};

/// Here two things would do, each by itself: walks have ended before references are counted, and who pins looks at the
/// pointer to the table again.
pub(super) static COLLAPSE_PINNED: Scenario = Scenario {
    name: "collapse_pinned",
    goal: "A small page is pinned, and has been copied to a large one.",
    method: "CPU 0 makes a large page of two small ones if nobody has pinned one; CPU 1 pins one, and looks whether that is \
             what is mapped.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            free(m, collapse(m, PAGE_0));
        } else if let Ok(pinned) = walk::pin(m, m.user_space(), PAGE_0, Purpose::Read, &References) {
            let tables = m.user_space().lock(m);
            let mapped = tables.find(PAGE_0).map(|leaf| leaf.frame());
            assert!(mapped == Some(pinned.frame), "a page was pinned that was copied");
            drop(tables);
            References.unpin(m, pinned.frame, pinned.level);
        }
    },
    proves: &[],
    ..COLLAPSE_UNDER_WALK
};

pub(super) static RETRACT: Scenario = Scenario {
    name: "retract_walk",
    goal: "A page is pinned in a table that was taken out with the page in it, and is somebody else's by now.",
    method: "CPU 0 takes out the table of a file's pages and lets go of them, and somebody takes the frame; CPU 1 pins it, and \
             looks whose it is.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            retract(m);
        } else if let Ok(pinned) = walk::pin(m, m.user_space(), PAGE_0, Purpose::Read, &References) {
            // Our reference keeps it from being anybody else's from now on.
            let others = m.scratch(0).load(m, Acquire);
            assert!(others != pinned.frame.0 + 1, "a page was pinned that is somebody else's");
            References.unpin(m, pinned.frame, pinned.level);
        }
    },
    proves: &[Proof::of(Fix::LookAgainAtTable, "panic")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..COLLAPSE_UNDER_WALK
};

pub(super) static RETRACT_UNDER_FAULT: Scenario = Scenario {
    name: "retract_fault",
    goal: "A fault maps a page in a table that is being taken out.",
    method: "CPU 0 takes out the table of a file's pages; CPU 1 has a fault for another page there.",
    machine: TWO_CPUS,
    setup: |m| use_everywhere(m, 1),
    main: |m| {
        if m.cpu() == CpuId(0) {
            retract(m);
        } else {
            let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
            let mapped = m.user_space().lock(m).map(PAGE_1, frame, Attributes::USER_READ);
            assert!(mapped.is_ok(), "nothing is there");
            m.access(PAGE_1);
        }
    },
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..Scenario::BLANK
};

pub(super) static SPLIT: Scenario = Scenario {
    name: "split",
    goal: "A TLB has a large translation and a small one for one page.",
    method: "CPU 0 makes small pages of a large one; CPU 1 uses them. The machine does not stand two sizes at a time.",
    machine: Config { forbids_two_sizes: true, ..TWO_CPUS },
    setup: |m| {
        if m.cpu() == CpuId(0) {
            m.user_space().create(m).expect("the machine has a frame for the root");
            let frame = page::allocate(m, LARGE).expect("the machine has two frames that follow each other");
            let mapped = m.user_space().lock(m).map(PAGE_0, frame, Attributes::USER_WRITE);
            assert!(mapped.is_ok(), "nothing is there");
        }
        m.user_space().switch_to(m);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            assert!(split(m, PAGE_0).is_ok(), "a large page is there, and nobody has pinned it");
        } else {
            m.write(PAGE_1);
            m.write(PAGE_1);
        }
    },
    proves: &[
        Proof::of(Fix::BreakBeforeMake, "two-sizes"),
        Proof::of(Fix::WaitForAcks, "two-sizes"),
        Proof::of(Fix::FlushRemote, "two-sizes"),
    ],
    reaches: &[Reach::Stale],
    ..Scenario::BLANK
};

/// Makes a large page where `page` is; returns the table, if there are small pages that nobody has pinned, and memory.
pub(super) fn collapse(m: &Sim, page: Vpn) -> Option<QuiescentTable> {
    let space = m.user_space();
    let frame = page::allocate(m, LARGE).ok()?;
    let mut gather = Gather::new(m, space, &DropReference);
    let tables = space.lock(m);
    let copy = |from, to| m.copy(from, to);
    let collapsed = gather.collapse(&tables, page, frame, page::is_exclusive, |noted| noted, copy);
    drop(tables);
    gather.finish();
    collapsed.map_err(|(_, frame)| page::drop_reference(m, frame)).ok()
}

pub(super) fn free(m: &Sim, table: Option<QuiescentTable>) {
    table.into_iter().for_each(|table| table.free(m));
}

/// Takes out the table with page 0 in it; somebody takes the frame that was there as soon as that can be had.
fn retract(m: &Sim) {
    let space = m.user_space();
    let mut gather = Gather::new(m, space, &DropReference);
    let is_out = gather.retract(&space.lock(m), PAGE_0, LARGE, |_| {});
    assert!(is_out, "the table is there");
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    m.scratch(0).store(m, frame.pfn().0 + 1, Release);
    gather.finish();
    page::drop_reference(m, frame);
}

/// Makes small pages of the large one where `page` is. If there is none, or somebody has pinned it, the table for it comes
/// back, if there was memory for that.
pub(super) fn split(m: &Sim, page: Vpn) -> Result<(), Option<QuiescentTable>> {
    let space = m.user_space();
    let table = QuiescentTable::allocate(m, Level::LEAF).map_err(|_| None)?;
    let mut gather = Gather::new(m, space, &DropReference);
    let tables = space.lock(m);
    let share_out = |frame| page::split(m, frame, LARGE);
    let split = gather.split(&tables, page, table, page::is_exclusive, share_out);
    drop(tables);
    gather.finish();
    split.map_err(|(_, table)| Some(table))
}
