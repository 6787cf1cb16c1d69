//! Invalidations that are broadcast: whom they reach, and when they are known to have.
//!
//! Arm ARM DDI 0487, "Ordering and completion of TLB maintenance instructions": a `TLBI ..IS` is complete when a `DSB` that
//! the same PE executes after it is, and a `DSB` before it makes walks see the stores before that. AMD APM volume 3: an
//! `INVLPGB` is complete when a `TLBSYNC` of the same processor is.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use shootdown::{Attributes, Hint, Invalidate, Level};
use shootdown_sim::smp::{
    Config,
    MemoryModel::{Pso, Sc, Tso},
    Operation, Violation,
};

use crate::translation::{
    FLAG, INVALIDATE_LEAF, LEAF, PAGE, READ, ROOT, ROOT_ENTRY, TABLE, ends, explore, machine, store,
};

const ONLY_TAG: Option<u8> = Some(0);
const BROADCAST: Operation = Operation::Broadcast(ONLY_TAG, Invalidate::Leaf(PAGE, Hint::at(Level::LEAF)));
const FENCE: Operation = Operation::Fence(SeqCst);
const COMPLETE: Operation = Operation::Complete;
const LOOK: Operation = Operation::Load(FLAG, Relaxed);

/// It saw the flag, and used the page all the same.
const TOLD_AND_STALE: [u64; 2] = [1, 1];

fn is_stale_when_told(config: Config, cpus: &[&[Operation]]) -> bool {
    ends(config, Some(Attributes::USER_READ), cpus).contains(&TOLD_AND_STALE.to_vec())
}

/// `DSB` and `TLBSYNC` say when every CPU has done it; nothing else does.
#[test]
fn a_broadcast_is_for_every_cpu_and_is_over_when_it_is_completed() {
    let completed = [store(LEAF, 0), FENCE, BROADCAST, COMPLETE, store(FLAG, 1)];
    let begun = [store(LEAF, 0), FENCE, BROADCAST, store(FLAG, 1)];
    for memory in [Sc, Tso, Pso] {
        assert!(!is_stale_when_told(machine(memory), &[&completed, &[LOOK, READ]]), "{memory:?}");
        assert!(is_stale_when_told(machine(memory), &[&begun, &[LOOK, READ]]), "{memory:?}");
        let here = ends(machine(memory), Some(Attributes::USER_READ), &[&[&begun[..3], &[READ]].concat()]);
        assert_eq!(here, [[0], [1]], "it is under way to its own CPU too");
    }
}

/// R-RECLAIM-DSB: the barrier of one CPU is none for what another one has begun.
#[test]
fn to_complete_is_about_ones_own_broadcasts() {
    let begin = [store(LEAF, 0), FENCE, BROADCAST, store(FLAG, 1)];
    assert!(is_stale_when_told(machine(Sc), &[&begin, &[LOOK, COMPLETE, READ]]));
    assert!(!is_stale_when_told(machine(Sc), &[&begin, &[LOOK, BROADCAST, COMPLETE, READ]]));
}

/// Arm: a `DSB ISHST` between the store and the `TLBI`, or a walk that begins after it finds what was there before.
#[test]
fn a_broadcast_without_a_fence_may_come_before_the_change() {
    let unmap = |between: &[Operation]| [&[store(LEAF, 0)], between, &[BROADCAST, COMPLETE, store(FLAG, 1)]].concat();
    for memory in [Sc, Tso, Pso] {
        assert!(!is_stale_when_told(machine(memory), &[&unmap(&[FENCE]), &[LOOK, READ]]), "{memory:?}");
        assert_eq!(is_stale_when_told(machine(memory), &[&unmap(&[]), &[LOOK, READ]]), memory != Sc, "{memory:?}");
        // No machine brings stores to memory for it, whatever it does for invalidations of its own TLB.
        let serializing = Config { serializes: true, ..machine(memory) };
        assert_eq!(is_stale_when_told(serializing, &[&unmap(&[]), &[LOOK, READ]]), memory != Sc, "{memory:?}");
    }
}

/// A tag is what is named, so it does not matter what the other CPU has loaded.
#[test]
fn a_broadcast_reaches_what_is_remembered_under_a_tag_that_is_not_loaded() {
    let config = Config { has_tags: true, ..machine(Sc) };
    let load = |keeps| Operation::LoadTagged { root: ROOT, tag: 0, keeps };
    let go_and_return = [load(false), Operation::LoadRoot(None), LOOK, load(true), READ];
    let comes_back_stale = |broadcast: &[Operation]| {
        let unmap = [&[store(LEAF, 0)], broadcast, &[COMPLETE, store(FLAG, 1)]].concat();
        is_stale_when_told(config, &[&unmap, &go_and_return])
    };
    assert!(comes_back_stale(&[]));
    assert!(comes_back_stale(&[INVALIDATE_LEAF]));
    assert!(!comes_back_stale(&[BROADCAST]));
    let of_other_tag = |what| Operation::Broadcast(Some(1), what);
    assert!(comes_back_stale(&[of_other_tag(Invalidate::All)]));
    assert!(!comes_back_stale(&[of_other_tag(Invalidate::EveryTag)]));
    assert!(!comes_back_stale(&[Operation::Broadcast(None, Invalidate::All)]));
}

/// `TLBI VALE1IS` leaves pointers to tables, `TLBI VAE1IS` does not; the latter is what is asked for before a table is freed.
#[test]
fn a_table_is_used_after_it_is_freed_unless_the_broadcast_is_about_walk_caches() {
    let free_table = |what| {
        let broadcast = Operation::Broadcast(ONLY_TAG, what);
        [store(ROOT_ENTRY, 0), broadcast, COMPLETE, Operation::FreeTable(TABLE)]
    };
    let config = Config { caches_walks: true, ..machine(Sc) };
    let violations = |what| explore(config, None, &[&free_table(what), &[]]).violations;
    let hint = Hint::at(Level(2));
    let is_freed = |violation: &Violation| matches!(violation, Violation::WalkerInFreedTable { .. });
    let with_leaf = violations(Invalidate::Leaf(PAGE, hint));
    assert!(!with_leaf.is_empty() && with_leaf.iter().all(is_freed));
    assert_eq!(violations(Invalidate::Walk(PAGE, hint)), []);
    assert_eq!(violations(Invalidate::All), []);
}
