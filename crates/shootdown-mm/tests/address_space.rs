//! Address spaces on the sequential machine: what is mapped, what is shared, what is flushed and what is freed.

use shootdown::{
    Attributes, Counter, CpuId, EntryAt, EntryFormat, Pfn, Strength, VirtAddr, Vpn, VpnRange, arch::x86_64::X86_64,
};
use shootdown_mm::{
    Access, AddressSpace, Backing, Contents, FaultError, Habits, Keep, LastSharer, Memory, OutOfMemory, PageSize,
    Protection, Resolution, Sharing, Vma,
};
use shootdown_sim::sequential::HUGE_LEVEL;

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;

const HERE: Vpn = Vpn(0x7f00_0000);

/// A machine with two CPUs and one address space, in use on CPU 0.
struct World {
    machine: Sequential,
    memory: Memory<Sequential>,
    space: AddressSpace<Sequential>,
}

impl World {
    fn new() -> World {
        World::with(Habits::LAWFUL)
    }

    fn with(habits: Habits) -> World {
        let machine = Sequential::new(2, &[]);
        let space = AddressSpace::create(&machine, machine.new_space(), habits).expect("there is memory");
        machine.act_on(CpuId(0));
        machine.switch_to(space.id());
        World { machine, memory: Memory::new(), space }
    }

    fn map(&self, range: VpnRange, vma: Vma) {
        self.space.map(&self.machine, &self.memory, range, vma);
    }

    fn fault(&self, page: Vpn, access: Access) -> Result<Resolution, FaultError> {
        self.space.fault(&self.machine, &self.memory, page, access)
    }

    fn frame(&self, page: Vpn) -> Option<Pfn> {
        self.space.translate(&self.machine, page).map(|(frame, _)| frame)
    }

    /// Runs `operate` and returns how many flush operations it took; nothing may be stale afterwards.
    fn flushes_of(&self, operate: impl FnOnce(&World)) -> u64 {
        let before = self.machine.counter(Counter::FlushLocal);
        operate(self);
        self.machine.operation_returned(self.space.id());
        assert_eq!(self.machine.take_stale_accesses(), []);
        self.machine.counter(Counter::FlushLocal) - before
    }
}

fn pages(n_pages: u64) -> VpnRange {
    VpnRange::from_len(HERE, n_pages)
}

fn anonymous() -> Vma {
    Vma::anonymous(Protection::READ_WRITE)
}

fn object(world: &World, sharing: Sharing) -> Vma {
    let object = world.memory.new_object(&world.machine);
    Vma { sharing, backing: Backing::object(object, 0, HERE), ..anonymous() }
}

#[test]
fn a_read_maps_zeroes_and_a_later_write_copies_them_with_one_flush() {
    let world = World::new();
    world.map(pages(2), anonymous());
    assert_eq!(world.fault(HERE, Access::Read), Ok(Resolution::Mapped));
    assert_eq!(world.fault(Vpn(HERE.0 + 1), Access::Read), Ok(Resolution::Mapped));
    assert_eq!(world.frame(HERE), world.frame(Vpn(HERE.0 + 1)), "both are the page of zeroes");
    let flushes = world.flushes_of(|world| assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Copied)));
    assert_eq!(flushes, 1);
    assert_ne!(world.frame(HERE), world.frame(Vpn(HERE.0 + 1)));
    assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Spurious));
}

#[test]
fn faults_outside_of_mappings_and_against_their_protection_are_errors() {
    let world = World::new();
    world.map(pages(1), Vma::anonymous(Protection { read: true, write: false, execute: false }));
    assert_eq!(world.fault(Vpn(HERE.0 + 1), Access::Read), Err(FaultError::NoMapping(Vpn(HERE.0 + 1))));
    assert_eq!(world.fault(HERE, Access::Write), Err(FaultError::Denied(HERE)));
    assert_eq!(world.frame(HERE), None);
}

#[test]
fn the_last_sharer_writes_without_a_copy() {
    let world = World::new();
    world.map(pages(1), anonymous());
    world.fault(HERE, Access::Write).expect("mapped");
    let first = world.space.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
    let second = first.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
    assert_eq!(first.fault(&world.machine, &world.memory, HERE, Access::Write), Ok(Resolution::Copied));
    second.destroy(&world.machine, &world.memory);
    let flushes = world.flushes_of(|world| assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Granted)));
    assert_eq!(flushes, 0, "a page with one user is only made writable");
}

#[test]
fn habits_cost_flushes_and_requests_that_the_law_does_not_ask_for() {
    let remote_of_fork = |habits| {
        let world = World::with(habits);
        world.machine.act_on(CpuId(1));
        world.machine.switch_to(world.space.id());
        world.machine.go_lazy();
        world.machine.act_on(CpuId(0));
        world.map(pages(1), anonymous());
        world.fault(HERE, Access::Write).expect("mapped");
        let child =
            world.space.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
        child.destroy(&world.machine, &world.memory);
        (world.machine.counter(Counter::RemoteRequest), world.fault(HERE, Access::Write))
    };
    assert_eq!(remote_of_fork(Habits::LAWFUL), (0, Ok(Resolution::Granted)));
    assert_eq!(remote_of_fork(Habits { fork: Strength::Walk, ..Habits::LAWFUL }), (1, Ok(Resolution::Granted)));
    let copies = Habits { last_sharer: LastSharer::Copies, ..Habits::LAWFUL };
    assert_eq!(remote_of_fork(copies), (0, Ok(Resolution::Copied)));
}

#[test]
fn aged_pages_are_flushed_once_until_they_are_used_again() {
    let world = World::new();
    world.map(pages(8), anonymous());
    world.fault(HERE, Access::Write).expect("mapped");
    world.fault(Vpn(HERE.0 + 1), Access::Read).expect("mapped");
    for contents in [Contents::Kept, Contents::Droppable] {
        let flushes = world.flushes_of(|world| world.space.age(&world.machine, pages(8), contents));
        assert_eq!(flushes, u64::from(contents == Contents::Kept), "{contents:?}: it was not used in between");
    }
    world.space.discard(&world.machine, &world.memory, pages(1));
    world.fault(HERE, Access::Write).expect("mapped");
    assert_eq!(world.flushes_of(|world| world.space.age(&world.machine, pages(8), Contents::Droppable)), 1);
}

#[test]
fn fork_write_protects_the_parent_with_one_flush() {
    let world = World::new();
    world.map(pages(100), anonymous());
    world.space.populate(&world.machine, &world.memory, pages(100), Access::Write).expect("mapped");
    let flushes = world.flushes_of(|world| {
        let child =
            world.space.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
        assert_eq!(child.translate(&world.machine, HERE), world.space.translate(&world.machine, HERE));
    });
    assert_eq!(flushes, 1);
    assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Copied));
}

#[test]
fn shared_pages_are_the_same_after_fork_and_private_file_pages_are_copied_on_write() {
    let world = World::new();
    let shared = object(&world, Sharing::Shared);
    world.map(pages(1), shared);
    world.fault(HERE, Access::Read).expect("mapped");
    let flushes = world.flushes_of(|world| assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Granted)));
    assert_eq!(flushes, 0);
    let child = world.space.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
    assert_eq!(child.translate(&world.machine, HERE), None, "shared pages are found again by faults");
    child.fault(&world.machine, &world.memory, HERE, Access::Write).expect("mapped");
    assert_eq!(child.translate(&world.machine, HERE).map(|(frame, _)| frame), world.frame(HERE));

    let there = Vpn(HERE.0 + 512);
    world.map(VpnRange::from_len(there, 1), Vma { sharing: Sharing::Private, ..shared });
    world.fault(there, Access::Read).expect("mapped");
    assert_eq!(world.flushes_of(|world| assert_eq!(world.fault(there, Access::Write), Ok(Resolution::Copied))), 1);
}

#[test]
fn unmapping_frees_pages_and_the_tables_that_become_empty() {
    let world = World::new();
    let before = world.machine.n_frames_held();
    world.map(pages(1024), anonymous());
    world.space.populate(&world.machine, &world.memory, pages(1024), Access::Write).expect("mapped");
    assert_eq!(world.machine.n_frames_held() - before, 1024 + 2 + 1 + 1);
    let flushes = world.flushes_of(|world| {
        world.space.unmap(&world.machine, &world.memory, VpnRange::from_len(Vpn(HERE.0 + 512), 512));
    });
    assert_eq!(flushes, 1);
    assert_eq!(world.machine.n_tables_freed(), 1, "one table of level 1; those above still lead somewhere");
    world.space.unmap(&world.machine, &world.memory, pages(512));
    assert_eq!(world.machine.n_tables_freed(), 4);
    assert_eq!(world.machine.n_frames_held(), before);
    assert_eq!(
        world.flushes_of(|world| world.space.unmap(&world.machine, &world.memory, pages(1024))),
        0,
        "nothing was there"
    );
}

#[test]
fn discarding_keeps_mapping_and_tables() {
    let world = World::new();
    world.map(pages(8), anonymous());
    world.space.populate(&world.machine, &world.memory, pages(8), Access::Write).expect("mapped");
    assert_eq!(world.flushes_of(|world| world.space.discard(&world.machine, &world.memory, pages(8))), 1);
    assert_eq!((world.machine.n_frames_freed(), world.machine.n_tables_freed()), (8, 0));
    assert_eq!(world.flushes_of(|world| world.space.discard(&world.machine, &world.memory, pages(8))), 0);
    assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Mapped));
}

#[test]
fn protection_changes_flush_only_what_is_mapped() {
    let world = World::new();
    world.map(pages(8), anonymous());
    let read_only = Protection { read: true, write: false, execute: false };
    assert_eq!(world.flushes_of(|world| world.space.protect(&world.machine, &world.memory, pages(8), read_only)), 0);
    world.space.protect(&world.machine, &world.memory, pages(8), Protection::READ_WRITE);
    world.fault(HERE, Access::Write).expect("mapped");
    assert_eq!(world.flushes_of(|world| world.space.protect(&world.machine, &world.memory, pages(8), read_only)), 1);
    assert_eq!(world.fault(HERE, Access::Write), Err(FaultError::Denied(HERE)));
    assert_eq!(
        world.flushes_of(|world| world.space.protect(&world.machine, &world.memory, pages(8), Protection::NONE)),
        1
    );
    assert_eq!(world.fault(HERE, Access::Read), Err(FaultError::Denied(HERE)));
    assert_eq!(
        world.flushes_of(|world| world.space.protect(&world.machine, &world.memory, pages(8), Protection::READ_WRITE)),
        0
    );
    assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Spurious), "an exclusive page is writable at once");
}

#[test]
fn a_moved_page_keeps_its_frame_and_its_owner() {
    let world = World::new();
    world.map(pages(600), anonymous());
    world.fault(HERE, Access::Write).expect("mapped");
    let frame = world.frame(HERE);
    let there = VpnRange::from_len(Vpn(HERE.0 + 0x10_0000), 1000);
    let flushes = world.flushes_of(|world| {
        world.space.relocate(&world.machine, &world.memory, pages(600), there, Keep::Nothing).expect("there is memory");
    });
    assert_eq!(flushes, 2, "one for the page, one for the tables it left");
    assert_eq!((world.frame(HERE), world.frame(there.start)), (None, frame));
    assert_eq!(world.fault(HERE, Access::Read), Err(FaultError::NoMapping(HERE)));
    assert_eq!(world.fault(there.start, Access::Write), Ok(Resolution::Spurious));
    assert_eq!(world.fault(Vpn(there.end.0 - 1), Access::Write), Ok(Resolution::Mapped), "it grew");
    world.space.resize(&world.machine, &world.memory, there, 1);
    assert_eq!(world.fault(Vpn(there.end.0 - 1), Access::Write), Err(FaultError::NoMapping(Vpn(there.end.0 - 1))));
}

#[test]
fn the_heap_grows_and_shrinks() {
    let world = World::new();
    let base = HERE.address::<X86_64>().0;
    world.space.set_brk(&world.machine, &world.memory, VirtAddr(base));
    world.space.set_brk(&world.machine, &world.memory, VirtAddr(base + 0x2001));
    assert_eq!(world.fault(Vpn(HERE.0 + 2), Access::Write), Ok(Resolution::Mapped));
    assert_eq!(
        world.flushes_of(|world| world.space.set_brk(&world.machine, &world.memory, VirtAddr(base + 0x1000))),
        1
    );
    assert_eq!(world.fault(Vpn(HERE.0 + 1), Access::Write), Err(FaultError::NoMapping(Vpn(HERE.0 + 1))));
    assert_eq!(world.fault(HERE, Access::Write), Ok(Resolution::Mapped));
}

#[test]
fn huge_pages_are_one_entry_each() {
    let world = World::new();
    let vma = Vma { page_size: PageSize::Large(HUGE_LEVEL), ..object(&world, Sharing::Shared) };
    world.map(pages(1024), vma);
    world.fault(Vpn(HERE.0 + 77), Access::Write).expect("mapped");
    assert_eq!(world.fault(Vpn(HERE.0 + 511), Access::Write), Ok(Resolution::Spurious));
    assert_eq!(world.frame(Vpn(HERE.0 + 512)), None);
    assert_eq!(world.flushes_of(|world| world.space.unmap(&world.machine, &world.memory, pages(1024))), 1);
    assert_eq!(world.machine.n_frames_freed(), 0, "the object still has the page");
}

/// What stands for a huge page where tables cannot map one: all of it comes with one fault, as far as the mapping goes,
/// and what is there already stays.
#[test]
fn a_run_of_base_pages_comes_at_once() {
    let world = World::new();
    let vma = Vma { page_size: PageSize::Run { n_pages: 8 }, ..anonymous() };
    world.map(VpnRange::from_len(Vpn(HERE.0 + 2), 12), vma);
    assert_eq!(world.fault(Vpn(HERE.0 + 5), Access::Read), Ok(Resolution::Mapped));
    let n_mapped = || (0..16).filter(|page| world.frame(Vpn(HERE.0 + page)).is_some()).count();
    assert_eq!(
        (n_mapped(), world.frame(Vpn(HERE.0 + 8))),
        (6, None),
        "the first two of the run are not in the mapping"
    );
    assert_eq!(
        world.fault(Vpn(HERE.0 + 2), Access::Write),
        Ok(Resolution::Spurious),
        "there is no large page of zeroes"
    );
    let kept = world.frame(Vpn(HERE.0 + 3));
    world.space.discard(&world.machine, &world.memory, VpnRange::from_len(Vpn(HERE.0 + 4), 1));
    world.fault(Vpn(HERE.0 + 4), Access::Write).expect("mapped");
    assert_eq!((n_mapped(), world.frame(Vpn(HERE.0 + 3))), (6, kept));
}

/// Nothing but the entry in a frame decides what a page translates to: whoever changes it changes the next walk.
#[test]
fn every_translation_is_an_entry_in_memory() {
    let world = World::new();
    world.map(pages(2), anonymous());
    world.fault(HERE, Access::Write).expect("mapped");
    let frame = world.frame(HERE).expect("mapped");
    let at: EntryAt = world.space.entry_of(&world.machine, HERE).expect("mapped");
    let raw = X86_64::leaf(Pfn(frame.0 + 7), HUGE_LEVEL.below().expect("level 1"), Attributes::USER_READ);
    world.machine.poke_entry(at, raw);
    assert_eq!(world.frame(HERE), Some(Pfn(frame.0 + 7)));
    world.machine.poke_entry(at, 0);
    assert_eq!(world.frame(HERE), None);
    assert_eq!(world.fault(HERE, Access::Read), Ok(Resolution::Mapped), "the fault believes memory, too");
}

/// The n-th allocation fails, for every n: an operation then says so or does without, and in the end nothing is lost.
#[test]
fn no_frame_is_lost_wherever_memory_runs_out() {
    let mut n_failed = 0;
    for n_left in 0..200 {
        let world = World::new();
        world.machine.limit_batches((n_left % 2 == 0).then_some(0));
        world.fault_in_zero_page();
        let before = world.machine.n_frames_held();
        world.machine.limit_frames(Some(n_left));
        n_failed += u32::from(use_memory(&world).is_err());
        world.machine.limit_frames(None);
        let World { machine, memory, space } = world;
        machine.go_lazy();
        space.destroy(&machine, &memory);
        assert_eq!(machine.n_frames_held() + 1, before, "allocation {n_left} failed; only the root is gone");
        assert_eq!(machine.take_stale_accesses(), []);
    }
    assert!((1..200).contains(&n_failed), "some limits are too small and some are not: {n_failed}");
}

impl World {
    fn fault_in_zero_page(&self) {
        self.map(pages(1), anonymous());
        self.fault(HERE, Access::Read).expect("mapped");
        self.space.unmap(&self.machine, &self.memory, pages(1));
    }
}

fn use_memory(world: &World) -> Result<(), FaultError> {
    let (machine, memory, space) = (&world.machine, &world.memory, &world.space);
    let out_of_memory = |OutOfMemory| FaultError::OutOfMemory;
    world.map(pages(40), anonymous());
    space.populate(machine, memory, pages(20), Access::Write)?;
    let child = space.fork(machine, memory, machine.new_space()).map_err(out_of_memory)?;
    let written = child.populate(machine, memory, pages(30), Access::Write);
    child.destroy(machine, memory);
    written?;
    space.populate(machine, memory, pages(40), Access::Read)?;
    let there = VpnRange::from_len(Vpn(HERE.0 + 0x4000_0000 - 20), 40);
    space.relocate(machine, memory, pages(40), there, Keep::Mapping).map_err(out_of_memory)?;
    space.populate(machine, memory, there, Access::Write)
}

#[test]
fn a_mapping_goes_where_there_is_room_for_it() {
    let world = World::new();
    let within = VpnRange::from_len(HERE, 64);
    let map = |n_pages, alignment| {
        world.space.map_anywhere(&world.machine, &world.memory, within, (n_pages, alignment), |_| anonymous())
    };
    world.map(VpnRange::from_len(Vpn(HERE.0 + 3), 5), anonymous());
    assert_eq!(map(3, 1), Some(VpnRange::from_len(HERE, 3)), "the lowest hole");
    assert_eq!(map(2, 16), Some(VpnRange::from_len(Vpn(HERE.0 + 16), 2)), "aligned");
    assert_eq!(map(8, 1), Some(VpnRange::from_len(Vpn(HERE.0 + 8), 8)), "between the two");
    assert_eq!(map(47, 1), None, "nowhere are so many");
    assert_eq!(map(46, 1), Some(VpnRange::from_len(Vpn(HERE.0 + 18), 46)), "up to the end");
    assert_eq!(map(1, 1), None, "there is no room left");
    assert_eq!(map(0, 1), None);
    assert!(world.fault(Vpn(HERE.0 + 63), Access::Write).is_ok());
}

#[test]
fn areas_far_apart_are_all_taken_apart() {
    let World { machine, memory, space } = World::new();
    let far: Vec<Vpn> = [0, 1 << 9, 1 << 18, 3 << 18, 1 << 27, 5 << 27].map(|distance| Vpn(HERE.0 + distance)).into();
    for page in &far {
        space.map(&machine, &memory, VpnRange::from_len(*page, 2), anonymous());
        space.fault(&machine, &memory, *page, Access::Write).expect("there is memory");
    }
    machine.go_lazy();
    space.destroy(&machine, &memory);
    assert_eq!(machine.take_stale_accesses(), []);
    assert_eq!(machine.counter(Counter::PageReleased), far.len() as u64);
}
