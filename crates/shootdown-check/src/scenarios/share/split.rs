//! Splitting an area in the middle of a shared table (R-HT3).
//!
//! A table is shared only by who maps all of it. So before an area is split it leaves the table, and nobody may take it in
//! again before the split shows: which is what holding the file map over both is for.

use std::sync::atomic::Ordering::Relaxed;

use shootdown::{CpuId, Gather, Machine, lock::Guard, page::DropReference, share::Unsharing};

use super::{
    super::script::{PAGE_0, TWO_CPUS},
    script::{FIRST_TABLE, SHARED, leaver, run_in_leaver, share},
};
use crate::{machine::Sim, scenario::Scenario};

pub(in super::super) static SPLIT: Scenario = Scenario {
    name: "unshare_split",
    goal: "An area is split, and one half of it has a table that others share, of which it maps a part.",
    method: "CPU 0 leaves the table and splits the area under one hold of the file map; CPU 1, which has a fault, takes it in \
             again if the area is whole.",
    machine: TWO_CPUS,
    setup: run_in_leaver,
    main: |m| {
        if m.cpu() == CpuId(0) {
            let file_map = leave(m);
            split(m);
            drop(file_map);
            check(m);
        } else {
            fault(m);
        }
    },
    ..Scenario::BLANK
};

/// For the model.
pub(in super::super) static TOO_EARLY: Scenario = Scenario {
    name: "model_unshare_before_split",
    goal: "An area leaves a shared table before the split has its locks, and takes it in again before it is split.",
    method: "As unshare_split; CPU 0 releases the file map in between.",
    main: |m| {
        if m.cpu() == CpuId(0) {
            drop(leave(m));
            let file_map = m.rmap().lock(m);
            split(m);
            drop(file_map);
            check(m);
        } else {
            fault(m);
        }
    },
    ..SPLIT
};

/// Leaves the table, and returns the file map, still held.
fn leave(m: &Sim) -> Guard<'_, Sim, ()> {
    let space = leaver(m);
    let mut unsharing = Unsharing::begin(m.rmap().lock(m));
    let mut gather = Gather::new(m, space, &DropReference);
    gather.unshare(&mut space.lock(m), FIRST_TABLE, SHARED, &mut unsharing);
    let file_map = unsharing.settle(&mut gather);
    gather.finish();
    file_map
}

/// The area is two from now on. The file map is held.
fn split(m: &Sim) {
    m.scratch(0).store(m, 1, Relaxed);
}

fn is_split(m: &Sim) -> bool {
    m.scratch(0).load(m, Relaxed) != 0
}

fn fault(m: &Sim) {
    let file_map = m.rmap().lock(m);
    if !is_split(m) {
        share(m, leaver(m), PAGE_0);
    }
    drop(file_map);
}

fn check(m: &Sim) {
    let is_shared = leaver(m).lock(m).find_shared(PAGE_0).is_some();
    assert!(!is_shared, "a table is shared by an area that maps a part of it");
}
