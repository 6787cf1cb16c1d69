//! Walks that take no lock, and what others do to the tables meanwhile (R-GUP-FREE, R-FORKPIN).

use std::sync::atomic::Ordering::*;

use shootdown::{
    Attributes, Counter, CpuId, Fix, Gather, Level, Machine, Pfn, Rmap, Vpn, VpnRange, call,
    page::{self, DropReference, References},
    walk::{self, Forking, Grace, Pins, Purpose, Walkers, Walking},
};
use shootdown_sim::smp::{Config, MemoryModel};

use super::script::{PAGE_0, PAGE_1, TWO_CPUS, TWO_LATE_CPUS, use_everywhere, use_everywhere_with};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

/// Where page 0 lies: in the first frame that is taken after the root's.
const FRAME: Pfn = Pfn(1);

pub(super) static INTERRUPTED: Scenario = Scenario {
    name: "walk",
    goal: "A walk reads on in a table that was freed, since its CPU has answered the flush.",
    method: "CPU 0 unmaps a page and its table, and flushes by interrupts; CPU 1 walks there to pin the page.",
    machine: TWO_CPUS,
    setup: |m| {
        call::arrive(m);
        use_everywhere(m, 1);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m);
        } else {
            pin(m, Purpose::Read);
        }
    },
    walkers: Walkers::Unannounced,
    proves: &[Proof::of(Fix::MaskWhileWalking, "entry-of-no-table")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableReleased)],
    ..Scenario::BLANK
};

pub(super) static BROADCAST: Scenario = Scenario {
    name: "walk_broadcast",
    goal: "A walk reads on in a table that was freed, since the flush has interrupted nobody.",
    method: "As walk, on a machine that broadcasts.",
    machine: Config { has_tags: true, ..TWO_CPUS },
    broadcasts: true,
    proves: &[
        Proof::of(Fix::MaskWhileWalking, "entry-of-no-table"),
        Proof::of(Fix::QuiesceBeforeFree, "entry-of-no-table"),
    ],
    reaches: &[Reach::Counted(Counter::Quiescence)],
    ..INTERRUPTED
};

/// A sequence of stores and loads: with store buffers that keep their order, as on x86, it is all that matters.
pub(super) static ANNOUNCED: Scenario = Scenario {
    name: "walk_announced",
    goal: "A walk that is announced is not seen, nor does it see that the entry was cleared.",
    method: "As walk_broadcast, where only CPUs that show a walk are interrupted.",
    machine: Config { memory: MemoryModel::Tso, ..BROADCAST.machine },
    walkers: Walkers::Announced,
    proves: &[
        Proof::of(Fix::QuiesceBeforeFree, "entry-of-no-table"),
        Proof::of(Fix::FenceBeforeWalking, "entry-of-no-table"),
    ],
    ..BROADCAST
};

/// What is walked is a word: what a kernel does with it meanwhile makes no difference.
pub(super) static DEFERRED: Scenario = Scenario {
    name: "walk_deferred",
    goal: "Something is freed after walks have ended that were under way, and one of them was not seen.",
    method: "CPU 0 takes a word out, lets a time begin that walks take, and frees the word when that has passed; CPU 1 looks \
             for it during a walk.",
    machine: TWO_LATE_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            m.scratch(LINK).store(m, 1, Relaxed);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            m.scratch(LINK).store(m, 0, Relaxed);
            let grace = Grace::begin(m);
            m.spin(|m| grace.has_passed(m).then_some(()));
            m.scratch(FREED).store(m, 1, Relaxed);
        } else {
            let walking = Walking::begin(m);
            if m.scratch(LINK).load(m, Acquire) != 0 {
                assert!(m.scratch(FREED).load(m, Relaxed) == 0, "what was found is freed");
            }
            drop(walking);
        }
    },
    walkers: Walkers::Announced,
    proves: &[Proof::of(Fix::FenceBeforeWalking, "panic")],
    reaches: &[Reach::Counted(Counter::QuiescenceDeferred)],
    ..Scenario::BLANK
};

/// The words of `walk_deferred`: whether there is something, and whether it was freed.
const LINK: usize = 0;
const FREED: usize = 1;

/// Where entries are wider than what a CPU reads at once, as on x86 with PAE: who puts another one there has cleared the half
/// that says whether it is present, and has seen walks ended.
pub(super) static TWO_WORDS: Scenario = Scenario {
    name: "walk_two_words",
    goal: "An entry of two words is read in halves, one of the old entry and one of the new.",
    method: "CPU 0 clears the first word of an entry, waits for walks, and puts another entry there, second word first; CPU 1 \
             reads both, and the first once more.",
    machine: TWO_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            m.scratch(LOW).store(m, 1, Relaxed);
            m.scratch(HIGH).store(m, 1, Relaxed);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            m.scratch(LOW).store(m, 0, Release);
            walk::quiesce(m);
            m.scratch(HIGH).store(m, 2, Relaxed);
            m.scratch(LOW).store(m, 2, Release);
        } else {
            let walking = Walking::begin(m);
            let low = m.scratch(LOW).load(m, Acquire);
            let high = m.scratch(HIGH).load(m, Acquire);
            let is_present = low != 0 && m.scratch(LOW).load(m, Acquire) != 0;
            assert!(!is_present || low == high, "an entry was read that never was");
            drop(walking);
        }
    },
    walkers: Walkers::Unannounced,
    proves: &[Proof::of(Fix::MaskWhileWalking, "panic")],
    reaches: &[Reach::Counted(Counter::Quiescence)],
    ..Scenario::BLANK
};

/// The words of `walk_two_words`.
const LOW: usize = 0;
const HIGH: usize = 1;

pub(super) static REUSED: Scenario = Scenario {
    name: "walk_reused_page",
    goal: "A page is pinned that has been somebody else's since its entry was read.",
    method: "CPU 0 unmaps a page and maps its frame elsewhere; CPU 1 walks to the page, and looks whose frame it has pinned.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            reuse(m);
        } else if let Some(frame) = walk_to(m, Purpose::Read) {
            // Our reference keeps it from being anybody else's from now on.
            assert!(m.scratch(0).load(m, Acquire) == 0, "a page was pinned that is somebody else's");
            References.unpin(m, frame, Level::LEAF);
        }
    },
    proves: &[Proof::of(Fix::LookAgainWhenPinned, "panic")],
    reaches: &[Reach::Stale],
    ..BROADCAST
};

pub(super) static FORKED: Scenario = Scenario {
    name: "walk_forked_page",
    goal: "A page is pinned to be written to, and shared by a fork that has found it unpinned.",
    method: "CPU 0 makes the page read-only and shares it, if nobody has pinned it; CPU 1 pins it to write to it.",
    machine: TWO_LATE_CPUS,
    setup: |m| {
        use_everywhere_with(m, 1, Attributes::USER_WRITE);
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            fork(m);
        } else if let Some(frame) = walk_to(m, Purpose::Write) {
            // From now on a fork finds it pinned.
            assert!(m.scratch(0).load(m, Acquire) == 0, "a page was pinned that is shared");
            References.unpin(m, frame, Level::LEAF);
        }
    },
    proves: &[Proof::of(Fix::SayWhenForking, "panic")],
    reaches: &[Reach::Stale],
    ..INTERRUPTED
};

fn walk_to(m: &Sim, purpose: Purpose) -> Option<Pfn> {
    walk::pin(m, m.user_space(), PAGE_0, purpose, &References).ok().map(|pinned| pinned.frame)
}

fn pin(m: &Sim, purpose: Purpose) {
    if let Some(frame) = walk_to(m, purpose) {
        References.unpin(m, frame, Level::LEAF);
    }
}

fn unmap(m: &Sim) {
    let (space, pages) = (m.user_space(), VpnRange::from_len(PAGE_0, 2));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unmap(pages, |_| Rmap::Now);
    gather.unhook_tables(&mut space.lock(m), pages, pages);
    gather.finish();
}

/// Takes the page away and, if nobody has pinned it, gives it to somebody else.
fn reuse(m: &Sim) {
    let (space, pages) = (m.user_space(), VpnRange::from_len(PAGE_0, 1));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unmap(pages, |_| Rmap::Now);
    gather.finish();
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    if frame.pfn() != FRAME {
        return page::drop_reference(m, frame);
    }
    m.scratch(0).store(m, 1, Relaxed);
    let mapped = space.lock(m).map(OTHER, frame, Attributes::USER_READ);
    assert!(mapped.is_ok(), "there is a table");
}

/// A page of somebody else's, in the same table.
const OTHER: Vpn = PAGE_1;

/// Makes the page read-only and shares it, if nobody has pinned it.
fn fork(m: &Sim) {
    let space = m.user_space();
    let forking = Forking::begin(m, space);
    let mut gather = Gather::new(m, space, &DropReference);
    let tables = space.lock(m);
    if let Some(leaf) = tables.find(PAGE_0).filter(page::is_exclusive) {
        let read_only = Attributes { writable: false, ..leaf.attributes() };
        m.scratch(0).store(m, 1, Release);
        gather.change(leaf, read_only);
    }
    drop(tables);
    gather.finish();
    drop(forking);
}
