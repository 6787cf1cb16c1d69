//! What the machine calls a violation, each on the smallest program that is one.

use std::sync::atomic::Ordering::Relaxed;

use shootdown::{Attributes, CpuId, EntryAt, EntryFormat, Level, Pfn, TableFrame, Vpn, VpnRange, arch::tiny::Tiny};
use shootdown_sim::smp::{Access, Config, Hardware, Location, MemoryModel, Operation, Violation};

const CPU: CpuId = CpuId(0);
const OTHER: CpuId = CpuId(1);

const PAGE: Vpn = Vpn(0);
const PAGES: VpnRange = VpnRange::from_len(PAGE, 1);

// Frames are taken from the lowest on, see `mapped`.
const ROOT: TableFrame = TableFrame(Pfn(0));
const TABLE: TableFrame = TableFrame(Pfn(1));
const DATA: Pfn = Pfn(2);

const LEAF: EntryAt = EntryAt { table: TABLE, index: 0 };

fn store(at: EntryAt, value: u64) -> Operation {
    Operation::Store(Location::Entry(at), value, Relaxed)
}

/// One writable page, on two CPUs that have it loaded.
fn mapped() -> Hardware {
    let mut hardware = Hardware::new(Config { memory: MemoryModel::Sc, ..Config::with_cpus(2) }, 0);
    let root_entry = EntryAt { table: ROOT, index: 0 };
    for operation in [
        Operation::AllocTable,
        Operation::AllocTable,
        Operation::AllocFrame(Level::LEAF),
        store(LEAF, Tiny::leaf(DATA, Level::LEAF, Attributes::USER_WRITE)),
        store(root_entry, Tiny::table(TABLE)),
        Operation::LoadRoot(Some(ROOT)),
    ] {
        hardware.step(CPU, operation, 0).expect("this is no violation");
    }
    hardware.step(OTHER, Operation::LoadRoot(Some(ROOT)), 0).expect("this is no violation");
    hardware
}

/// Performs operations one after the other, and then looks at what is left.
fn perform(operations: &[(CpuId, Operation)]) -> Result<(), Violation> {
    let mut hardware = mapped();
    operations.iter().try_for_each(|(cpu, operation)| hardware.step(*cpu, *operation, 0).map(drop))?;
    hardware.check_end()
}

const fn on(cpu: CpuId, operation: Operation) -> (CpuId, Operation) {
    (cpu, operation)
}

const fn touch(cpu: CpuId) -> (CpuId, Operation) {
    (cpu, Operation::Access(PAGE, Access::Read))
}

const fn write(cpu: CpuId) -> (CpuId, Operation) {
    (cpu, Operation::Access(PAGE, Access::Write))
}

fn unhook() -> (CpuId, Operation) {
    on(CPU, store(LEAF, 0))
}

const fn free() -> (CpuId, Operation) {
    on(CPU, Operation::FreeFrame(DATA, Level::LEAF))
}

#[test]
fn a_frame_may_be_freed_when_nobody_translates_to_it() {
    assert_eq!(perform(&[unhook(), free()]), Ok(()));
}

#[test]
fn a_frame_may_not_be_freed_under_a_cpu_that_runs_user_code() {
    let violation = Violation::StaleAtFree { cpu: OTHER, page: PAGE, frame: DATA };
    assert_eq!(perform(&[touch(OTHER), unhook(), free()]), Err(violation));
}

#[test]
fn a_cpu_without_user_code_must_forget_the_translation_before_it_has_some() {
    let stop = [touch(OTHER), on(OTHER, Operation::StopUser), unhook(), free()];
    let resume = on(OTHER, Operation::ResumeUser);
    let forget = on(OTHER, Operation::Invalidate(shootdown::Invalidate::Leaf(PAGE, shootdown::Hint::at(Level::LEAF))));
    let violation = Violation::StaleInUse { cpu: OTHER, page: PAGE, frame: DATA };
    assert_eq!(perform(&[&stop[..], &[resume]].concat()), Err(violation));
    assert_eq!(perform(&[&stop[..], &[forget, resume]].concat()), Ok(()));
}

#[test]
fn what_was_promised_to_be_gone_must_be() {
    let promise = on(CPU, Operation::Promise(PAGES));
    assert_eq!(perform(&[promise]), Ok(()), "what the tables allow may stay");
    let gone = Violation::StaleAfterReturn { cpu: OTHER, page: PAGE };
    let unhooked = [touch(OTHER), unhook(), promise, free()];
    assert_eq!(perform(&unhooked), Err(gone));
    let stopped = [touch(OTHER), on(OTHER, Operation::StopUser), unhook(), promise];
    assert_eq!(perform(&[&stopped[..], &[free()]].concat()), Ok(()));
    let in_use = Violation::RevokedInUse { cpu: OTHER, page: PAGE };
    assert_eq!(perform(&[&stopped[..], &[on(OTHER, Operation::ResumeUser)]].concat()), Err(in_use));
}

#[test]
fn a_promise_is_about_permissions_and_dirty_bits_too() {
    let change = |attributes| on(CPU, store(LEAF, Tiny::leaf(DATA, Level::LEAF, attributes)));
    let (promise, write_back) = (on(CPU, Operation::Promise(PAGES)), on(CPU, Operation::WriteBack(DATA)));
    let gone = Violation::StaleAfterReturn { cpu: OTHER, page: PAGE };
    let read_only = change(Attributes::USER_READ);
    assert_eq!(perform(&[touch(OTHER), read_only, promise]), Err(gone));
    assert_eq!(perform(&[touch(OTHER), change(Attributes::USER_WRITE), promise]), Ok(()));
    let cleaned = change(Attributes::USER_WRITE);
    assert_eq!(perform(&[write(OTHER), cleaned, promise, write_back]), Err(gone));
    assert_eq!(perform(&[touch(OTHER), cleaned, promise, write_back]), Ok(()));
}

#[test]
fn a_promise_covers_what_others_can_still_find_in_memory() {
    let mut hardware = Hardware::new(Config { memory: MemoryModel::Tso, ..Config::with_cpus(2) }, 0);
    for operation in [
        Operation::AllocTable,
        Operation::AllocTable,
        Operation::AllocFrame(Level::LEAF),
        store(LEAF, Tiny::leaf(DATA, Level::LEAF, Attributes::USER_READ)),
        store(EntryAt { table: ROOT, index: 0 }, Tiny::table(TABLE)),
    ] {
        hardware.step(CPU, operation, 0).expect("this is no violation");
        hardware.drain_all(CPU).expect("this is no violation");
    }
    for cpu in [CPU, OTHER] {
        hardware.step(cpu, Operation::LoadRoot(Some(ROOT)), 0).expect("this is no violation");
    }
    hardware.step(CPU, store(LEAF, 0), 0).expect("this is no violation");
    let late = hardware.clone().step(CPU, Operation::Promise(PAGES), 0);
    assert!(matches!(late, Err(Violation::StaleAfterReturn { .. })), "the store has not reached memory");
    hardware.drain_all(CPU).expect("this is no violation");
    assert_eq!(hardware.step(CPU, Operation::Promise(PAGES), 0), Ok(0));
}

#[test]
fn a_table_may_not_be_freed_under_a_root() {
    let free_root = on(CPU, Operation::FreeTable(ROOT));
    assert_eq!(perform(&[free_root]), Err(Violation::WalkerInFreedTable { cpu: CPU, table: ROOT.0 }));
}

#[test]
fn a_walker_may_read_nothing_but_tables_and_may_find_nothing_but_data() {
    let point_at = |table| on(CPU, store(EntryAt { table: ROOT, index: 0 }, Tiny::table(TableFrame(table))));
    let lead_to = |frame| on(CPU, store(LEAF, Tiny::leaf(frame, Level::LEAF, Attributes::USER_READ)));
    assert_eq!(perform(&[point_at(DATA), touch(OTHER)]), Err(Violation::WalkedNoTable { cpu: OTHER, frame: DATA }));
    assert_eq!(
        perform(&[lead_to(TABLE.0), touch(OTHER)]),
        Err(Violation::MappedNoData { cpu: OTHER, page: PAGE, frame: TABLE.0 })
    );
}

#[test]
fn code_may_go_to_entries_of_tables_only() {
    let in_data = EntryAt { table: TableFrame(DATA), index: 0 };
    let violation = Violation::EntryOfNoTable { cpu: OTHER, frame: DATA };
    assert_eq!(perform(&[on(OTHER, Operation::Load(Location::Entry(in_data), Relaxed))]), Err(violation));
    assert_eq!(perform(&[on(OTHER, store(in_data, 0))]), Err(violation));
}

#[test]
fn a_store_must_be_known_to_somebody_who_can_write_it_back() {
    let note = on(CPU, Operation::NoteDirty(DATA));
    let forget = on(OTHER, Operation::Invalidate(shootdown::Invalidate::All));
    assert_eq!(perform(&[write(OTHER)]), Ok(()), "the entry is dirty");
    assert_eq!(perform(&[write(OTHER), unhook(), forget, free()]), Err(Violation::LostStore { frame: DATA }));
    assert_eq!(perform(&[write(OTHER), unhook(), note, forget, free()]), Ok(()));
    let clean = on(CPU, store(LEAF, Tiny::leaf(DATA, Level::LEAF, Attributes::USER_WRITE)));
    let write_back = on(CPU, Operation::WriteBack(DATA));
    assert_eq!(perform(&[write(OTHER), clean, write_back]), Ok(()));
    // Its TLB still says that the entry is dirty.
    let unnoticed = [write(OTHER), clean, write_back, write(OTHER)];
    assert_eq!(perform(&unnoticed), Err(Violation::LostStore { frame: DATA }));
    let noticed = [write(OTHER), clean, forget, write_back, write(OTHER)];
    assert_eq!(perform(&noticed), Ok(()));
}

#[test]
fn what_was_mapped_is_mapped_at_the_end_or_was_freed() {
    assert_eq!(perform(&[unhook()]), Err(Violation::Leaked { frame: DATA }));
    assert_eq!(perform(&[on(CPU, Operation::AllocFrame(Level::LEAF))]), Ok(()), "what was never mapped is somebody's");
}

#[test]
fn a_frame_is_freed_once_and_as_what_it_is() {
    assert_eq!(perform(&[unhook(), free(), free()]), Err(Violation::DoubleFree { frame: DATA }));
    let as_table = on(CPU, Operation::FreeTable(TableFrame(DATA)));
    assert_eq!(perform(&[unhook(), as_table]), Err(Violation::WrongFree { frame: DATA }));
}
