//! One unmap with remote flush on the sequential machine, and what its oracle says when a step is left out.

use std::panic::{self, AssertUnwindSafe};

use shootdown::{
    Attributes, Counter, CpuId, EntryAt, EntryFormat, Fix, Frame, Gather, Level, Machine, MapError, MapErrorKind,
    Space, SpaceId, Vpn, VpnRange,
    arch::x86_64::X86_64,
    page::{self, DropReference},
    table,
};
use shootdown_sim::sequential::{Holder, StaleKind};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;

const PAGE: Vpn = Vpn(0x1234);

/// An address space with one page, in use on every CPU.
fn in_use_everywhere(n_cpus: u16, left_out: &[Fix]) -> (Sequential, SpaceId) {
    let machine = Sequential::new(usize::from(n_cpus), left_out);
    let id = machine.new_space();
    space(&machine, id).create(&machine).expect("there is memory");
    map(&machine, id, PAGE);
    for cpu in 0..n_cpus {
        machine.act_on(CpuId(cpu));
        machine.switch_to(id);
    }
    machine.act_on(CpuId(0));
    (machine, id)
}

fn space(machine: &Sequential, id: SpaceId) -> &Space<Sequential> {
    machine.space(id).expect("the machine has a place for it")
}

fn map(machine: &Sequential, id: SpaceId, page: Vpn) {
    let frame = page::allocate(machine, Level::LEAF).expect("there is memory");
    space(machine, id).lock(machine).map(page, frame, Attributes::USER_WRITE).expect("nothing is there");
}

/// Unmaps the page, with its tables if asked, and lets the machine look what could still be used.
fn unmap(machine: &Sequential, id: SpaceId, limits: VpnRange) -> Vec<(StaleKind, Holder)> {
    let space = space(machine, id);
    let mut gather = Gather::new(machine, space, &DropReference);
    let mut tables = space.lock(machine);
    let range = VpnRange::from_len(PAGE, 1);
    for leaf in tables.leaves(range) {
        gather.unhook(leaf);
    }
    gather.unhook_tables(&mut tables, range, limits);
    drop(tables);
    gather.finish();
    machine.operation_returned(id);
    found(machine)
}

fn found(machine: &Sequential) -> Vec<(StaleKind, Holder)> {
    machine.take_stale_accesses().into_iter().map(|stale| (stale.kind, stale.holder)).collect()
}

const NO_TABLES: VpnRange = VpnRange::new(Vpn(0), Vpn(0));
const ALL_TABLES: VpnRange = VpnRange::new(Vpn(0), Vpn(u64::MAX));

#[test]
fn an_unmap_reaches_every_cpu_before_its_frame_is_freed() {
    for n_cpus in [1, 2, 3, 65, 256] {
        let (machine, id) = in_use_everywhere(n_cpus, &[]);
        assert_eq!(unmap(&machine, id, ALL_TABLES), []);
        assert_eq!(machine.counter(Counter::RemoteRequest), u64::from(n_cpus) - 1);
        assert_eq!((machine.n_frames_freed(), machine.n_tables_freed()), (1, 3));
    }
}

#[test]
fn freeing_before_the_flush_is_caught_on_every_cpu() {
    let (machine, id) = in_use_everywhere(2, &[Fix::FlushBeforeFree]);
    assert_eq!(
        unmap(&machine, id, NO_TABLES),
        [(StaleKind::FrameFreed, Holder::Cpu(CpuId(0))), (StaleKind::FrameFreed, Holder::Cpu(CpuId(1)))]
    );
}

#[test]
fn freeing_a_table_before_the_flush_is_caught() {
    let (machine, id) = in_use_everywhere(1, &[Fix::FlushBeforeFree]);
    let tables = unmap(&machine, id, ALL_TABLES);
    assert_eq!(tables.iter().filter(|(kind, _)| *kind == StaleKind::TableFreed).count(), 3);
}

#[test]
fn a_flush_that_stays_at_home_is_caught_on_the_other_cpu() {
    let (machine, id) = in_use_everywhere(2, &[Fix::FlushRemote]);
    assert_eq!(unmap(&machine, id, NO_TABLES), [(StaleKind::FrameFreed, Holder::Cpu(CpuId(1)))]);
}

#[test]
fn not_waiting_for_the_answer_is_caught_on_the_other_cpu() {
    let (machine, id) = in_use_everywhere(2, &[Fix::WaitForAcks]);
    assert_eq!(unmap(&machine, id, NO_TABLES), [(StaleKind::FrameFreed, Holder::Cpu(CpuId(1)))]);
}

#[test]
fn a_change_that_frees_nothing_is_caught_when_the_operation_returns() {
    let (machine, id) = in_use_everywhere(2, &[Fix::FlushRemote]);
    let space = space(&machine, id);
    let mut gather = Gather::new(&machine, space, &DropReference);
    let tables = space.lock(&machine);
    gather.change(tables.find(PAGE).expect("mapped"), Attributes::USER_READ);
    drop(tables);
    gather.finish();
    assert_eq!(found(&machine), []);
    machine.operation_returned(id);
    assert_eq!(found(&machine), [(StaleKind::OperationReturned, Holder::Cpu(CpuId(1)))]);
}

#[test]
fn a_lazy_cpu_is_left_alone_for_a_leaf_and_catches_up_when_it_comes_back() {
    let (machine, id) = in_use_everywhere(2, &[]);
    machine.act_on(CpuId(1));
    machine.go_lazy();
    machine.act_on(CpuId(0));
    assert_eq!(unmap(&machine, id, NO_TABLES), [], "its leaf is legal while it is lazy");
    assert_eq!(machine.counter(Counter::RemoteRequest), 0);
    assert_eq!(machine.counter(Counter::SkippedLazy), 1);
    machine.act_on(CpuId(1));
    machine.switch_to(id);
    assert_eq!(found(&machine), []);
}

#[test]
fn a_lazy_cpu_hears_of_freed_tables_and_lets_the_address_space_go() {
    let (machine, id) = in_use_everywhere(2, &[]);
    machine.act_on(CpuId(1));
    machine.go_lazy();
    machine.act_on(CpuId(0));
    assert_eq!(unmap(&machine, id, ALL_TABLES), []);
    assert_eq!(machine.counter(Counter::RemoteRequest), 1);
    map(&machine, id, PAGE);
    assert_eq!(unmap(&machine, id, ALL_TABLES), []);
    assert_eq!(machine.counter(Counter::RemoteRequest), 1, "it need not be told again");
}

#[test]
fn a_cpu_that_switched_away_is_not_told() {
    let (machine, id) = in_use_everywhere(2, &[]);
    machine.act_on(CpuId(1));
    machine.leave();
    machine.act_on(CpuId(0));
    assert_eq!(unmap(&machine, id, ALL_TABLES), []);
    assert_eq!(machine.counter(Counter::RemoteRequest), 0);
}

#[test]
fn many_pages_are_one_full_flush_and_few_are_single_ones() {
    for (n_pages, n_full) in [(33, 0), (34, 1)] {
        let (machine, id) = in_use_everywhere(1, &[]);
        let space = space(&machine, id);
        let range = VpnRange::from_len(Vpn(0x8000), n_pages);
        (0..n_pages).for_each(|page| map(&machine, id, Vpn(range.start.0 + page)));
        let mut gather = Gather::new(&machine, space, &DropReference);
        let tables = space.lock(&machine);
        for leaf in tables.leaves(range) {
            gather.unhook(leaf);
        }
        drop(tables);
        gather.finish();
        assert_eq!(machine.counter(Counter::FlushLocal), 1);
        assert_eq!(machine.counter(Counter::FlushEverything), n_full);
    }
}

/// With batch pages a gather holds 7 + 19 × 509 pages; without, 7. Nothing is freed before its flush either way.
#[test]
fn a_gather_without_memory_flushes_more_often_and_frees_no_less() {
    for (refuse, n_flushes) in [(false, 2), (true, 10_000_u64.div_ceil(7))] {
        let (machine, id) = in_use_everywhere(2, &[]);
        machine.limit_batches(refuse.then_some(0));
        let space = space(&machine, id);
        let range = VpnRange::from_len(Vpn(0x8000), 10_000);
        (0..10_000).for_each(|page| map(&machine, id, Vpn(range.start.0 + page)));
        let mut gather = Gather::new(&machine, space, &DropReference);
        let tables = space.lock(&machine);
        for leaf in tables.leaves(range) {
            gather.unhook(leaf);
        }
        drop(tables);
        gather.finish();
        machine.operation_returned(id);
        assert_eq!(found(&machine), []);
        assert_eq!(machine.n_frames_freed(), 10_000);
        assert_eq!(machine.counter(Counter::FlushLocal), n_flushes);
    }
}

fn frames(machine: &Sequential) -> impl Iterator<Item = Frame> {
    std::iter::repeat_with(|| page::allocate(machine, Level::LEAF).expect("there is memory"))
}

fn n_entries(machine: &Sequential, id: SpaceId, page: Vpn) -> u64 {
    let table = space(machine, id).lock(machine).find(page).expect("mapped").at().table;
    machine.descriptor(table).n_entries(machine)
}

/// From the last pages of one table into the next, up to one that is mapped already.
#[test]
fn frames_are_mapped_across_tables_until_one_does_not_fit() {
    let (machine, id) = in_use_everywhere(1, &[]);
    let (first, taken) = (Vpn(0x13f0), Vpn(0x1405));
    map(&machine, id, taken);
    let mut frames = frames(&machine).take(30).collect::<Vec<_>>().into_iter();
    let expected: Vec<_> = frames.as_slice().iter().map(Frame::pfn).collect();
    let error = space(&machine, id).lock(&machine).map_each(first, &mut frames, Attributes::USER_WRITE);
    let n_mapped = (taken.0 - first.0) as usize;
    let Err(MapError { kind: MapErrorKind::Occupied(Level::LEAF), frame }) = error else {
        panic!("{taken:?} is taken: {error:?}");
    };
    assert_eq!(frame.pfn(), expected[n_mapped]);
    assert_eq!(frames.len(), 30 - n_mapped - 1);
    let tables = space(&machine, id).lock(&machine);
    let mapped: Vec<_> = tables.leaves(VpnRange::new(first, taken)).map(|leaf| leaf.frame()).collect();
    assert_eq!(mapped, expected[..n_mapped]);
    drop(tables);
    assert_eq!(n_entries(&machine, id, first), 1 + 16, "with the page that was there");
    assert_eq!(n_entries(&machine, id, taken), 5 + 1);
}

/// What is in a table is counted also if who makes the frames does not come back: else the table would be freed.
#[test]
fn entries_are_counted_when_a_frame_maker_panics() {
    let (machine, id) = in_use_everywhere(1, &[]);
    let mut tables = space(&machine, id).lock(&machine);
    let frames = frames(&machine).take(3).chain(std::iter::from_fn(|| panic!("no more frames")));
    let mapping = AssertUnwindSafe(|| tables.map_each(Vpn(PAGE.0 + 1), frames, Attributes::USER_WRITE));
    assert!(panic::catch_unwind(mapping).is_err());
    drop(tables);
    assert_eq!(n_entries(&machine, id, PAGE), 1 + 3);
}

#[test]
fn descriptors_know_their_tables() {
    let (machine, id) = in_use_everywhere(1, &[]);
    let table = space(&machine, id).lock(&machine).find(PAGE).expect("mapped").at().table;
    let descriptor = machine.descriptor(table);
    assert_eq!(descriptor.frame(&machine), Some(table));
    assert_eq!(descriptor.level(&machine), Some(Level(1)));
    assert_eq!(descriptor.n_entries(&machine), 1);
    assert!(!descriptor.is_reserved(&machine));
}

#[test]
fn a_reserved_table_is_never_unhooked() {
    let (machine, id) = in_use_everywhere(1, &[]);
    // As a kernel does with its boot tables, which it did not get from this library.
    let boot_table = machine.alloc_table().expect("there is memory");
    table::reserve(&machine, boot_table, Level(3));
    let mut tables = space(&machine, id).lock(&machine);
    let at = EntryAt { table: tables.root().expect("created"), index: 5 };
    machine.poke_entry(at, X86_64::table(boot_table));
    let mut gather = Gather::new(&machine, space(&machine, id), &DropReference);
    gather.unhook_tables(&mut tables, ALL_TABLES, ALL_TABLES);
    drop(tables);
    gather.finish();
    assert_eq!(machine.n_tables_freed(), 0, "the page's own tables are not empty, and the boot table is reserved");
    assert!(machine.descriptor(boot_table).is_reserved(&machine));
}
