//! How many flushes it takes when pages of objects are unmapped, written back and reclaimed.

use std::rc::Rc;

use shootdown::{Counter, CpuId, SpaceId, Vpn, VpnRange, arch::x86_64::X86_64};
use shootdown_mm::{Access, AddressSpace, Backing, Habits, Memory, ObjectId, Protection, Sharing, Vma};

use crate::disk::{Disk, Platter};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;

/// The first page of a table of level 1.
const HERE: Vpn = Vpn(0x7f00_0000);
const PER_TABLE: u64 = 512;

/// A machine with two CPUs, a disk, and one address space that both CPUs have loaded.
pub(crate) struct World {
    pub(crate) machine: Sequential,
    pub(crate) memory: Memory<Sequential, Disk>,
    pub(crate) platter: Rc<Platter>,
    pub(crate) space: AddressSpace<Sequential>,
}

impl World {
    pub(crate) fn new() -> World {
        let machine = Sequential::new(2, &[]);
        let disk = Disk::default();
        let platter = Rc::clone(&disk.0);
        let space = AddressSpace::create(&machine, machine.new_space(), Habits::LAWFUL).expect("there is memory");
        let world = World { machine, memory: Memory::with_storage(disk), platter, space };
        world.load(world.space.id());
        world
    }

    /// Lets both CPUs load an address space, and CPU 0 act.
    pub(crate) fn load(&self, space: SpaceId) {
        for cpu in [1, 0] {
            self.machine.act_on(CpuId(cpu));
            self.machine.switch_to(space);
        }
    }

    /// Maps an object from its first page on, and brings all of its pages in.
    pub(crate) fn map(&self, object: ObjectId, sharing: Sharing, range: VpnRange, access: Access) {
        self.map_in(&self.space, object, sharing, range, access);
    }

    pub(crate) fn map_in(
        &self,
        space: &AddressSpace<Sequential>,
        object: ObjectId,
        sharing: Sharing,
        range: VpnRange,
        access: Access,
    ) {
        let backing = Backing::object(object, 0, range.start);
        let vma = Vma { sharing, backing, ..Vma::anonymous(Protection::READ_WRITE) };
        space.map(&self.machine, &self.memory, range, vma);
        space.populate(&self.machine, &self.memory, range, access).expect("mapped");
    }

    /// Runs `operate` and returns how many flush operations it took; nothing may be stale afterwards, and nobody may have
    /// been able to store to what was written out.
    pub(crate) fn flushes_of(&self, operate: impl FnOnce(&World)) -> u64 {
        let before = self.machine.counter(Counter::Flush);
        operate(self);
        self.machine.operation_returned(self.space.id());
        assert_eq!(self.machine.take_stale_accesses(), []);
        assert_eq!(self.platter.take_writers(), []);
        self.machine.counter(Counter::Flush) - before
    }

    fn clean(&self, range: VpnRange) -> u64 {
        self.space.clean(&self.machine, &self.memory, range).expect("the disk works")
    }

    fn reclaim(&self, n_pages: u64) -> u64 {
        self.memory.reclaim(&self.machine, n_pages).expect("the disk works")
    }
}

pub(crate) fn pages(n_pages: u64) -> VpnRange {
    VpnRange::from_len(HERE, n_pages)
}

#[test]
fn what_was_stored_to_is_one_flush_a_table_and_one_more_if_tables_go() {
    for n_tables in [1, 3] {
        for (access, n_flushes) in [(Access::Write, n_tables), (Access::Read, 1)] {
            let world = World::new();
            let range = pages(n_tables * PER_TABLE);
            for object in [world.memory.new_object(&world.machine), world.memory.new_stored_object(&world.machine)] {
                world.map(object, Sharing::Shared, range, access);
                let flushes = world.flushes_of(|world| world.space.discard(&world.machine, &world.memory, range));
                assert_eq!(flushes, n_flushes, "{n_tables} tables, {access:?}");
                world.space.populate(&world.machine, &world.memory, range, access).expect("mapped");
                let flushes = world.flushes_of(|world| world.space.unmap(&world.machine, &world.memory, range));
                let for_tables = u64::from(access == Access::Write);
                assert_eq!(flushes, n_flushes + for_tables, "{n_tables} tables, {access:?}, with the tables");
            }
        }
    }
}

/// Each of two areas in one table leaves the reverse map by itself.
#[test]
fn areas_that_were_stored_to_are_flushed_one_by_one() {
    let world = World::new();
    for start in [0, 100] {
        let object = world.memory.new_stored_object(&world.machine);
        let range = VpnRange::from_len(Vpn(HERE.0 + start), 10);
        world.map(object, Sharing::Shared, range, Access::Write);
    }
    let flushes = world.flushes_of(|world| world.space.unmap(&world.machine, &world.memory, pages(200)));
    assert_eq!(flushes, 3);
}

#[test]
fn private_copies_are_one_flush_however_many_tables() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Private, pages(3 * PER_TABLE), Access::Write);
    let flushes = world.flushes_of(|world| world.space.unmap(&world.machine, &world.memory, pages(3 * PER_TABLE)));
    assert_eq!(flushes, 1);
}

/// Without batch pages a gather holds seven frames: it flushes more often, and no page counts as clean for it.
#[test]
fn without_batch_pages_there_are_more_flushes_and_nothing_is_lost() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(PER_TABLE), Access::Write);
    world.machine.limit_batches(Some(0));
    let flushes = world.flushes_of(|world| world.space.discard(&world.machine, &world.memory, pages(PER_TABLE)));
    assert_eq!(flushes, PER_TABLE.div_ceil(7));
    assert_eq!(world.machine.n_frames_freed(), 0, "the object has them");
    let flushes = world.flushes_of(|world| {
        assert_eq!(world.memory.write_back(&world.machine, object, 0..u64::MAX), Ok(PER_TABLE));
    });
    assert_eq!(flushes, 0, "nobody maps them any more");
}

#[test]
fn write_back_flushes_once_for_each_page_that_was_stored_to() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(8), Access::Read);
    for page in [0, 3, 5] {
        let page = VpnRange::from_len(Vpn(HERE.0 + page), 1);
        world.space.populate(&world.machine, &world.memory, page, Access::Write).expect("mapped");
    }
    assert_eq!(world.flushes_of(|world| assert_eq!(world.clean(pages(4)), 2)), 2);
    assert_eq!(world.flushes_of(|world| assert_eq!(world.clean(pages(8)), 1)), 1);
    assert_eq!(world.flushes_of(|world| assert_eq!(world.clean(pages(8)), 0)), 0);
    world.space.populate(&world.machine, &world.memory, pages(1), Access::Write).expect("the next store is noticed");
    assert_eq!(world.flushes_of(|world| assert_eq!(world.clean(pages(8)), 1)), 1);
    assert_eq!(world.platter.n_transfers(), (8, 4));
}

#[test]
fn write_back_flushes_for_each_mapping_that_was_stored_through() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(2), Access::Write);
    let others = [Access::Write, Access::Read].map(|access| {
        let id = world.machine.new_space();
        let space = AddressSpace::create(&world.machine, id, Habits::LAWFUL).expect("there is memory");
        world.load(id);
        world.map_in(&space, object, Sharing::Shared, pages(1), access);
        space
    });
    let flushes = world.flushes_of(|world| assert_eq!(world.clean(pages(2)), 2));
    assert_eq!(flushes, 2 + 1, "each page here, one of them elsewhere");
    world.load(world.space.id());
    others.into_iter().for_each(|space| space.destroy(&world.machine, &world.memory));
    assert_eq!(world.clean(pages(2)), 0, "nobody has stored through the others since");
}

#[test]
fn reclaim_flushes_once_for_thirty_two_pages() {
    for access in [Access::Read, Access::Write] {
        for (n_pages, n_flushes) in [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3)] {
            let world = World::new();
            let object = world.memory.new_stored_object(&world.machine);
            world.map(object, Sharing::Shared, pages(n_pages), access);
            let flushes = world.flushes_of(|world| assert_eq!(world.reclaim(n_pages), n_pages));
            assert_eq!(flushes, n_flushes, "{n_pages} pages, {access:?}");
            assert_eq!(world.machine.n_frames_freed(), n_pages);
            let n_written = if access == Access::Write { n_pages } else { 0 };
            assert_eq!(world.platter.n_transfers(), (n_pages, n_written));
        }
    }
}

#[test]
fn reclaim_flushes_for_each_address_space() {
    let world = World::new();
    let object = world.memory.new_stored_object(&world.machine);
    world.map(object, Sharing::Shared, pages(16), Access::Write);
    let other = AddressSpace::create(&world.machine, world.machine.new_space(), Habits::LAWFUL).expect("memory");
    world.map_in(&other, object, Sharing::Private, pages(16), Access::Read);
    let flushes = world.flushes_of(|world| assert_eq!(world.reclaim(100), 16));
    assert_eq!(flushes, 2);
    other.destroy(&world.machine, &world.memory);
}
