//! What code can do wrong is found, in scenarios that are wrong on purpose, and named after the invariant it breaks.
//! Each stands beside one that is right. What exactly is a violation, the litmus tests of the machine say.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use shootdown::{At, Attributes, CpuId, EntryAt, Frame, Gather, Level, Machine, Modify, Pfn, Stale, Vpn, VpnRange};
use shootdown_check::{
    Failure, Scenario, Sim,
    graph::{self, Limits},
    live,
};
use shootdown_sim::smp::{Config, Violation};

const PAGE: Vpn = Vpn(0);
const PAGES: VpnRange = VpnRange::from_len(PAGE, 1);

/// The first frame is the root; setup takes this one for the page, and then one for the table.
const FRAME: Pfn = Pfn(1);
const TABLE: Pfn = Pfn(2);

/// Both CPUs run in an address space with one page that may be written to.
const ONE_PAGE: Scenario = Scenario {
    machine: Config { caches_walks: true, ..Scenario::BLANK.machine },
    setup: |m| {
        if m.cpu() == CpuId(0) {
            m.user_space().create(m).expect("the machine has a frame for the root");
            let frame = m.alloc_frame();
            let mapped = m.user_space().lock(m).map(PAGE, frame, Attributes::USER_WRITE);
            mapped.expect("the machine has frames for the tables");
        }
        m.user_space().switch_to(m);
    },
    ..Scenario::BLANK
};

fn leaf(m: &Sim) -> EntryAt {
    m.user_space().lock(m).find(PAGE).expect("the page is mapped").at()
}

fn assert_finds(scenario: &'static Scenario, invariant: &str, violation: Violation) {
    let finding = graph::check(scenario, &[], Limits::default()).finding.expect("the scenario is wrong");
    assert_eq!(finding.failure, Failure::Violation(violation), "{}", finding.trace);
    assert_eq!(finding.failure.invariant(), invariant);
    let searched = live::search(scenario, &[], 1, 20_000).finding.expect("it is found at random too");
    assert_eq!(searched.failure.kind(), finding.failure.kind());
}

fn assert_holds(scenario: &'static Scenario) {
    let report = graph::check(scenario, &[], Limits::default());
    assert!(report.is_proof(), "{report}");
}

/// Moves the page to the next entry while the other CPU writes to it.
const MOVES: Scenario = Scenario { name: "moves", ..ONE_PAGE };

fn move_page(m: &Sim, clear: impl Fn(EntryAt) -> u64) {
    if m.cpu() != CpuId(0) {
        return m.write(PAGE);
    }
    let from = leaf(m);
    let was = clear(from);
    m.user_space().flush(m, Stale::leaves(PAGES, Level::LEAF));
    m.store(At::Entry(EntryAt { index: from.index + 1, ..from }), was, Release);
}

/// Between the two steps the other CPU's store sets a dirty bit that nobody sees.
static MOVES_IN_TWO_STEPS: Scenario = Scenario {
    main: |m| {
        move_page(m, |at| {
            let was = m.load(At::Entry(at), Relaxed);
            m.store(At::Entry(at), 0, Relaxed);
            was
        });
    },
    ..MOVES
};

static MOVES_IN_ONE_STEP: Scenario =
    Scenario { main: |m| move_page(m, |at| m.modify(At::Entry(at), Modify::Swap(0), AcqRel)), ..MOVES };

#[test]
fn a_store_is_lost_with_a_dirty_bit_that_comes_between_reading_and_clearing_an_entry() {
    assert_finds(&MOVES_IN_TWO_STEPS, "I5", Violation::LostStore { frame: FRAME });
    assert_holds(&MOVES_IN_ONE_STEP);
}

/// Forbids writing, and says so before the other CPU has heard of it, or after.
fn protect(m: &Sim, flush: impl Fn()) {
    if m.cpu() != CpuId(0) {
        return m.write(PAGE);
    }
    {
        let tables = m.user_space().lock(m);
        let leaf = tables.find(PAGE).expect("the page is mapped");
        let sink = |m: &Sim, frame: Frame| m.free_frame(frame);
        let attributes = Attributes { writable: false, ..leaf.attributes() };
        // Forgotten, and the flush with it.
        Gather::new(m, m.user_space(), &sink).change(leaf, attributes);
    }
    flush();
    m.promises(PAGES);
}

static PROMISES_TOO_EARLY: Scenario = Scenario { name: "promises_too_early", main: |m| protect(m, || ()), ..ONE_PAGE };

static PROMISES_IN_TIME: Scenario = Scenario {
    name: "promises_in_time",
    main: |m| protect(m, || _ = m.user_space().flush(m, Stale::leaves(PAGES, Level::LEAF))),
    ..ONE_PAGE
};

#[test]
fn a_promise_before_the_flush_is_broken() {
    assert_finds(&PROMISES_TOO_EARLY, "I4", Violation::StaleAfterReturn { cpu: CpuId(0), page: PAGE });
    assert_holds(&PROMISES_IN_TIME);
}

/// Unmaps the page, flushes, and does this with the gather.
fn unmap(m: &Sim, end: impl Fn(Gather<'_, Sim, fn(&Sim, Frame)>)) {
    let sink: fn(&Sim, Frame) = |m, frame| m.free_frame(frame);
    let mut gather = Gather::new(m, m.user_space(), &sink);
    let mut tables = m.user_space().lock(m);
    gather.unhook(tables.find(PAGE).expect("the page is mapped"));
    gather.unhook_tables(&mut tables, PAGES.hull(VpnRange::from_len(PAGE, 2)), VpnRange::from_len(PAGE, 2));
    drop(tables);
    end(gather);
}

static DROPS_A_GATHER: Scenario = Scenario {
    name: "drops_a_gather",
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, |gather| drop(gather));
        }
    },
    ..ONE_PAGE
};

static FINISHES_A_GATHER: Scenario = Scenario {
    name: "finishes_a_gather",
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap(m, |gather| gather.finish());
        }
    },
    ..ONE_PAGE
};

#[test]
fn a_dropped_gather_leaks_what_it_holds() {
    assert_finds(&DROPS_A_GATHER, "I17", Violation::Leaked { frame: FRAME });
    assert_holds(&FINISHES_A_GATHER);
}

/// CPU 1 finds the leaf under the lock and goes to it again without: its table may be gone.
static WALKS_WITHOUT_THE_LOCK: Scenario = Scenario {
    name: "walks_without_the_lock",
    main: |m| {
        let tables = m.user_space().lock(m);
        let found = tables.find(PAGE).map(|leaf| leaf.at());
        match (m.cpu(), found) {
            (CpuId(0), _) => {
                drop(tables);
                unmap(m, |gather| gather.finish());
            }
            (_, Some(at)) => {
                drop(tables);
                m.load(At::Entry(at), Acquire);
            }
            (_, None) => {}
        }
    },
    ..ONE_PAGE
};

static WALKS_UNDER_THE_LOCK: Scenario = Scenario {
    name: "walks_under_the_lock",
    main: |m| {
        if m.cpu() == CpuId(0) {
            return unmap(m, |gather| gather.finish());
        }
        let tables = m.user_space().lock(m);
        if let Some(leaf) = tables.find(PAGE) {
            m.load(At::Entry(leaf.at()), Acquire);
        }
    },
    ..ONE_PAGE
};

#[test]
fn a_software_walker_without_the_lock_comes_to_a_freed_table() {
    assert_finds(&WALKS_WITHOUT_THE_LOCK, "I3", Violation::EntryOfNoTable { cpu: CpuId(1), frame: TABLE });
    assert_holds(&WALKS_UNDER_THE_LOCK);
}
