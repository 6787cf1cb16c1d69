//! What becomes of contents when storage gives them, takes them, or fails.

use shootdown::{Vpn, VpnRange};
use shootdown_mm::{
    Access, AddressSpace, Backing, FaultError, Habits, Keep, Memory, NoStorage, ObjectPage, PageSize, Protection,
    Resolution, Sharing, StorageError, Vma,
};
use shootdown_sim::sequential::HUGE_LEVEL;

use crate::{
    disk::BROKEN,
    flushes::{World, pages},
};

fn fault(world: &World, access: Access) -> Result<Resolution, FaultError> {
    world.space.fault(&world.machine, &world.memory, pages(1).start, access)
}

/// Stores to the first page.
fn store(world: &World, number: u64) {
    fault(world, Access::Write).expect("mapped");
    let (frame, _) = world.space.translate(&world.machine, pages(1).start).expect("mapped");
    world.platter.store(frame, number);
}

fn load(world: &World) -> u64 {
    fault(world, Access::Read).expect("mapped");
    let (frame, _) = world.space.translate(&world.machine, pages(1).start).expect("mapped");
    world.platter.load(frame)
}

#[test]
fn what_was_reclaimed_is_read_again() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(1), Access::Read);
    store(&world, 7);
    assert_eq!(world.memory.reclaim(&world.machine, 10), Ok(1));
    assert_eq!(world.space.translate(&world.machine, pages(1).start), None);
    assert_eq!(load(&world), 7);
    assert_eq!(world.platter.n_transfers(), (2, 1));
}

#[test]
fn reclaim_goes_round() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(10), Access::Read);
    let is_mapped = |index| world.space.translate(&world.machine, Vpn(pages(1).start.0 + index)).is_some();
    assert_eq!(world.memory.reclaim(&world.machine, 7), Ok(7));
    assert_eq!((is_mapped(6), is_mapped(7)), (false, true));
    world.space.populate(&world.machine, &world.memory, pages(7), Access::Read).expect("mapped");
    assert_eq!(world.memory.reclaim(&world.machine, 5), Ok(5), "the rest, and from the beginning");
    assert_eq!((is_mapped(1), is_mapped(2), is_mapped(9)), (false, true, false));
    assert_eq!(world.memory.reclaim(&world.machine, u64::MAX), Ok(5));
}

#[test]
fn a_page_that_cannot_be_written_is_dirty_again() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(1), Access::Read);
    store(&world, 7);
    world.platter.break_down(true);
    assert_eq!(world.memory.write_back(&world.machine, object, 0..1), Err(BROKEN));
    assert_eq!(world.memory.reclaim(&world.machine, u64::MAX), Err(BROKEN), "each page is tried once");
    assert_eq!(load(&world), 7, "it is still in memory");
    world.platter.break_down(false);
    assert_eq!(world.space.clean(&world.machine, &world.memory, pages(1)), Ok(1));
    assert_eq!(world.platter.page(ObjectPage { object, index: 0 }), 7);
}

#[test]
fn a_page_that_cannot_be_read_is_an_error_of_the_fault() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(1), Access::Read);
    assert_eq!(world.memory.reclaim(&world.machine, 1), Ok(1));
    world.platter.break_down(true);
    let held = world.machine.n_frames_held();
    assert_eq!(fault(&world, Access::Read), Err(FaultError::Storage(BROKEN)));
    assert_eq!(world.machine.n_frames_held(), held);
    world.platter.break_down(false);
    assert_eq!(fault(&world, Access::Read), Ok(Resolution::Mapped));
}

#[test]
fn memory_without_storage_stays() {
    let world = World::new();
    let object = world.memory.new_object(&world.machine);
    world.map(object, Sharing::Shared, pages(1), Access::Read);
    store(&world, 7);
    assert_eq!(world.memory.reclaim(&world.machine, 10), Ok(0));
    assert_eq!(world.memory.write_back(&world.machine, object, 0..10), Ok(0));
    world.space.unmap(&world.machine, &world.memory, pages(1));
    world.map(object, Sharing::Shared, pages(1), Access::Read);
    assert_eq!(load(&world), 7);
}

#[test]
fn copies_stay_when_the_page_they_are_of_is_reclaimed() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Private, pages(1), Access::Read);
    store(&world, 7);
    let child = world.space.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
    assert_eq!(world.memory.reclaim(&world.machine, 10), Ok(1), "the object's own page");
    assert_eq!(load(&world), 7);
    child.destroy(&world.machine, &world.memory);
    assert_eq!(world.platter.n_transfers(), (1, 0), "nobody writes a copy out");
}

#[test]
fn a_moved_page_is_found_where_it_is() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(1), Access::Read);
    store(&world, 7);
    let there = VpnRange::from_len(Vpn(pages(1).start.0 + 0x1000), 1);
    world.space.relocate(&world.machine, &world.memory, pages(1), there, Keep::Mapping).expect("there is memory");
    let flushes = world.flushes_of(|world| {
        assert_eq!(world.memory.write_back(&world.machine, object, 0..1), Ok(1));
    });
    assert_eq!(flushes, 1);
    assert_eq!(load(&world), 7, "at the old address, too");
    assert_eq!(world.memory.reclaim(&world.machine, 1), Ok(1), "from both");
}

#[test]
fn huge_pages_may_have_storage() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    let backing = Backing::object(object, 0, pages(1).start);
    let page_size = PageSize::Large(HUGE_LEVEL);
    let vma = Vma { backing, page_size, sharing: Sharing::Shared, ..Vma::anonymous(Protection::READ_WRITE) };
    world.space.map(&world.machine, &world.memory, pages(1024), vma);
    world.space.populate(&world.machine, &world.memory, pages(1024), Access::Write).expect("mapped");
    let flushes = world.flushes_of(|world| {
        assert_eq!(world.space.clean(&world.machine, &world.memory, pages(1024)), Ok(2));
    });
    assert_eq!(flushes, 2);
    world.space.populate(&world.machine, &world.memory, pages(1), Access::Write).expect("mapped");
    let flushes = world.flushes_of(|world| world.space.unmap(&world.machine, &world.memory, pages(1024)));
    assert_eq!(flushes, 2, "the one that was stored to, before the tables");
    assert_eq!(world.memory.reclaim(&world.machine, 10), Ok(2));
    assert_eq!(world.platter.n_transfers(), (2, 3));
}

#[test]
fn there_is_nothing_to_be_had_from_no_storage() {
    let world = World::new();
    let machine = &world.machine;
    let memory: Memory<_, NoStorage> = Memory::new();
    let object = memory.new_stored_object(machine);
    let space = AddressSpace::create(machine, machine.new_space(), Habits::LAWFUL).expect("there is memory");
    let backing = Backing::object(object, 0, pages(1).start);
    let vma = Vma { backing, ..Vma::anonymous(Protection::READ_WRITE) };
    space.map(machine, &memory, pages(1), vma);
    let read = space.fault(machine, &memory, pages(1).start, Access::Read);
    assert_eq!(read, Err(FaultError::Storage(StorageError(0))));
    space.destroy(machine, &memory);
}
