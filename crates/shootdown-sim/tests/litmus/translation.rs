//! Walkers, TLBs and walk caches: what they may find after the tables have changed.

use std::sync::atomic::Ordering::{Relaxed, Release};

use shootdown::{
    Attributes, CpuId, EntryAt, EntryFormat, Invalidate, Level, Modify, Pfn, TableFrame, Vpn, arch::tiny::Tiny,
};
use shootdown_sim::smp::{
    Access, Config, Hardware, Location,
    MemoryModel::{self, Pso, Sc, Tso},
    Operation, TlbModel, Violation, WordId,
};

use crate::explorer::{Outcome, Outcomes, Program, run};

pub(crate) const PAGE: Vpn = Vpn(0);

// Frames are taken from the lowest on, see `prepare`.
pub(crate) const ROOT: TableFrame = TableFrame(Pfn(0));
pub(crate) const TABLE: TableFrame = TableFrame(Pfn(1));
pub(crate) const DATA: Pfn = Pfn(2);
const OTHER_TABLE: TableFrame = TableFrame(Pfn(3));
const OTHER_DATA: Pfn = Pfn(4);

pub(crate) const ROOT_ENTRY: Location = Location::Entry(EntryAt { table: ROOT, index: 0 });
pub(crate) const LEAF: Location = Location::Entry(EntryAt { table: TABLE, index: 0 });
const OTHER_LEAF: Location = Location::Entry(EntryAt { table: OTHER_TABLE, index: 0 });

pub(crate) const FLAG: Location = Location::Word(WordId(0));

pub(crate) const READ: Operation = Operation::Access(PAGE, Access::Read);
pub(crate) const WRITE: Operation = Operation::Access(PAGE, Access::Write);
pub(crate) const INVALIDATE_LEAF: Operation =
    Operation::Invalidate(Invalidate::Leaf(PAGE, shootdown::Hint::at(Level::LEAF)));
pub(crate) const INVALIDATE_WALK: Operation =
    Operation::Invalidate(Invalidate::Walk(PAGE, shootdown::Hint::at(Level::LEAF)));

pub(crate) fn store(at: Location, value: u64) -> Operation {
    Operation::Store(at, value, Relaxed)
}

pub(crate) fn leaf(frame: Pfn, attributes: Attributes) -> u64 {
    Tiny::leaf(frame, Level::LEAF, attributes)
}

/// A machine on which two CPUs have a root loaded. It has an entry for `TABLE`, which has one for `DATA` with these
/// attributes, if they are given; nothing leads to `OTHER_TABLE`, which has an entry for `OTHER_DATA`.
pub(crate) fn prepare(config: Config, attributes: Option<Attributes>) -> Hardware {
    let mut hardware = Hardware::new(config, 1);
    let mut perform = |cpu, operation| {
        hardware.step(CpuId(cpu), operation, 0).expect("this is no violation");
        hardware.drain_all(CpuId(cpu)).expect("this is no violation");
    };
    for operation in [
        Operation::AllocTable,
        Operation::AllocTable,
        Operation::AllocFrame(Level::LEAF),
        Operation::AllocTable,
        Operation::AllocFrame(Level::LEAF),
        store(ROOT_ENTRY, Tiny::table(TABLE)),
        store(LEAF, attributes.map_or(0, |attributes| leaf(DATA, attributes))),
        store(OTHER_LEAF, leaf(OTHER_DATA, Attributes::USER_READ)),
    ] {
        perform(0, operation);
    }
    for cpu in 0..config.cpus {
        perform(cpu as u16, Operation::LoadRoot(Some(ROOT)));
    }
    hardware
}

pub(crate) fn machine(memory: MemoryModel) -> Config {
    Config { memory, ..Config::with_cpus(2) }
}

pub(crate) fn explore(config: Config, attributes: Option<Attributes>, cpus: &[&[Operation]]) -> Outcomes {
    let outcomes = |config| run(&prepare(config, attributes), Program { cpus, ..Program::default() });
    assert_same(&outcomes(Config { tlb: TlbModel::MaySets, ..config }), &outcomes(Config { evicts: true, ..config }));
    outcomes(config)
}

/// May-sets allow what fills and evictions allow. A law that can be broken is broken as soon as it can, and by whichever
/// CPU can do it first.
pub(crate) fn assert_same(may_sets: &Outcomes, fills: &Outcomes) {
    let kind = |violation: &Violation| std::mem::discriminant(violation);
    assert_eq!(may_sets.violations.is_empty(), fills.violations.is_empty());
    let is_known = |violation| fills.violations.iter().any(|other| kind(other) == kind(violation));
    assert!(may_sets.violations.iter().all(is_known), "{may_sets:?}, not {fills:?}");
    assert!(!fills.violations.is_empty() || may_sets.ends == fills.ends, "{may_sets:?}, not {fills:?}");
}

pub(crate) fn ends(config: Config, attributes: Option<Attributes>, cpus: &[&[Operation]]) -> Vec<Outcome> {
    explore(config, attributes, cpus).lawful_ends()
}

/// SDM §4.10.2.3: details of TLB use; translations may be cached for speculative accesses, ahead of any use.
#[test]
fn a_translation_may_be_cached_before_its_first_use() {
    let unmap_and_tell = [store(LEAF, 0), store(FLAG, 1)];
    let look_and_use = [Operation::Load(FLAG, Relaxed), READ];
    let found = ends(machine(Sc), Some(Attributes::USER_READ), &[&unmap_and_tell, &look_and_use]);
    assert!(found.contains(&vec![1, 1]), "the page was used after its entry was gone");
    assert!(found.contains(&vec![1, 0]));
}

/// SDM §4.10.4.2: software must invalidate after changes; §4.10.5: on each logical processor by itself.
#[test]
fn an_invalidation_is_for_its_own_cpu() {
    let unmap = [store(LEAF, 0), INVALIDATE_LEAF, Operation::Complete, store(FLAG, 1)];
    for memory in [Sc, Tso, Pso] {
        let here = ends(machine(memory), Some(Attributes::USER_READ), &[&[&unmap[..], &[READ]].concat()]);
        assert_eq!(here.iter().any(|end| end == &[1]), memory != Sc, "a plain store may be late for it on {memory:?}");
    }
    let there = [Operation::Load(FLAG, Relaxed), READ];
    let found = ends(machine(Sc), Some(Attributes::USER_READ), &[&unmap, &there]);
    assert!(found.contains(&vec![1, 1]), "the other CPU kept its translation");
    let there = [Operation::Load(FLAG, Relaxed), INVALIDATE_LEAF, Operation::Complete, READ];
    let found = ends(machine(Sc), Some(Attributes::USER_READ), &[&unmap, &there]);
    assert!(!found.contains(&vec![1, 1]), "the other CPU invalidated after it was told");
}

/// SDM §8.3: INVLPG serializes, so the store is in memory before the walk. Arm ARM D8.2.6 asks for a `DSB` in between.
#[test]
fn an_invalidation_brings_the_change_before_it_to_memory_only_where_it_serializes() {
    let unmap_and_use = [store(LEAF, 0), INVALIDATE_LEAF, Operation::Complete, READ];
    for memory in [Tso, Pso] {
        for (serializes, walker_forwards, can_be_stale) in
            [(true, false, false), (false, true, false), (false, false, true)]
        {
            let config = Config { cpus: 1, serializes, walker_forwards, ..machine(memory) };
            let found = ends(config, Some(Attributes::USER_READ), &[&unmap_and_use]);
            assert_eq!(found.contains(&vec![1]), can_be_stale, "{config:?}");
        }
    }
}

/// Nothing stands between a store to an entry and its use on x86, and Linux has nothing there; arm64 needs a `DSB`.
#[test]
fn a_walker_sees_the_stores_of_its_own_cpu_where_it_forwards_them() {
    let map_and_use = [store(LEAF, leaf(DATA, Attributes::USER_READ)), READ];
    for memory in [Tso, Pso] {
        let found =
            |walker_forwards| ends(Config { cpus: 1, walker_forwards, ..machine(memory) }, None, &[&map_and_use]);
        assert_eq!(found(true), [[1]]);
        assert_eq!(found(false), [[0], [1]]);
    }
}

/// SDM §4.10.2.3: no translation is cached for an entry that is not present. So mapping needs no invalidation.
#[test]
fn a_missing_translation_is_not_cached() {
    let map_and_tell = [store(LEAF, leaf(DATA, Attributes::USER_READ)), Operation::Store(FLAG, 1, Release)];
    let use_look_use = [READ, Operation::Load(FLAG, Relaxed), READ];
    for memory in [Sc, Tso, Pso] {
        let found = ends(machine(memory), None, &[&map_and_tell, &use_look_use]);
        assert!(found.iter().all(|end| end[1] == 0 || end[2] == 1), "a fault after the page was mapped on {memory:?}");
        assert!(found.contains(&vec![0, 1, 1]));
    }
}

/// SDM §8.2.3.2 for a walk in place of two loads: who publishes a table with a plain store relies on the order of
/// stores, so on weaker machines it must be a release. The order of the two loads of a walk comes with the dependency.
#[test]
fn a_new_table_is_zeroed_before_a_walker_comes_to_it() {
    let publish = |order| {
        let new = Pfn(5);
        let at = Location::Entry(EntryAt { table: ROOT, index: 0 });
        [Operation::AllocTable, Operation::Store(at, Tiny::table(TableFrame(new)), order)]
    };
    for (memory, order, is_broken) in
        [(Sc, Relaxed, false), (Tso, Relaxed, false), (Pso, Relaxed, true), (Pso, Release, false)]
    {
        let violations = explore(machine(memory), None, &[&publish(order), &[READ]]).violations;
        assert_eq!(!violations.is_empty(), is_broken, "{memory:?} {order:?}");
        assert!(violations.iter().all(|violation| matches!(violation, Violation::MappedNoData { .. })));
    }
}

/// SDM §4.10.3 and §4.10.4.1: paging-structure caches hold pointers to tables, and invalidating a leaf alone may leave
/// them (on arm64 `TLBI VALE1` does, on x86 no instruction is that weak).
#[test]
fn a_table_is_used_after_it_is_freed_unless_walk_caches_forget_it() {
    let free_table = |invalidate| [store(ROOT_ENTRY, 0), invalidate, Operation::Complete, Operation::FreeTable(TABLE)];
    let check = |caches_walks, invalidate| {
        explore(Config { cpus: 1, caches_walks, ..machine(Sc) }, None, &[&free_table(invalidate)]).violations
    };
    let freed = Violation::WalkerInFreedTable { cpu: CpuId(0), table: TABLE.0 };
    assert_eq!(check(true, INVALIDATE_LEAF), [freed]);
    assert_eq!(check(true, INVALIDATE_WALK), []);
    assert_eq!(check(false, INVALIDATE_LEAF), []);
}

/// SDM §4.10.3.2: a walk may begin at a cached pointer, so it is not one look at memory but two.
#[test]
fn a_walk_that_was_cut_in_half_ends_in_the_old_table() {
    let replace = [
        store(ROOT_ENTRY, Tiny::table(OTHER_TABLE)),
        INVALIDATE_LEAF,
        Operation::Complete,
        Operation::Access(PAGE, Access::Write),
    ];
    // The old table allows the write, the new one does not.
    let found =
        |caches_walks| ends(Config { cpus: 1, caches_walks, ..machine(Sc) }, Some(Attributes::USER_WRITE), &[&replace]);
    assert_eq!(found(false), [[0]]);
    assert_eq!(found(true), [[0], [1]]);
}

/// SDM §4.10.2.3 and §4.10.3.2: speculative walks begin at cached pointers as well.
#[test]
fn a_translation_may_be_cached_through_a_table_that_was_unhooked() {
    let unhook_and_clear = [store(ROOT_ENTRY, 0), INVALIDATE_LEAF, Operation::Complete, store(LEAF, 0), READ];
    let found = |caches_walks| {
        ends(Config { cpus: 1, caches_walks, ..machine(Sc) }, Some(Attributes::USER_READ), &[&unhook_and_clear])
    };
    assert_eq!(found(false), [[0]]);
    assert_eq!(found(true), [[0], [1]]);
}

/// SDM §4.10.4.1: a load of the root drops everything that is not global.
#[test]
fn a_load_of_the_root_forgets_translations_and_tables() {
    let reload = [store(ROOT_ENTRY, 0), Operation::LoadRoot(Some(ROOT)), Operation::FreeTable(TABLE), READ];
    let config = Config { cpus: 1, caches_walks: true, ..machine(Sc) };
    let outcomes = explore(config, Some(Attributes::USER_READ), &[&reload]);
    assert_eq!(outcomes.lawful_ends(), [[0]]);
}

/// SDM §4.10.4.3: permissions may be raised without an invalidation, at the price of one fault, which drops the old
/// translation (§4.10.4.1). Where faults drop nothing it may come again and again.
#[test]
fn a_raised_permission_costs_at_most_one_fault_where_faults_forget() {
    let raise = [store(LEAF, leaf(DATA, Attributes::USER_WRITE)), WRITE, WRITE, WRITE];
    let found = |tlb, faults_forget| {
        let config = Config { cpus: 1, tlb, faults_forget, ..machine(Sc) };
        let program = Program { cpus: &[&raise], ..Program::default() };
        run(&prepare(config, Some(Attributes::USER_READ)), program).lawful_ends()
    };
    assert_eq!(found(TlbModel::Fills, true), [[0, 1, 1], [1, 1, 1]]);
    assert_eq!(found(TlbModel::Fills, false), [[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]]);
    // A may-set is used in any order, so the old translation may come after the new one, but the fault drops both.
    assert_eq!(found(TlbModel::MaySets, true), [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]]);
}

/// SDM §4.8: the processor sets the dirty flag in memory, atomically, before the store is done.
#[test]
fn a_store_through_a_clean_entry_sets_the_dirty_bit_or_faults() {
    let dirty = leaf(DATA, Attributes { dirty: true, ..Attributes::USER_WRITE });
    let clean = leaf(DATA, Attributes::USER_WRITE);
    for (sets_dirty, expected) in [(true, [1, dirty]), (false, [0, clean])] {
        let hardware = prepare(Config { cpus: 1, sets_dirty, ..machine(Sc) }, Some(Attributes::USER_WRITE));
        let program = Program { cpus: &[&[WRITE]], watched: &[LEAF], ..Program::default() };
        assert_eq!(run(&hardware, program).lawful_ends(), [expected]);
    }
}

/// SDM §8.1.2.1: dirty bits are set with a lock. Who clears the entry in one step learns of every store that was done
/// through it; who reads and then clears may not.
#[test]
fn an_entry_cleared_in_one_step_tells_of_every_store() {
    let is_dirty = |raw: u64| Tiny::attributes(raw).dirty;
    let swap = Operation::Modify(LEAF, Modify::Swap(0), Relaxed);
    let learns = |clear: &[Operation]| {
        let found = run(
            &prepare(machine(Sc), Some(Attributes::USER_WRITE)),
            Program {
                cpus: &[clear, &[WRITE, Operation::Update(FLAG, Modify::Add(1), Relaxed)]],
                ..Program::default()
            },
        );
        // A write that was done, and an old entry that does not say so.
        !found.ends.iter().any(|end| end[1] == 1 && !is_dirty(end[0]))
    };
    assert!(!learns(&[Operation::Load(LEAF, Relaxed), store(LEAF, 0)]));
    assert!(learns(&[swap]), "the store came first and the dirty bit is seen, or it faults");
}

/// What the machine remembers it may forget at any time, where evictions are on.
#[test]
fn an_evicted_translation_is_read_again() {
    let stale = [READ, store(LEAF, 0), READ];
    let found = |evicts| ends(Config { cpus: 1, evicts, ..machine(Sc) }, Some(Attributes::USER_READ), &[&stale]);
    assert_eq!(found(false), [[1, 1]]);
    assert_eq!(found(true), [[1, 0], [1, 1]]);
}

/// SDM §4.8: the accessed flag is set whenever an entry is used, and §4.10.2.3: a translation is cached only with it set.
#[test]
fn no_translation_is_cached_before_its_accessed_bit_is_set() {
    let unused = Attributes { accessed: false, ..Attributes::USER_READ };
    let clear_and_look = [Operation::Modify(LEAF, Modify::Swap(0), Relaxed), READ];
    let is_accessed = |raw: u64| Tiny::attributes(raw).accessed;
    for tlb in [TlbModel::Fills, TlbModel::MaySets] {
        let config = Config { cpus: 1, tlb, sets_accessed: true, ..machine(Sc) };
        let program = Program { cpus: &[&clear_and_look], ..Program::default() };
        let found = run(&prepare(config, Some(unused)), program).lawful_ends();
        // Set by a walk that nobody asked for; and only then may the page be used after its entry has gone.
        assert!(found.iter().any(|end| is_accessed(end[0]) && end[1] == 1), "{tlb:?}");
        assert!(found.iter().all(|end| is_accessed(end[0]) || end[1] == 0), "{tlb:?}");
    }
}
