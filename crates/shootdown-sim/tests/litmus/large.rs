//! Leaves at the root, which map two pages: what walks find there, what an invalidation drops, and what becomes of pages
//! that change their size.

use std::sync::atomic::Ordering::Relaxed;

use shootdown::{
    Attributes, CpuId, EntryAt, EntryFormat, Hint, Invalidate, Level, Modify, Pfn, TableFrame, Vpn, VpnRange,
    arch::tiny::Tiny,
};
use shootdown_sim::smp::{
    Access, Config, Hardware, Location, MemoryModel::Sc, Operation, TlbModel, Translation, Violation,
};

use crate::{
    explorer::{Outcome, Outcomes, Program, run},
    translation::{
        FLAG, INVALIDATE_LEAF, INVALIDATE_WALK, LEAF, PAGE, READ, ROOT, ROOT_ENTRY, TABLE, WRITE, assert_same, leaf,
        machine, store,
    },
};

const CPU: CpuId = CpuId(0);
const LARGE: Level = Level(2);

/// The other page of the pair.
const BUDDY: Vpn = Vpn(1);
const READ_BUDDY: Operation = Operation::Access(BUDDY, Access::Read);
const BUDDY_LEAF: Location = Location::Entry(EntryAt { table: TABLE, index: 1 });

// Frames are taken from the lowest on, see `prepare`.
const PAIR: [Pfn; 2] = [Pfn(2), Pfn(3)];
const SINGLES: [Pfn; 2] = [Pfn(4), Pfn(5)];

fn large(attributes: Attributes) -> u64 {
    Tiny::leaf(PAIR[0], LARGE, attributes)
}

fn small() -> u64 {
    Tiny::table(TABLE)
}

/// A machine whose CPUs have a root loaded with this entry for two pages. `TABLE` has an entry with these attributes for
/// each of `SINGLES`.
fn prepare(config: Config, root_entry: u64, attributes: Attributes) -> Hardware {
    let mut hardware = Hardware::new(config, 1);
    for operation in [
        Operation::AllocTable,
        Operation::AllocTable,
        Operation::AllocFrame(LARGE),
        Operation::AllocFrame(Level::LEAF),
        Operation::AllocFrame(Level::LEAF),
        store(LEAF, leaf(SINGLES[0], attributes)),
        store(BUDDY_LEAF, leaf(SINGLES[1], attributes)),
        store(ROOT_ENTRY, root_entry),
    ] {
        hardware.step(CPU, operation, 0).expect("this is no violation");
    }
    for cpu in 0..config.cpus {
        hardware.step(CpuId(cpu as u16), Operation::LoadRoot(Some(ROOT)), 0).expect("this is no violation");
    }
    hardware
}

fn models() -> [Config; 2] {
    [TlbModel::Fills, TlbModel::MaySets].map(|tlb| Config { tlb, cpus: 1, ..machine(Sc) })
}

/// Performs operations of one CPU one after the other; returns the first violation.
fn perform(hardware: &mut Hardware, operations: &[Operation]) -> Result<(), Violation> {
    operations.iter().try_for_each(|operation| hardware.step(CPU, *operation, 0).map(drop))
}

fn explore(config: Config, root_entry: u64, cpus: &[&[Operation]]) -> Outcomes {
    let outcomes =
        |config| run(&prepare(config, root_entry, Attributes::USER_READ), Program { cpus, ..Program::default() });
    assert_same(&outcomes(Config { tlb: TlbModel::MaySets, ..config }), &outcomes(Config { evicts: true, ..config }));
    outcomes(config)
}

fn ends(config: Config, root_entry: u64, cpus: &[&[Operation]]) -> Vec<Outcome> {
    explore(config, root_entry, cpus).lawful_ends()
}

/// SDM §4.5: an entry of a directory that maps a page takes the low bits of the address for the offset.
#[test]
fn a_large_leaf_is_walked_to_both_of_its_frames() {
    for config in models() {
        let mut hardware = prepare(config, large(Attributes::USER_READ), Attributes::USER_READ);
        perform(&mut hardware, &[READ, READ_BUDDY]).expect("this is no violation");
        for (page, frame) in [PAGE, BUDDY].into_iter().zip(PAIR) {
            let found: Vec<Translation> = hardware.cpu(CPU).translations(page).collect();
            assert!(matches!(found[..], [to] if to.frame == frame && to.is_large), "{found:?}");
        }
        assert_eq!(hardware.step(CPU, Operation::Access(Vpn(2), Access::Read), 0), Ok(0), "the next root entry");
        assert!(!hardware.remembers_stale());
        hardware.step(CPU, store(ROOT_ENTRY, 0), 0).expect("this is no violation");
        assert!(hardware.remembers_stale());
    }
    for kernel_only in [0, large(Attributes { user: false, ..Attributes::USER_WRITE })] {
        assert_eq!(ends(models()[0], kernel_only, &[&[READ, READ_BUDDY]]), [[0, 0]]);
    }
}

/// SDM §4.10.4.1: INVLPG drops all TLB entries for a page, also if they are of a larger page that was mapped there.
/// `TLBI VAE1` on arm64 drops what would translate the address, at any level.
#[test]
fn an_invalidation_of_one_page_drops_a_large_translation_of_both() {
    for invalidate in [INVALIDATE_LEAF, INVALIDATE_WALK, Operation::Broadcast(None, Invalidate::Leaf(PAGE, HINT))] {
        let unmap = [READ_BUDDY, store(ROOT_ENTRY, 0), invalidate, Operation::Complete, READ_BUDDY];
        let found = |root_entry| ends(machine(Sc), root_entry, &[&unmap, &[]]);
        assert_eq!(found(large(Attributes::USER_READ)), [[1, 0]], "{invalidate:?}");
        assert_eq!(found(small()), [[1, 1]], "small ones are dropped page by page: {invalidate:?}");
    }
}

const HINT: Hint = Hint::at(Level::LEAF);

/// Whatever the TLB has beside, it is the size of the translation that counts and not that of the entry in memory.
#[test]
fn a_small_translation_of_one_page_survives_the_invalidation_of_the_other() {
    for config in models() {
        let mut hardware = prepare(config, small(), Attributes::USER_READ);
        let collapse = [READ_BUDDY, store(ROOT_ENTRY, large(Attributes::USER_READ)), READ];
        perform(&mut hardware, &[&collapse[..], &[store(ROOT_ENTRY, 0), INVALIDATE_LEAF]].concat())
            .expect("this is no violation");
        let kept =
            [PAGE, BUDDY].map(|page| hardware.cpu(CPU).translations(page).map(|to| to.frame).collect::<Vec<_>>());
        assert_eq!(kept, [vec![], vec![SINGLES[1]]]);
    }
}

/// SDM §4.10.2.3: if the page size is changed, the TLBs may contain both, and a reference may use either.
#[test]
fn pages_that_change_their_size_are_used_in_either() {
    // Only the large leaf allows writes, and a walk for its dirty bit would find which it is by now.
    let writable = large(Attributes { dirty: true, ..Attributes::USER_WRITE });
    let collapse = [store(ROOT_ENTRY, writable), WRITE, WRITE];
    let config = Config { cpus: 1, ..machine(Sc) };
    assert_eq!(ends(config, small(), &[&collapse]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
    let split = [store(ROOT_ENTRY, small()), WRITE, WRITE];
    assert_eq!(ends(config, writable, &[&split]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
}

/// SDM §4.10.3: a cached pointer to a table is used whatever the root says by now.
#[test]
fn a_table_that_a_large_leaf_has_replaced_is_walked_through_the_walk_cache() {
    let collapse =
        |invalidate| [store(ROOT_ENTRY, large(Attributes::USER_WRITE)), invalidate, Operation::Complete, WRITE];
    let found = |caches_walks, invalidate| {
        ends(Config { cpus: 1, caches_walks, ..machine(Sc) }, small(), &[&collapse(invalidate)])
    };
    assert_eq!(found(true, INVALIDATE_LEAF), [[0], [1]]);
    assert_eq!(found(true, INVALIDATE_WALK), [[1]]);
    assert_eq!(found(false, INVALIDATE_LEAF), [[1]]);
}

/// SDM §4.8: the flags are those of the entry that maps the page, whatever its size.
#[test]
fn a_store_through_a_large_leaf_marks_the_entry_of_the_root() {
    let unused = Attributes { accessed: false, ..Attributes::USER_WRITE };
    let used = Attributes { accessed: true, ..unused };
    let dirty = Attributes { dirty: true, ..used };
    let write_buddy = Operation::Access(BUDDY, Access::Write);
    for config in models() {
        for (sets_dirty, wrote, expected) in [(true, 1, dirty), (false, 0, used)] {
            let config = Config { sets_accessed: true, sets_dirty, ..config };
            let hardware = prepare(config, large(unused), Attributes::USER_READ);
            let program = Program { cpus: &[&[write_buddy]], watched: &[ROOT_ENTRY], ..Program::default() };
            assert_eq!(run(&hardware, program).lawful_ends(), [[wrote, large(expected)]], "{config:?}");
        }
    }
}

/// SDM §8.1.2.1, as for small ones: one dirty bit tells of stores to both pages.
#[test]
fn a_large_leaf_cleared_in_one_step_tells_of_every_store() {
    let wrote = Operation::Update(FLAG, Modify::Add(1), Relaxed);
    let is_dirty = |raw: u64| Tiny::attributes(raw).dirty;
    let learns = |clear: &[Operation]| {
        let cpus = [clear, &[Operation::Access(BUDDY, Access::Write), wrote]];
        let hardware = prepare(machine(Sc), large(Attributes::USER_WRITE), Attributes::USER_READ);
        let found = run(&hardware, Program { cpus: &cpus, ..Program::default() });
        !found.ends.iter().any(|end| end[1] == 1 && !is_dirty(end[0]))
    };
    assert!(!learns(&[Operation::Load(ROOT_ENTRY, Relaxed), store(ROOT_ENTRY, 0)]));
    assert!(learns(&[Operation::Modify(ROOT_ENTRY, Modify::Swap(0), Relaxed)]));
}

/// Size is nothing that was taken away; another frame is.
#[test]
fn a_promise_is_about_where_a_page_is_and_not_about_its_size() {
    let promise = Operation::Promise(VpnRange::from_len(PAGE, 2));
    let split_to = |frames: [Pfn; 2]| {
        let mut hardware = prepare(models()[0], large(Attributes::USER_READ), Attributes::USER_READ);
        let leaves = frames.map(|frame| leaf(frame, Attributes::USER_READ));
        perform(&mut hardware, &[READ, READ_BUDDY, store(LEAF, leaves[0]), store(BUDDY_LEAF, leaves[1])])?;
        perform(&mut hardware, &[store(ROOT_ENTRY, small()), promise])
    };
    assert_eq!(split_to(PAIR), Ok(()));
    assert_eq!(split_to(SINGLES), Err(Violation::StaleAfterReturn { cpu: CPU, page: PAGE }));
    assert_eq!(split_to([PAIR[0], SINGLES[1]]), Err(Violation::StaleAfterReturn { cpu: CPU, page: BUDDY }));
}

#[test]
fn both_frames_of_a_large_leaf_must_be_data_and_begin_at_an_even_one() {
    let touch = |page, first, freed: &[Operation]| {
        let root_entry = Tiny::leaf(first, LARGE, Attributes::USER_READ);
        let mut hardware = prepare(models()[0], root_entry, Attributes::USER_READ);
        let access = Operation::Access(page, Access::Read);
        perform(&mut hardware, &[freed, &[access]].concat())
    };
    let no_data = |page, frame| Err(Violation::MappedNoData { cpu: CPU, page, frame });
    assert_eq!(touch(PAGE, PAIR[0], &[Operation::FreeFrame(PAIR[1], Level::LEAF)]), Ok(()));
    assert_eq!(touch(BUDDY, PAIR[0], &[Operation::FreeFrame(PAIR[1], Level::LEAF)]), no_data(BUDDY, PAIR[1]));
    assert_eq!(touch(PAGE, PAIR[1], &[]), no_data(PAGE, PAIR[1]));
    assert_eq!(touch(BUDDY, Pfn(7), &[]), no_data(BUDDY, Pfn(8)), "what a root holds before it is zeroed");
}

#[test]
fn a_pair_of_frames_begins_at_the_lowest_even_number_at_which_both_are_free() {
    let mut hardware = Hardware::new(machine(Sc), 0);
    let mut take = |operation| hardware.step(CPU, operation, 0).expect("this is no violation").checked_sub(1);
    let (single, pair) = (Operation::AllocFrame(Level::LEAF), Operation::AllocFrame(LARGE));
    let taken = [Operation::AllocTable, pair, single, pair, pair, single, single].map(&mut take);
    assert_eq!(taken, [Some(0), Some(2), Some(1), Some(4), None, Some(6), None]);
    let leave_a_hole = [Operation::FreeFrame(Pfn(5), Level::LEAF), Operation::FreeFrame(PAIR[0], LARGE), pair];
    assert_eq!(leave_a_hole.map(take).last(), Some(&Some(2)));
}

/// SDM §4.10.5: the whole page must have gone before any of it is used for something else.
#[test]
fn a_pair_of_frames_may_not_be_freed_under_a_cpu_that_translates_either_page() {
    let free = Operation::FreeFrame(PAIR[0], LARGE);
    let unhook_and_free = |hardware: &mut Hardware, between: &[Operation]| {
        perform(hardware, &[&[store(ROOT_ENTRY, 0)], between, &[free]].concat())?;
        hardware.check_end()
    };
    for (access, page, frame) in [(READ, PAGE, PAIR[0]), (READ_BUDDY, BUDDY, PAIR[1])] {
        let touched = || {
            let mut hardware = prepare(models()[0], large(Attributes::USER_READ), Attributes::USER_READ);
            perform(&mut hardware, &[access]).expect("this is no violation");
            hardware
        };
        let stale = Err(Violation::StaleAtFree { cpu: CPU, page, frame });
        assert_eq!(unhook_and_free(&mut touched(), &[]), stale);
        assert_eq!(unhook_and_free(&mut touched(), &[INVALIDATE_LEAF]), Ok(()));
        let resumed = [Operation::StopUser, store(ROOT_ENTRY, 0), free, Operation::ResumeUser];
        assert_eq!(perform(&mut touched(), &resumed), Err(Violation::StaleInUse { cpu: CPU, page, frame }));
    }
    let mut hardware = prepare(models()[0], large(Attributes::USER_WRITE), Attributes::USER_READ);
    perform(&mut hardware, &[Operation::Access(BUDDY, Access::Write)]).expect("this is no violation");
    let forgotten = [INVALIDATE_LEAF, Operation::NoteDirty(PAIR[0])];
    assert_eq!(unhook_and_free(&mut hardware, &forgotten), Err(Violation::LostStore { frame: PAIR[1] }));
}

/// A page that is split leaves two frames, and two frames that follow each other can become one page.
#[test]
fn a_pair_of_frames_is_freed_as_one_or_one_by_one_but_as_what_it_is() {
    let free = |frees: &[(Pfn, Level)]| {
        let mut hardware = prepare(models()[0], small(), Attributes::USER_READ);
        perform(
            &mut hardware,
            &frees.iter().map(|(first, level)| Operation::FreeFrame(*first, *level)).collect::<Vec<_>>(),
        )
    };
    let [first, second] = PAIR;
    assert_eq!(free(&[(first, LARGE)]), Ok(()));
    assert_eq!(free(&[(second, Level::LEAF), (first, Level::LEAF)]), Ok(()));
    assert_eq!(free(&[(SINGLES[0], LARGE)]), Ok(()));
    assert_eq!(free(&[(second, Level::LEAF), (first, LARGE)]), Err(Violation::DoubleFree { frame: second }));
    assert_eq!(free(&[(ROOT.0, LARGE)]), Err(Violation::WrongFree { frame: ROOT.0 }));
    for no_pair in [second, Pfn(6)] {
        assert_eq!(free(&[(no_pair, LARGE)]), Err(Violation::WrongFree { frame: no_pair }));
    }
}

/// Of a root that nobody has loaded nobody knows that its leaves are large, so loading it must tell.
#[test]
fn a_large_leaf_keeps_both_of_its_frames() {
    let end = |operations: &[Operation]| {
        let mut hardware = prepare(models()[0], large(Attributes::USER_WRITE), Attributes::USER_READ);
        perform(&mut hardware, operations)?;
        hardware.check_end()
    };
    let write_both = [WRITE, Operation::Access(BUDDY, Access::Write)];
    assert_eq!(end(&write_both), Ok(()), "the entry is dirty");
    let unhook = [store(ROOT_ENTRY, 0), INVALIDATE_LEAF];
    assert_eq!(end(&unhook), Err(Violation::Leaked { frame: PAIR[0] }));
    let one_left = [&unhook[..], &[Operation::FreeFrame(PAIR[0], Level::LEAF)]].concat();
    assert_eq!(end(&one_left), Err(Violation::Leaked { frame: PAIR[1] }));
    let undone = [&write_both[..], &[store(ROOT_ENTRY, large(Attributes::USER_WRITE))]].concat();
    assert_eq!(end(&undone), Err(Violation::LostStore { frame: PAIR[0] }));
    let never_loaded = TableFrame(Pfn(6));
    let entry = Location::Entry(EntryAt { table: never_loaded, index: 0 });
    let other = [Operation::AllocTable, store(entry, large(Attributes::USER_READ)), store(ROOT_ENTRY, 0)];
    assert_eq!(
        end(&other),
        Err(Violation::Leaked { frame: PAIR[1] }),
        "for all that is known it is one of a small leaf"
    );
    assert_eq!(end(&[&other[..], &[Operation::LoadRoot(Some(never_loaded))]].concat()), Ok(()));
}

/// For an entry that was this and becomes that: what goes wrong where two sizes are an error, if this is how it is done while
/// another CPU uses both pages. Where they are none nothing may.
fn change_size(config: Config, from: u64, steps: &[Operation]) -> Vec<Violation> {
    let cpus: [&[Operation]; 2] = [steps, &[READ, READ_BUDDY]];
    assert_eq!(explore(config, from, &cpus).violations, []);
    explore(Config { forbids_two_sizes: true, ..config }, from, &cpus).violations
}

fn is_two_sizes(violations: &[Violation]) -> bool {
    assert!(violations.iter().all(|violation| matches!(violation, Violation::TwoSizes { .. })), "{violations:?}");
    !violations.is_empty()
}

/// AMD erratum 383; Arm ARM, "break-before-make": there the size must not change in one step, neither way.
#[test]
fn two_sizes_at_once_are_a_violation_where_they_are_forbidden() {
    for (from, to) in [(small(), large(Attributes::USER_READ)), (large(Attributes::USER_READ), small())] {
        assert!(is_two_sizes(&change_size(machine(Sc), from, &[store(ROOT_ENTRY, to)])));
        // What comes after it comes too late.
        let late = [store(ROOT_ENTRY, to), Operation::Broadcast(None, Invalidate::All), Operation::Complete];
        assert!(is_two_sizes(&change_size(machine(Sc), from, &late)));
    }
    for config in models() {
        let mut hardware = prepare(Config { forbids_two_sizes: true, ..config }, small(), Attributes::USER_READ);
        let collapse = [READ_BUDDY, store(ROOT_ENTRY, large(Attributes::USER_READ)), READ_BUDDY];
        let found = perform(&mut hardware, &collapse);
        // Exact fills use what is there; in a may-set it is there too that a walk could have gone to the new entry.
        let first =
            if config.tlb == TlbModel::Fills { Ok(()) } else { Err(Violation::TwoSizes { cpu: CPU, page: PAGE }) };
        assert_eq!(found, first);
    }
}

/// Arm ARM, "break-before-make": the old entry is cleared, invalidated and completed, and then comes the new one.
#[test]
fn an_entry_that_is_broken_before_it_is_made_has_one_size_at_a_time() {
    let to_large = (small(), large(Attributes::USER_READ));
    let to_small = (large(Attributes::USER_READ), small());
    let config = Config { caches_walks: true, ..machine(Sc) };
    let breaks = |(from, to): (u64, u64), between: &[Operation]| {
        let steps = [&[store(ROOT_ENTRY, 0)], between, &[store(ROOT_ENTRY, to)]].concat();
        is_two_sizes(&change_size(config, from, &steps))
    };
    let complete = Operation::Complete;
    let [leaf, buddy_leaf] = [PAGE, BUDDY].map(|page| Operation::Broadcast(None, Invalidate::Leaf(page, HINT)));
    let [walk, buddy_walk] = [PAGE, BUDDY].map(|page| Operation::Broadcast(None, Invalidate::Walk(page, HINT)));
    assert!(!breaks(to_small, &[leaf, complete]), "one invalidation for a large leaf");
    assert!(!breaks(to_large, &[walk, buddy_walk, complete]), "one for each small one");
    assert!(breaks(to_large, &[walk, complete]), "the other page stays");
    assert!(breaks(to_large, &[leaf, buddy_leaf, complete]), "what the walk cache leads to comes back");
    for not_enough in [&[][..], &[leaf], &[INVALIDATE_LEAF, complete]] {
        assert!(breaks(to_small, not_enough), "{not_enough:?}");
    }
}
