//! Walks that take no lock, in a table that is somebody else's alone by now (R-HT4, R-HT6).

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{
    Attributes, Counter, CpuId, Fix, Gather, Level, Machine, Rmap, Vpn, VpnRange, call,
    page::{self, DropReference},
    share::Unsharing,
    walk::{Walkers, Walking},
};
use shootdown_sim::smp::{Config, MemoryModel};

use super::{
    super::script::{PAGE_0, TWO_CPUS},
    script::{
        FIRST_TABLE, SHARED, TWO_BROADCASTING_CPUS, create_sharers, leaver, run_in_leaver, stayer, third, unshare,
    },
};
use crate::{
    machine::Sim,
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static INTERRUPTED: Scenario = Scenario {
    name: "unshare_walk",
    goal: "A walk goes on in a table that was left, and finds a page that the last one who has it has mapped for himself.",
    method: "CPU 0 leaves the table in one address space, and in the other one puts a page of its own there; CPU 1 walks in \
             the first one. The flush is the proof that walks have ended.",
    machine: TWO_CPUS,
    setup: run_in_leaver,
    main: |m| {
        if m.cpu() == CpuId(0) {
            unshare(m, leaver(m), FIRST_TABLE);
            reuse(m);
        } else {
            look(m);
        }
    },
    walkers: Walkers::Unannounced,
    proves: &[Proof::narrow(Fix::MaskWhileWalking, "panic")],
    reaches: &[Reach::Counted(Counter::QuiescenceImplied)],
    ..Scenario::BLANK
};

pub(in super::super) static BROADCAST: Scenario = Scenario {
    name: "unshare_walk_broadcast",
    goal: "The same, since the flush has interrupted nobody.",
    method: "As unshare_walk, on a machine that broadcasts.",
    machine: TWO_BROADCASTING_CPUS,
    broadcasts: true,
    proves: &[
        Proof::narrow(Fix::MaskWhileWalking, "panic"),
        Proof::of(Fix::QuiesceBeforeReuse, "panic"),
        Proof::of(Fix::ProveByInterrupt, "panic"),
    ],
    reaches: &[Reach::Counted(Counter::Quiescence)],
    ..INTERRUPTED
};

/// A sequence of stores and loads: with store buffers that keep their order, as on x86, it is all that matters.
pub(in super::super) static ANNOUNCED: Scenario = Scenario {
    name: "unshare_walk_announced",
    goal: "The same, since the walk that is announced is not seen.",
    method: "As unshare_walk_broadcast, where only CPUs that show a walk are interrupted.",
    machine: Config { memory: MemoryModel::Tso, ..BROADCAST.machine },
    walkers: Walkers::Announced,
    proves: &[Proof::of(Fix::QuiesceBeforeReuse, "panic"), Proof::of(Fix::FenceBeforeWalking, "panic")],
    ..BROADCAST
};

pub(in super::super) static THREE_SHARERS: Scenario = Scenario {
    name: "unshare_walk_third",
    goal: "Who leaves the table first waits for no walk, since others have it; who leaves it last waits for his own.",
    method: "Three address spaces share a table. CPU 0 leaves it in the one in which CPU 1 walks, then in its own, and the \
             third puts a page of its own there.",
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create_sharers(m, 3, &[PAGE_0]);
            third(m).switch_to(m);
        } else {
            leaver(m).switch_to(m);
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unshare(m, leaver(m), FIRST_TABLE);
            unshare(m, third(m), FIRST_TABLE);
            reuse(m);
        } else {
            look(m);
        }
    },
    proves: &[
        Proof::of(Fix::QuiesceForAllSharers, "panic"),
        Proof::of(Fix::QuiesceBeforeReuse, "panic"),
        Proof::of(Fix::ProveByInterrupt, "panic"),
    ],
    reaches: &[Reach::Counted(Counter::Quiescence), Reach::Counted(Counter::QuiescenceNotLast)],
    ..BROADCAST
};

/// A batch is refused, or it has no room: one page is one flush.
pub(in super::super) static WITHOUT_ROOM: Scenario = Scenario {
    name: "unshare_without_room",
    goal: "A flush for want of room comes between, and what was owed for the table is forgotten.",
    method: "As unshare_walk_broadcast; before it settles what it owes for the table, CPU 0 unmaps two other pages, with room \
             for one.",
    machine: Config { may_refuse_batches: true, ..BROADCAST.machine },
    setup: |m| {
        (INTERRUPTED.setup)(m);
        if m.cpu() == CpuId(0) {
            for page in OTHERS {
                let frame = page::allocate(m, Level::LEAF).expect("the scenario needs more frames");
                let mapped = leaver(m).lock(m).map(page, frame, Attributes::USER_READ);
                assert!(mapped.is_ok(), "the machine has a frame for the table");
            }
        }
    },
    main: |m| {
        if m.cpu() == CpuId(0) {
            unmap_all(m);
            reuse(m);
        } else {
            look(m);
        }
    },
    proves: &[Proof::of(Fix::OweUntilSettled, "panic")],
    reaches: &[Reach::Counted(Counter::BatchRefused), Reach::Counted(Counter::Quiescence)],
    ..BROADCAST
};

/// Pages of the leaver's own.
const OTHERS: [Vpn; 2] = [Vpn(2), Vpn(3)];

fn unmap_all(m: &Sim) {
    let space = leaver(m);
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), FIRST_TABLE, SHARED, &mut unsharing);
    gather.unmap(VpnRange::from_len(OTHERS[0], 2), |_| Rmap::Now);
    let file_map = unsharing.settle(&mut gather);
    drop(file_map);
    gather.finish();
}

/// Walks to the page: as long as that lasts, a page of the file is all that is found there.
///
/// It is not pinned, since who pins looks at the pointer to the table again. Where small pages are in what was a table of
/// large ones, he looks at the one below, and does not find out either.
fn look(m: &Sim) {
    let walking = Walking::begin(m);
    if let Some(found) = walking.find(leaver(m), PAGE_0) {
        let own = m.scratch(0).load(m, Acquire);
        assert!(own != found.frame.0 + 1, "a walk has found a page that is another address space's");
    }
    drop(walking);
}

/// Puts a page of the stayer's own where the table has one of the file.
fn reuse(m: &Sim) {
    let own = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    m.scratch(0).store(m, own.pfn().0 + 1, Release);
    let (space, page) = (stayer(m), VpnRange::from_len(PAGE_0, 1));
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), FIRST_TABLE, SHARED, &mut unsharing);
    gather.unmap(page, |_| Rmap::Now);
    let file_map = unsharing.settle(&mut gather);
    drop(file_map);
    gather.finish();
    let mapped = space.lock(m).map(PAGE_0, own, Attributes::USER_READ);
    assert!(mapped.is_ok(), "the place is free: {:?}", mapped.map_err(|error| error.kind));
}
