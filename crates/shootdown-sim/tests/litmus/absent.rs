//! Machines that remember that a page is absent: what faults though memory says otherwise, and until when.
//!
//! RISC-V privileged specification 20211203, §4.3.2: the results of a walk's reads may be held in an incoherent cache,
//! and nothing excepts entries that are not valid; §4.2.1: who makes one valid executes `SFENCE.VMA`, at the latest when
//! the fault comes.

use std::sync::atomic::Ordering::{Relaxed, Release};

use shootdown::{Attributes, CpuId, EntryFormat, Hint, Invalidate, Level, Vpn, VpnRange, arch::tiny::Tiny};
use shootdown_sim::smp::{
    Access, Act, Config, Evicted, Hardware, Location,
    MemoryModel::{Pso, Sc, Tso},
    Operation, TlbModel, Walk, WalkFrom,
};

use crate::{
    explorer::{Outcome, Program, run},
    translation::{
        DATA, FLAG, INVALIDATE_LEAF, INVALIDATE_WALK, LEAF, PAGE, READ, ROOT, ROOT_ENTRY, TABLE, assert_same, ends,
        leaf, machine, prepare, store,
    },
};

const CPU: CpuId = CpuId(0);
/// It has the same entry of the root.
const NEXT: Vpn = Vpn(1);
const LOOK: Operation = Operation::Load(FLAG, Relaxed);
const COMPLETE: Operation = Operation::Complete;

/// It saw the flag, and the page faulted all the same.
const TOLD_AND_ABSENT: [u64; 2] = [1, 0];

fn remembering(config: Config) -> Config {
    Config { remembers_absent: true, ..config }
}

fn read_only() -> u64 {
    leaf(DATA, Attributes::USER_READ)
}

/// Makes an entry and tells so.
fn make(at: Location, entry: u64) -> [Operation; 2] {
    [store(at, entry), Operation::Store(FLAG, 1, Release)]
}

/// The same as `prepare`, but nothing is at the root.
fn prepare_empty_root(config: Config) -> Hardware {
    let mut hardware = prepare(config, Some(Attributes::USER_READ));
    hardware.step(CPU, store(ROOT_ENTRY, 0), 0).expect("this is no violation");
    hardware.drain_all(CPU).expect("this is no violation");
    for cpu in 0..config.cpus {
        hardware.step(CpuId(cpu as u16), Operation::LoadRoot(Some(ROOT)), 0).expect("this is no violation");
    }
    hardware
}

fn ends_with_empty_root(config: Config, cpus: &[&[Operation]]) -> Vec<Outcome> {
    let outcomes = |config| run(&prepare_empty_root(config), Program { cpus, ..Program::default() });
    assert_same(&outcomes(Config { tlb: TlbModel::MaySets, ..config }), &outcomes(Config { evicts: true, ..config }));
    outcomes(config).lawful_ends()
}

#[test]
fn a_page_that_was_absent_may_fault_after_it_is_mapped() {
    for memory in [Sc, Tso, Pso] {
        let found = |config| ends(config, None, &[&make(LEAF, read_only()), &[LOOK, READ]]);
        assert!(found(remembering(machine(memory))).contains(&TOLD_AND_ABSENT.to_vec()), "{memory:?}");
        assert!(found(remembering(machine(memory))).contains(&vec![1, 1]), "nothing has to be remembered: {memory:?}");
        assert!(!found(machine(memory)).contains(&TOLD_AND_ABSENT.to_vec()), "{memory:?}");
    }
}

#[test]
fn an_invalidation_of_the_page_forgets_that_it_was_absent() {
    let forget = |what| [Operation::Invalidate(what), COMPLETE];
    for [what, complete] in [
        [INVALIDATE_LEAF, COMPLETE],
        [INVALIDATE_WALK, COMPLETE],
        forget(Invalidate::All),
        forget(Invalidate::EveryTag),
        [Operation::LoadRoot(Some(ROOT)), COMPLETE],
    ] {
        let found = |there: &[Operation]| {
            ends(remembering(machine(Sc)), None, &[&make(LEAF, read_only()), &[&[LOOK], there, &[READ]].concat()])
        };
        assert!(!found(&[what, complete]).contains(&TOLD_AND_ABSENT.to_vec()), "{what:?}");
        assert!(found(&[]).contains(&TOLD_AND_ABSENT.to_vec()));
    }
}

#[test]
fn a_broadcast_forgets_it_on_every_cpu() {
    let broadcast = Operation::Broadcast(Some(0), Invalidate::Leaf(PAGE, Hint::at(Level::LEAF)));
    let [store_entry, tell] = make(LEAF, read_only());
    let found = |between: &[Operation]| {
        let map = [&[store_entry], between, &[tell]].concat();
        ends(remembering(machine(Sc)), None, &[&map, &[LOOK, READ]])
    };
    assert!(!found(&[broadcast, COMPLETE]).contains(&TOLD_AND_ABSENT.to_vec()));
    assert!(found(&[broadcast]).contains(&TOLD_AND_ABSENT.to_vec()), "it is not complete");
    assert!(found(&[INVALIDATE_LEAF, COMPLETE]).contains(&TOLD_AND_ABSENT.to_vec()), "that is for its own CPU");
}

#[test]
fn a_new_table_may_not_be_found_by_who_remembers_that_there_was_none() {
    let publish = make(ROOT_ENTRY, Tiny::table(TABLE));
    let found = |config, there: &[Operation]| ends_with_empty_root(config, &[&publish, there]);
    for (memory, caches_walks) in [(Sc, false), (Sc, true), (Pso, false)] {
        let config = Config { caches_walks, ..machine(memory) };
        assert!(found(remembering(config), &[LOOK, READ]).contains(&TOLD_AND_ABSENT.to_vec()), "{config:?}");
        assert!(!found(config, &[LOOK, READ]).contains(&TOLD_AND_ABSENT.to_vec()), "{config:?}");
        let invalidated = found(remembering(config), &[LOOK, INVALIDATE_LEAF, COMPLETE, READ]);
        assert!(!invalidated.contains(&TOLD_AND_ABSENT.to_vec()), "{config:?}");
    }
}

/// Whatever it was that was absent, it is remembered page by page.
#[test]
fn an_invalidation_of_one_page_leaves_it_that_the_next_one_was_absent() {
    let publish = make(ROOT_ENTRY, Tiny::table(TABLE));
    let next = Invalidate::Leaf(NEXT, Hint::at(Level::LEAF));
    let there = [LOOK, Operation::Invalidate(next), COMPLETE, READ];
    assert!(ends_with_empty_root(remembering(machine(Sc)), &[&publish, &there]).contains(&TOLD_AND_ABSENT.to_vec()));
}

/// As the specification has it: who gets the fault and invalidates then gets no other.
#[test]
fn one_fault_is_enough_where_it_is_forgotten() {
    let found = |faults_forget, tlb, retry: &[Operation]| {
        let config = Config { faults_forget, tlb, ..remembering(machine(Sc)) };
        let there = [&[LOOK, READ], retry, &[READ]].concat();
        let program = Program { cpus: &[&make(LEAF, read_only()), &there], ..Program::default() };
        let ends = run(&prepare(config, None), program).lawful_ends();
        ends.contains(&vec![1, 0, 0])
    };
    for tlb in [TlbModel::Fills, TlbModel::MaySets] {
        assert!(found(false, tlb, &[]), "{tlb:?}");
        assert!(!found(true, tlb, &[]), "{tlb:?}");
        assert!(!found(false, tlb, &[INVALIDATE_LEAF, COMPLETE]), "{tlb:?}");
    }
}

/// A walker has nothing to remember where no root is loaded, and what it remembers may go at any time.
#[test]
fn it_is_remembered_by_a_walk_and_only_once() {
    let mut hardware = prepare(Config { cpus: 1, evicts: true, ..remembering(machine(Sc)) }, None);
    let of_page = |act: &Act| match act {
        Act::Walk { walk: Walk::ToTlb { page, .. }, .. } | Act::Evict { what: Evicted::Translation(page), .. } => {
            *page == PAGE
        }
        _ => false,
    };
    let acts = |hardware: &Hardware| {
        let mut acts = Vec::new();
        hardware.enabled(&[Operation::Idle], &mut acts);
        acts.into_iter().filter(of_page).collect::<Vec<_>>()
    };
    let walk = Act::Walk { cpu: CPU, walk: Walk::ToTlb { page: PAGE, from: WalkFrom::Root } };
    let evict = Act::Evict { cpu: CPU, what: Evicted::Translation(PAGE) };
    assert_eq!(acts(&hardware), [walk]);
    hardware.happen(walk).expect("this is no violation");
    assert!(hardware.cpu(CPU).knows_absent(PAGE) && !hardware.remembers_stale());
    assert_eq!(acts(&hardware), [evict]);
    hardware.happen(evict).expect("this is no violation");
    assert_eq!(acts(&hardware), [walk]);
    for (root, knows) in [(Some(ROOT), true), (None, false)] {
        hardware.step(CPU, Operation::LoadRoot(root), 0).expect("this is no violation");
        assert_eq!(hardware.step(CPU, READ, 0), Ok(0));
        assert_eq!(hardware.cpu(CPU).knows_absent(PAGE), knows, "an access remembers it as a walk does");
    }
}

/// It is kept under its tag as a translation is. It is none, so another address space under that tag is no violation.
#[test]
fn it_is_remembered_under_the_tag_and_breaks_no_law() {
    let load = |tag, keeps| Operation::LoadTagged { root: ROOT, tag, keeps };
    let load_other = Operation::LoadTagged { root: TABLE, tag: 2, keeps: true };
    let config = Config { cpus: 1, has_tags: true, ..remembering(machine(Sc)) };
    for (keeps, expected) in [(true, 0), (false, 1)] {
        let mut hardware = prepare(config, None);
        for operation in [load(1, false), READ, load(2, false), READ, store(LEAF, read_only()), load(1, keeps)] {
            hardware.step(CPU, operation, 0).expect("this is no violation");
        }
        assert_eq!(hardware.step(CPU, READ, 0), Ok(expected));
        assert_eq!(hardware.step(CPU, Operation::Promise(VpnRange::from_len(PAGE, 1)), 0), Ok(0));
        assert_eq!(hardware.step(CPU, load_other, 0), Ok(0));
        assert_eq!(hardware.step(CPU, READ, 0), Ok(0), "it is still there");
    }
}

/// A page without any permission is absent to hardware, see the format.
#[test]
fn a_page_without_permissions_counts_as_absent() {
    let none = Attributes { user: false, ..Attributes::USER_READ };
    let found = |config| ends(config, Some(none), &[&make(LEAF, read_only()), &[LOOK, READ]]);
    assert!(found(remembering(machine(Sc))).contains(&TOLD_AND_ABSENT.to_vec()));
    assert!(!found(machine(Sc)).contains(&TOLD_AND_ABSENT.to_vec()));
}

/// A fill takes its place, so that a page is not absent again after it was found.
#[test]
fn what_was_found_is_not_absent_any_more() {
    let there = [LOOK, READ, READ];
    let cpus: &[&[Operation]] = &[&make(LEAF, read_only()), &there];
    let run = |config| run(&prepare(config, None), Program { cpus, ..Program::default() }).lawful_ends();
    let fills = run(remembering(machine(Sc)));
    assert!(fills.contains(&vec![1, 0, 1]) && !fills.contains(&vec![1, 1, 0]));
    // A may-set is used in any order.
    assert!(run(Config { tlb: TlbModel::MaySets, ..remembering(machine(Sc)) }).contains(&vec![1, 1, 0]));
}

/// A write to a page that was unmapped remembers that, whatever the TLB had for reads.
#[test]
fn a_store_that_walks_to_nothing_leaves_nothing_of_what_was_there() {
    let write = Operation::Access(PAGE, Access::Write);
    let mut hardware = prepare(Config { cpus: 1, ..remembering(machine(Sc)) }, Some(Attributes::USER_WRITE));
    for (operation, expected) in [(READ, 1), (store(LEAF, 0), 0), (READ, 1), (write, 0), (READ, 0)] {
        assert_eq!(hardware.step(CPU, operation, 0), Ok(expected), "{operation:?}");
    }
}
