//! How often reclaim flushes, and who else does for it.

use std::cell::Cell;

use shootdown::{
    Attributes, Counter, CpuId, Frame, Gather, Level, Machine, Reclaim, Rmap, Space, SpaceId, Vpn, VpnRange,
    arch::x86_64::X86_64, page, reclaim::MAX_SPACES,
};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;

const FIRST: u64 = 0x8000;

/// Address spaces with so many pages each, of which CPU 0 has the first loaded and CPU 1 the last.
fn spaces(n_spaces: usize, n_pages: u64) -> (Sequential, Vec<SpaceId>) {
    let machine = Sequential::new(2, &[]);
    let ids: Vec<SpaceId> = (0..n_spaces).map(|_| machine.new_space()).collect();
    for id in &ids {
        space(&machine, *id).create(&machine).expect("there is memory");
        let frames = (0..n_pages).map(|_| page::allocate(&machine, Level::LEAF).expect("there is memory"));
        let mut tables = space(&machine, *id).lock(&machine);
        tables.map_each(Vpn(FIRST), frames, Attributes::USER_WRITE).expect("nothing is there");
    }
    for (cpu, id) in [(1, ids[n_spaces - 1]), (0, ids[0])] {
        machine.act_on(CpuId(cpu));
        machine.switch_to(id);
    }
    (machine, ids)
}

fn space(machine: &Sequential, id: SpaceId) -> &Space<Sequential> {
    machine.space(id).expect("the machine has a place for it")
}

/// Takes pages away from each address space in turn, and finishes.
fn take_away(machine: &Sequential, ids: &[SpaceId], n_pages: u64) -> u64 {
    let before = machine.counter(Counter::Flush);
    let n_freed = Cell::new(0);
    let sink = |m: &Sequential, frame: Frame| {
        n_freed.set(n_freed.get() + 1);
        page::drop_reference(m, frame);
    };
    let mut reclaim = Reclaim::new(machine, &sink);
    for page in FIRST..FIRST + n_pages {
        for id in ids {
            let space = space(machine, *id);
            let tables = space.lock(machine);
            let leaf = tables.find(Vpn(page)).expect("it is mapped");
            assert!(reclaim.unhook(space, leaf).is_some());
        }
    }
    reclaim.finish();
    for id in ids {
        machine.operation_returned(*id);
    }
    assert_eq!(machine.take_stale_accesses(), []);
    assert_eq!(n_freed.get(), n_pages * ids.len() as u64);
    machine.counter(Counter::Flush) - before
}

#[test]
fn thirty_two_pages_are_one_flush() {
    for (n_pages, n_flushes) in [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3)] {
        let (machine, ids) = spaces(1, n_pages);
        assert_eq!(take_away(&machine, &ids, n_pages), n_flushes, "{n_pages} pages");
    }
}

#[test]
fn each_address_space_is_one_flush() {
    let (machine, ids) = spaces(3, 10);
    assert_eq!(take_away(&machine, &ids, 10), 3);
    // More of them than a batch can owe: those before go first.
    let (machine, ids) = spaces(MAX_SPACES + 1, 1);
    assert_eq!(take_away(&machine, &ids, 1), MAX_SPACES as u64 + 1);
}

/// Unmaps where nothing is mapped any more; tells how many flushes were forced.
fn unmap(machine: &Sequential, id: SpaceId) -> u64 {
    let before = machine.counter(Counter::FlushForced);
    let mut gather = Gather::new(machine, space(machine, id), &page::DropReference);
    gather.unmap(VpnRange::from_len(Vpn(FIRST), 2), |_| Rmap::Now);
    gather.finish();
    machine.operation_returned(id);
    assert_eq!(machine.take_stale_accesses(), []);
    machine.counter(Counter::FlushForced) - before
}

#[test]
fn whoever_finds_a_page_gone_pays_once() {
    let (machine, ids) = spaces(1, 2);
    let space = space(&machine, ids[0]);
    let mut reclaim = Reclaim::new(&machine, &page::DropReference);
    for page in [FIRST, FIRST + 1] {
        let tables = space.lock(&machine);
        let unhooked = reclaim.unhook(space, tables.find(Vpn(page)).expect("it is mapped"));
        assert!(unhooked.is_some());
    }
    assert_eq!((unmap(&machine, ids[0]), unmap(&machine, ids[0])), (1, 0));
    assert_eq!(machine.n_frames_freed(), 0, "the frames are still reclaim's");
    reclaim.finish();
    assert_eq!(machine.n_frames_freed(), 2);
}

/// Takes a page away on each of these CPUs, on a machine that broadcasts, and finishes on another or the same. Tells how many
/// flushes there were beside those that were begun, and what is stale.
fn broadcast_and_finish(unhooked_on: &[CpuId], finished_on: CpuId) -> (u64, usize) {
    let n_pages = unhooked_on.len() as u64;
    let machine = Sequential::new(2, &[]).with_broadcasts();
    let id = machine.new_space();
    let space = space(&machine, id);
    space.create(&machine).expect("there is memory");
    let frames = (0..n_pages).map(|_| page::allocate(&machine, Level::LEAF).expect("there is memory"));
    space.lock(&machine).map_each(Vpn(FIRST), frames, Attributes::USER_WRITE).expect("nothing is there");
    for cpu in [1, 0] {
        machine.act_on(CpuId(cpu));
        machine.switch_to(id);
    }
    let mut reclaim = Reclaim::new(&machine, &page::DropReference);
    for (page, cpu) in (FIRST..).zip(unhooked_on) {
        machine.act_on(*cpu);
        let tables = space.lock(&machine);
        assert!(reclaim.unhook(space, tables.find(Vpn(page)).expect("it is mapped")).is_some());
    }
    assert_eq!((machine.counter(Counter::Broadcast), machine.counter(Counter::Flush)), (n_pages, 0));
    machine.act_on(finished_on);
    reclaim.finish();
    assert_eq!((machine.n_frames_freed(), machine.counter(Counter::Kick)), (n_pages, 0));
    (machine.counter(Counter::Flush), machine.take_stale_accesses().len())
}

#[test]
fn what_was_broadcast_is_waited_for_on_its_own_cpu_and_begun_again_on_another() {
    let (here, there) = (CpuId(0), CpuId(1));
    for (unhooked_on, finished_on, n_flushes) in [
        (&[here][..], here, 0),
        (&[here, here], here, 0),
        (&[here, here], there, 1),
        (&[there, here], here, 1),
        (&[here, there], here, 1),
        (&[here, there, here], here, 1),
    ] {
        let found = broadcast_and_finish(unhooked_on, finished_on);
        assert_eq!(found, (n_flushes, 0), "unhooked on {unhooked_on:?}, finished on {finished_on:?}");
    }
}

/// Both leaves were found before either was unhooked.
#[test]
fn a_page_is_taken_away_once() {
    let (machine, ids) = spaces(1, 1);
    let space = space(&machine, ids[0]);
    let mut reclaim = Reclaim::new(&machine, &page::DropReference);
    let tables = space.lock(&machine);
    let dirty = Attributes { dirty: true, ..Attributes::USER_WRITE };
    tables.find(Vpn(FIRST)).expect("it is mapped").set_access_flags(dirty);
    let [first, second] = [(); 2].map(|()| tables.find(Vpn(FIRST)).expect("it is mapped"));
    assert!(reclaim.unhook(space, first).is_some());
    assert_eq!(reclaim.unhook(space, second), None);
    drop(tables);
    reclaim.finish();
    assert_eq!((machine.n_frames_freed(), machine.counter(Counter::PageReleased)), (1, 1));
}

#[test]
fn reclaim_that_nobody_noticed_leaves_no_debt() {
    let (machine, ids) = spaces(1, 2);
    take_away(&machine, &ids, 2);
    assert_eq!(unmap(&machine, ids[0]), 0);
}
