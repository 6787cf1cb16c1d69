//! Loads and stores. The names are those of the x86-TSO paper (Owens, Sarkar, Sewell, TPHOLs 2009) and of the diy tools.

use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

use shootdown::{CpuId, Modify};
use shootdown_sim::smp::{
    Config, Hardware, Location,
    MemoryModel::{self, Pso, Sc, Tso},
    Operation, WordId,
};

use crate::explorer::{Outcomes, Program, run};

const X: Location = Location::Word(WordId(0));
const Y: Location = Location::Word(WordId(1));

const ALL: [MemoryModel; 3] = [Sc, Tso, Pso];

const fn load(at: Location) -> Operation {
    Operation::Load(at, Relaxed)
}

const fn store(at: Location, value: u64) -> Operation {
    Operation::Store(at, value, Relaxed)
}

const fn store_with(at: Location, value: u64, order: Ordering) -> Operation {
    Operation::Store(at, value, order)
}

const fn swap(at: Location, value: u64, order: Ordering) -> Operation {
    Operation::Update(at, Modify::Swap(value), order)
}

const fn fence(order: Ordering) -> Operation {
    Operation::Fence(order)
}

fn outcomes(memory: MemoryModel, program: Program<'_>) -> Outcomes {
    let hardware = Hardware::new(Config { memory, ..Config::with_cpus(program.cpus.len()) }, 2);
    run(&hardware, program)
}

/// Checks that this outcome is possible on just these machines.
fn assert_allowed_on(models: &[MemoryModel], cpus: &[&[Operation]], outcome: &[u64]) {
    assert_watched_allowed_on(models, cpus, &[], outcome);
}

/// The same, with what the places hold at the end as the last part of the outcome.
fn assert_watched_allowed_on(models: &[MemoryModel], cpus: &[&[Operation]], watched: &[Location], outcome: &[u64]) {
    for memory in ALL {
        let is_allowed = outcomes(memory, Program { cpus, watched, ..Program::default() }).allow(outcome);
        assert_eq!(is_allowed, models.contains(&memory), "{outcome:?} on {memory:?}");
    }
}

/// SDM §8.2.3.2, neither loads nor stores are reordered with like operations; SPARC V9 §8.4.4 for partial store order.
#[test]
fn mp_stores_overtake_stores_only_in_partial_store_order() {
    assert_allowed_on(&[Pso], &[&[store(X, 1), store(Y, 1)], &[load(Y), load(X)]], &[1, 0]);
}

#[test]
fn mp_a_release_keeps_stores_in_order_everywhere() {
    let reader = [load(Y), load(X)];
    for writer in [
        &[store(X, 1), store_with(Y, 1, Release)][..],
        &[store(X, 1), fence(Release), store(Y, 1)],
        &[store(X, 1), swap(Y, 1, Release)],
        &[store(X, 1), swap(Y, 1, AcqRel)],
        &[store(X, 1), store_with(Y, 1, SeqCst)],
    ] {
        assert_allowed_on(&[], &[writer, &reader], &[1, 0]);
    }
}

/// `STLR` on arm64 is such a release. SPARC's `STBAR`, a fence, is not.
#[test]
fn mp_a_release_is_overtaken_by_later_stores_and_a_release_fence_is_not() {
    let reader = [load(Y), load(X)];
    assert_allowed_on(&[Pso], &[&[store_with(X, 1, Release), store(Y, 1)], &reader], &[1, 0]);
    assert_allowed_on(&[Pso], &[&[store_with(X, 1, Release), swap(Y, 1, Relaxed)], &reader], &[1, 0]);
    assert_allowed_on(&[], &[&[store(X, 1), fence(Release), swap(Y, 1, Relaxed)], &reader], &[1, 0]);
}

/// SDM §8.2.3.9 has locked instructions in order with everything; C11 does not ask for it where there is no release.
#[test]
fn mp_a_relaxed_change_overtakes_stores_only_in_partial_store_order() {
    assert_allowed_on(&[Pso], &[&[store(X, 1), swap(Y, 1, Relaxed)], &[load(Y), load(X)]], &[1, 0]);
}

/// SDM §8.2.3.3, stores are not reordered with earlier loads.
#[test]
fn lb_stores_do_not_overtake_loads() {
    assert_allowed_on(&[], &[&[load(X), store(Y, 1)], &[load(Y), store(X, 1)]], &[1, 1]);
}

/// SDM §8.2.3.4, loads may be reordered with earlier stores to different locations.
#[test]
fn sb_loads_overtake_stores_in_a_store_buffer() {
    assert_allowed_on(&[Tso, Pso], &[&[store(X, 1), load(Y)], &[store(Y, 1), load(X)]], &[0, 0]);
}

/// SDM §8.2.5 (`MFENCE`), §8.2.3.9 (loads and stores are not reordered with locked instructions): all four halves of
/// the handshake between switching to an address space and shooting it down are of this shape.
#[test]
fn sb_a_fence_or_a_locked_change_on_both_sides_forbids_it() {
    let (fenced_x, fenced_y) = ([store(X, 1), fence(SeqCst), load(Y)], [store(Y, 1), fence(SeqCst), load(X)]);
    let (swapped_x, swapped_y) = ([swap(X, 1, SeqCst), load(Y)], [swap(Y, 1, SeqCst), load(X)]);
    let (strong_x, strong_y) = ([store_with(X, 1, SeqCst), load(Y)], [store_with(Y, 1, SeqCst), load(X)]);
    // On arm64 a `DSB` waits for invalidations, and for everything else.
    let complete = Operation::Complete;
    let (completed_x, completed_y) = ([store(X, 1), complete, load(Y)], [store(Y, 1), complete, load(X)]);
    for x in [&fenced_x[..], &swapped_x, &strong_x, &completed_x] {
        for y in [&fenced_y[..], &swapped_y, &strong_y, &completed_y] {
            assert_allowed_on(&[], &[x, y], &[0, 0]);
        }
    }
}

#[test]
fn sb_a_fence_on_one_side_is_not_enough_and_neither_is_a_release() {
    let fenced = [store(Y, 1), fence(SeqCst), load(X)];
    assert_allowed_on(&[Tso, Pso], &[&[store(X, 1), load(Y)], &fenced], &[0, 0]);
    assert_allowed_on(&[Tso, Pso], &[&[store_with(X, 1, Release), load(Y)], &fenced], &[0, 0]);
    assert_allowed_on(&[Tso, Pso], &[&[store(X, 1), fence(AcqRel), load(Y)], &fenced], &[0, 0]);
}

/// SDM §8.2.3.5, intra-processor forwarding is allowed.
#[test]
fn a_cpu_reads_its_own_store_before_others_do() {
    let cpus: &[&[Operation]] = &[&[store(X, 1), load(X), load(Y)], &[store(Y, 1), load(Y), load(X)]];
    assert_allowed_on(&[Tso, Pso], cpus, &[1, 0, 1, 0]);
    for memory in ALL {
        let ends = outcomes(memory, Program { cpus, ..Program::default() }).lawful_ends();
        assert!(ends.iter().all(|end| end[0] == 1 && end[2] == 1), "a CPU misses its own store on {memory:?}");
        let newest = Program { cpus: &[&[store(X, 1), store(X, 2), load(X)]], ..Program::default() };
        assert_eq!(outcomes(memory, newest).lawful_ends(), [[2]], "{memory:?}");
    }
}

/// x86-TSO, examples n6 and n5.
#[test]
fn n6_and_n5_a_store_may_be_read_by_its_cpu_and_overwritten_by_nobody_in_between() {
    let n6: &[&[Operation]] = &[&[store(X, 1), load(X), load(Y)], &[store(Y, 2), store(X, 2)]];
    assert_watched_allowed_on(&[Tso, Pso], n6, &[X], &[1, 0, 1]);
    assert_allowed_on(&[], &[&[store(X, 1), load(X)], &[store(X, 2), load(X)]], &[2, 1]);
}

/// SDM §8.2.3.6, stores are transitively visible.
#[test]
fn wrc_who_sees_a_store_passes_on_what_it_saw() {
    let cpus: &[&[Operation]] = &[&[store(X, 1)], &[load(X), store(Y, 1)], &[load(Y), load(X)]];
    assert_allowed_on(&[], cpus, &[1, 1, 0]);
}

/// SDM §8.2.3.7, stores are seen in a consistent order by other processors; it holds on SPARC too.
#[test]
fn iriw_two_readers_agree_on_the_order_of_two_stores() {
    let cpus: &[&[Operation]] = &[&[store(X, 1)], &[store(Y, 1)], &[load(X), load(Y)], &[load(Y), load(X)]];
    assert_allowed_on(&[], cpus, &[1, 0, 1, 0]);
}

/// SDM §8.2.3.8, locked instructions have a total order.
#[test]
fn iriw_with_locked_changes_is_forbidden_too() {
    let cpus: &[&[Operation]] =
        &[&[swap(X, 1, SeqCst)], &[swap(Y, 1, SeqCst)], &[load(X), load(Y)], &[load(Y), load(X)]];
    assert_allowed_on(&[], cpus, &[1, 0, 1, 0]);
}

/// Read-to-write causality. The writer's own load overtakes its store, which it may.
#[test]
fn rwc_needs_a_fence_in_the_writer_that_reads() {
    let (write_x, reader) = ([store(X, 1)], [load(X), load(Y)]);
    assert_allowed_on(&[Tso, Pso], &[&write_x, &reader, &[store(Y, 1), load(X)]], &[1, 0, 0]);
    assert_allowed_on(&[], &[&write_x, &reader, &[store(Y, 1), fence(SeqCst), load(X)]], &[1, 0, 0]);
}

#[test]
fn two_plus_two_w_stores_stay_in_order_but_in_partial_store_order() {
    let cpus: &[&[Operation]] = &[&[store(X, 1), store(Y, 2)], &[store(Y, 1), store(X, 2)]];
    assert_watched_allowed_on(&[Pso], cpus, &[X, Y], &[1, 1]);
}

/// Coherence: the stores to one place have one order, which loads and stores of every CPU respect.
#[test]
fn corr_and_coww_one_place_has_one_order() {
    assert_allowed_on(&[], &[&[store(X, 1), store(X, 2)], &[load(X), load(X)]], &[2, 1]);
    assert_watched_allowed_on(&[], &[&[store(X, 1), store(X, 2)]], &[X], &[1]);
    assert_watched_allowed_on(&[], &[&[load(X), store(X, 1)], &[store(X, 2)]], &[X], &[1, 1]);
}

#[test]
fn two_changes_of_one_place_never_lose_one_and_two_stores_may() {
    let add = Operation::Update(X, Modify::Add(1), Relaxed);
    for memory in ALL {
        let program =
            Program { cpus: &[&[store(Y, 1), add], &[store(Y, 2), add]], watched: &[X], ..Program::default() };
        assert_eq!(outcomes(memory, program).lawful_ends(), [[2]], "{memory:?}");
        let own = Program { cpus: &[&[store(X, 1), add]], watched: &[X], ..Program::default() };
        assert_eq!(outcomes(memory, own).lawful_ends(), [[2]], "a change misses its CPU's own store on {memory:?}");
    }
    assert_watched_allowed_on(&ALL, &[&[store(X, 1)], &[store(X, 2)]], &[X], &[1]);
}

fn late_outcomes(cpus: &[&[Operation]], watched: &[Location]) -> Outcomes {
    let hardware = Hardware::new(Config { late_changes: true, ..Config::with_cpus(cpus.len()) }, 2);
    run(&hardware, Program { cpus, watched, ..Program::default() })
}

/// In the Arm memory model (Arm ARM B2.3, barrier-ordered-before) nothing orders the store of a `STXR`, or a `STLXR`, before
/// a later `LDR`; `STLXR` and `STLR` come before a later `LDAR`. C11 §7.17.3 says the same of `SeqCst`.
#[test]
fn sb_a_late_change_is_overtaken_but_by_loads_in_the_total_order() {
    let is_allowed = |write: fn(Location) -> Operation, order| {
        let cpus: [&[Operation]; 2] = [&[write(X), Operation::Load(Y, order)], &[write(Y), Operation::Load(X, order)]];
        late_outcomes(&cpus, &[]).allow(&[0, 0])
    };
    for order in [Relaxed, Acquire, SeqCst] {
        assert!(is_allowed(|at| swap(at, 1, Relaxed), order), "{order:?}");
        assert!(is_allowed(|at| swap(at, 1, AcqRel), order), "{order:?}");
        assert!(is_allowed(|at| store_with(at, 1, Release), order), "{order:?}");
        assert_eq!(is_allowed(|at| swap(at, 1, SeqCst), order), order != SeqCst, "{order:?}");
        assert_eq!(is_allowed(|at| store_with(at, 1, SeqCst), order), order != SeqCst, "{order:?}");
    }
    let fenced: [&[Operation]; 2] =
        [&[swap(X, 1, Relaxed), fence(SeqCst), load(Y)], &[swap(Y, 1, Relaxed), fence(SeqCst), load(X)]];
    assert!(!late_outcomes(&fenced, &[]).allow(&[0, 0]));
}

#[test]
fn mp_a_late_change_that_is_a_release_comes_after_what_was_before_it() {
    let reader = [load(Y), load(X)];
    for (order, is_allowed) in [(Relaxed, true), (Acquire, true), (Release, false), (AcqRel, false), (SeqCst, false)] {
        for first in [store(X, 1), swap(X, 1, Relaxed)] {
            let outcomes = late_outcomes(&[&[first, swap(Y, 1, order)], &reader], &[]);
            assert_eq!(outcomes.allow(&[1, 0]), is_allowed, "{order:?}");
        }
    }
}

#[test]
fn nobody_changes_a_place_in_the_middle_of_a_late_change() {
    for order in [Relaxed, AcqRel, SeqCst] {
        let add = Operation::Update(X, Modify::Add(1), order);
        let ends = |cpus: &[&[Operation]]| late_outcomes(cpus, &[X]).lawful_ends();
        assert_eq!(ends(&[&[store(Y, 1), add], &[store(Y, 2), add]]), [[2]]);
        assert_eq!(ends(&[&[add, load(X)], &[store(X, 5)]]), [[1, 5], [5, 5], [6, 6]]);
        assert_eq!(ends(&[&[store(X, 1), add, store(X, 7), add]]), [[8]]);
    }
}

/// The contract of `Machine::kick`; on x86 with an x2APIC the machine's author must put a fence there (SDM §10.12.3).
#[test]
fn who_takes_a_kick_sees_the_stores_before_it() {
    let (kick, handler) = (Operation::Kick(0b10), [load(X), load(Y)]);
    for memory in ALL {
        let program =
            Program { cpus: &[&[store(X, 1), store(Y, 1), kick], &[]], handler: &handler, ..Program::default() };
        assert_eq!(outcomes(memory, program).lawful_ends(), [[1, 1]], "{memory:?}");
    }
}

/// SDM §11.10, the store buffer is drained when an interrupt is generated. It is SB with an interrupt for a fence.
#[test]
fn an_interrupt_brings_stores_to_memory_only_where_it_serializes() {
    let interrupted = [store(X, 1), Operation::Restore(0)];
    let fenced = [Operation::Kick(0b01), store(Y, 1), fence(SeqCst), load(X)];
    for (memory, serializes, is_allowed) in
        [(Sc, false, false), (Tso, true, false), (Tso, false, true), (Pso, true, false), (Pso, false, true)]
    {
        let mut hardware = Hardware::new(Config { memory, serializes, ..Config::with_cpus(2) }, 2);
        hardware.step(CpuId(0), Operation::Mask, 0).expect("this is no violation");
        let program = Program { cpus: &[&interrupted, &fenced], handler: &[load(Y)], ..Program::default() };
        assert_eq!(run(&hardware, program).allow(&[0, 0]), is_allowed, "{memory:?}, serializes: {serializes}");
    }
}
