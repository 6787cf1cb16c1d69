//! Several who share, and leave, at the same time (R-HT8, R-HT9).

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{Counter, CpuId, Fix, Machine, call};

use super::{
    super::script::{PAGE_0, TWO_CACHING_CPUS, TWO_CPUS},
    script::{create_sharers, leaver, share, stayer, unmap_file},
};
use crate::{
    reach::Reach,
    scenario::{Proof, Scenario},
};

pub(in super::super) static BOTH_LEAVE: Scenario = Scenario {
    name: "unshare_race",
    goal: "Two address spaces leave a table at the same time: it is freed under one of them, twice, or never.",
    method: "Each CPU unmaps the table in its own address space, under the lock of the file map.",
    machine: TWO_CACHING_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create_sharers(m, 2, &[PAGE_0]);
            leaver(m).switch_to(m);
        } else {
            stayer(m).switch_to(m);
        }
    },
    main: |m| unmap_file(m, if m.cpu() == CpuId(0) { leaver(m) } else { stayer(m) }),
    proves: &[Proof::of(Fix::RecordUnshared, "stale-at-free"), Proof::of(Fix::FlushUnsharedAsFreed, "stale-at-free")],
    reaches: &[Reach::Stale, Reach::Counted(Counter::TableUnshared), Reach::Counted(Counter::TableReleased)],
    ..Scenario::BLANK
};

pub(in super::super) static BOTH_SHARE: Scenario = Scenario {
    name: "share_race",
    goal: "Who finds that somebody else has taken the table in already stays counted, and nobody is ever the last to leave.",
    method: "Both CPUs take the table in for the same address space. When both have tried, CPU 0 leaves it there, and where \
             it comes from.",
    machine: TWO_CPUS,
    setup: |m| {
        call::arrive(m);
        if m.cpu() == CpuId(0) {
            create_sharers(m, 1, &[PAGE_0]);
            leaver(m).create(m).expect("the machine has a frame for the root");
        }
        leaver(m).switch_to(m);
    },
    main: |m| {
        // Held for reading by both: nobody leaves a table meanwhile.
        share(m, leaver(m), PAGE_0);
        if m.cpu() == CpuId(1) {
            return m.scratch(0).store(m, 1, Release);
        }
        call::wait(m, |m| (m.scratch(0).load(m, Acquire) != 0).then_some(()));
        unmap_file(m, leaver(m));
        unmap_file(m, stayer(m));
    },
    proves: &[Proof::of(Fix::GiveBackOffer, "leaked")],
    reaches: &[Reach::Counted(Counter::TableShared), Reach::Counted(Counter::TableReleased)],
    ..Scenario::BLANK
};
