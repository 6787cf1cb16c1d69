//! Tables of huge pages that several address spaces have: who takes one in, who leaves it, and what is left.

use shootdown::{Counter, CpuId, Frame, Level, Pfn, Vpn, VpnRange, arch::x86_64::X86_64};
use shootdown_mm::{
    Access, AddressSpace, Backing, Exit, FaultError, Habits, Keep, LargeTables, Memory, ObjectId, PageSize, Protection,
    Resolution, Sharing, Vma,
};
use shootdown_sim::sequential::{EndOfWalks, HUGE_LEVEL};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;
type Process = AddressSpace<Sequential>;

/// What one table of huge pages translates.
const TABLE: u64 = Level(3).pages::<X86_64>();
const HUGE: u64 = HUGE_LEVEL.pages::<X86_64>();
const HERE: Vpn = Vpn(8 * TABLE);
const ELSEWHERE: Vpn = Vpn(32 * TABLE);
const SHARES: Habits = Habits { large_tables: LargeTables::Shared, ..Habits::LAWFUL };
const READ_ONLY: Protection = Protection { read: true, write: false, execute: false };

/// Two CPUs, and a file of huge pages. Every process runs on CPU 0 when something is done for it.
struct World {
    machine: Sequential,
    memory: Memory<Sequential>,
    file: ObjectId,
}

impl World {
    fn new() -> World {
        let machine = Sequential::new(2, &[]).with_end_of_walks(EndOfWalks::OwnRound);
        for cpu in [1, 0] {
            machine.act_on(CpuId(cpu));
            machine.arrive();
        }
        let memory = Memory::new();
        let file = memory.new_object(&machine);
        World { machine, memory, file }
    }

    fn process(&self, habits: Habits) -> Process {
        AddressSpace::create(&self.machine, self.machine.new_space(), habits).expect("there is memory")
    }

    fn map(&self, process: &Process, range: VpnRange, first: u64, protection: Protection) {
        let vma = Vma {
            protection,
            sharing: Sharing::Shared,
            backing: Backing::object(self.file, first, range.start),
            page_size: PageSize::Large(HUGE_LEVEL),
        };
        process.map(&self.machine, &self.memory, range, vma);
    }

    /// A process that maps the first two tables of the file.
    fn with_file(&self) -> Process {
        let process = self.process(SHARES);
        self.map(&process, tables(0, 2), 0, Protection::READ_WRITE);
        process
    }

    fn fault(&self, process: &Process, page: Vpn, access: Access) -> Result<Resolution, FaultError> {
        self.machine.switch_to(process.id());
        process.fault(&self.machine, &self.memory, page, access)
    }

    fn touch(&self, process: &Process, page: Vpn) -> Pfn {
        self.fault(process, page, Access::Write).expect("there is memory");
        process.translate(&self.machine, page).expect("it is mapped").0
    }

    /// Runs `operate` for `process` and looks that nothing stale is left; returns how often walks were waited for.
    fn rounds(&self, process: &Process, operate: impl FnOnce(&World)) -> u64 {
        let before = self.count(Counter::Quiescence);
        self.machine.switch_to(process.id());
        operate(self);
        self.machine.operation_returned(process.id());
        assert_eq!(self.machine.take_stale_accesses(), []);
        self.count(Counter::Quiescence) - before
    }

    fn count(&self, counter: Counter) -> u64 {
        self.machine.counter(counter)
    }

    /// Whether a process reaches a page by a table that others may have.
    fn shares(&self, process: &Process, page: Vpn) -> bool {
        let is_there = process.translate(&self.machine, page).is_some();
        is_there && process.entry_of(&self.machine, page).is_none()
    }

    fn exit(&self, process: Process) {
        self.machine.go_lazy();
        process.destroy(&self.machine, &self.memory);
    }

    /// Ends all, and looks that nothing is left.
    fn finish(self, processes: impl IntoIterator<Item = Process>) {
        processes.into_iter().for_each(|process| self.exit(process));
        self.memory.drop_object(&self.machine, self.file);
        assert_eq!(self.machine.take_stale_accesses(), []);
        assert_eq!(self.machine.n_frames_held(), 0);
    }
}

fn tables(first: u64, n: u64) -> VpnRange {
    VpnRange::from_len(Vpn(HERE.0 + first * TABLE), n * TABLE)
}

fn page(table: u64, index: u64) -> Vpn {
    Vpn(HERE.0 + table * TABLE + index * HUGE)
}

#[test]
fn a_childs_fault_takes_in_the_parents_table_and_finds_its_pages() {
    let world = World::new();
    let parent = world.with_file();
    let frame = world.touch(&parent, page(0, 3));
    let child = parent.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
    assert_eq!(child.translate(&world.machine, page(0, 3)), None, "a fork copies nothing of it");
    let held = world.machine.n_frames_held();
    assert_eq!(world.fault(&child, page(0, 3), Access::Write), Ok(Resolution::Spurious));
    assert_eq!(child.translate(&world.machine, page(0, 3)), Some((frame, HUGE_LEVEL)));
    assert_eq!(world.machine.n_frames_held(), held + 1, "the table above, and no page");
    // What one of them maps is there for both, and may be stored to at once.
    assert_eq!(world.fault(&child, page(0, 4), Access::Read), Ok(Resolution::Mapped));
    assert_eq!(world.fault(&parent, page(0, 4), Access::Write), Ok(Resolution::Spurious));
    assert_eq!(world.count(Counter::TableShared), 1);
    world.finish([parent, child]);
}

#[test]
fn who_is_left_alone_with_a_table_has_its_pages_still() {
    let world = World::new();
    let (parent, child) = (world.with_file(), world.with_file());
    let frame = world.touch(&parent, page(0, 0));
    assert_eq!(world.touch(&child, page(0, 0)), frame);
    let rounds = world.rounds(&parent, |world| parent.unmap(&world.machine, &world.memory, tables(0, 2)));
    assert_eq!((rounds, world.count(Counter::TableExclusive)), (1, 1));
    assert_eq!(child.translate(&world.machine, page(0, 0)), Some((frame, HUGE_LEVEL)));
    let rounds = world.rounds(&child, |world| child.unmap(&world.machine, &world.memory, tables(0, 2)));
    assert_eq!((rounds, world.count(Counter::TableUnshared)), (0, 1), "nobody else has it any more");
    world.finish([parent, child]);
}

#[test]
fn ragged_ends_and_other_permissions_are_not_shared() {
    let world = World::new();
    let (first, second, third) = (world.process(SHARES), world.process(SHARES), world.process(SHARES));
    let ragged = VpnRange::new(Vpn(HERE.0 - HUGE), Vpn(HERE.0 + 2 * TABLE + HUGE));
    world.map(&first, ragged, 0, Protection::READ_WRITE);
    world.map(&second, ragged, 0, Protection::READ_WRITE);
    world.map(&third, ragged, 0, READ_ONLY);
    let pages = [ragged.start, page(0, 5), page(1, 5), page(2, 0)];
    let frames = pages.map(|page| world.touch(&first, page));
    assert_eq!(pages.map(|page| world.touch(&second, page)), frames);
    assert_eq!(pages.map(|page| world.shares(&second, page)), [false, true, true, false]);
    for page in pages {
        assert_eq!(world.fault(&third, page, Access::Read), Ok(Resolution::Mapped));
        assert!(!world.shares(&third, page));
    }
    world.finish([first, second, third]);
}

#[test]
fn an_unmap_in_the_middle_leaves_the_whole_table() {
    let world = World::new();
    let (parent, child) = (world.with_file(), world.with_file());
    let pages = [page(0, 0), page(0, 7), page(0, 9), page(1, 0)];
    let frames = pages.map(|page| world.touch(&parent, page));
    pages.iter().for_each(|page| assert!(frames.contains(&world.touch(&child, *page))));
    let hole = VpnRange::from_len(page(0, 7), HUGE);
    assert_eq!(world.rounds(&child, |world| child.unmap(&world.machine, &world.memory, hole)), 1);
    assert_eq!(child.translate(&world.machine, page(0, 0)), None, "it faults again");
    assert_eq!(world.fault(&child, page(0, 7), Access::Read), Err(FaultError::NoMapping(page(0, 7))));
    assert_eq!(world.touch(&child, page(0, 0)), frames[0]);
    assert_eq!(pages.map(|page| world.shares(&child, page)), [false, false, false, true]);
    assert_eq!(pages.map(|page| parent.translate(&world.machine, page).map(|to| to.0)), frames.map(Some));
    world.finish([parent, child]);
}

#[test]
fn a_change_of_permissions_leaves_tables_and_others_with_the_same_are_found_again() {
    let world = World::new();
    let (parent, child) = (world.with_file(), world.with_file());
    let frame = world.touch(&parent, page(0, 0));
    world.touch(&child, page(0, 0));
    let protect = |process: &Process, protection| {
        world.rounds(process, |world| process.protect(&world.machine, &world.memory, tables(0, 2), protection))
    };
    assert_eq!(protect(&child, READ_ONLY), 1);
    assert_eq!(world.fault(&child, page(0, 0), Access::Read), Ok(Resolution::Mapped));
    assert!(!world.shares(&child, page(0, 0)));
    assert_eq!(protect(&child, READ_ONLY), 0, "nothing changes");
    // Its table, of its own, may be stored through when it is taken in.
    assert_eq!(protect(&parent, READ_ONLY), 0);
    assert_eq!(protect(&parent, Protection::READ_WRITE), 0);
    assert_eq!(protect(&child, Protection::READ_WRITE), 0);
    let third = world.with_file();
    assert_eq!(world.touch(&third, page(0, 0)), frame);
    assert!(world.shares(&third, page(0, 0)));
    world.finish([parent, child, third]);
}

#[test]
fn a_part_that_was_dropped_is_offered_again_as_a_whole() {
    let world = World::new();
    let (parent, child) = (world.with_file(), world.with_file());
    let frame = world.touch(&parent, page(0, 0));
    let range = VpnRange::from_len(page(0, 5), 2 * HUGE);
    world.rounds(&parent, |world| parent.discard(&world.machine, &world.memory, range));
    assert_eq!(world.touch(&child, page(0, 0)), frame);
    assert!(world.shares(&child, page(0, 0)));
    assert_eq!(world.rounds(&child, |world| child.discard(&world.machine, &world.memory, range)), 1);
    assert_eq!(child.translate(&world.machine, page(0, 0)), None);
    assert_eq!(world.touch(&child, page(0, 0)), frame);
    assert!(world.shares(&child, page(0, 0)), "the area is as it was");
    world.finish([parent, child]);
}

#[test]
fn areas_that_are_put_together_give_tables_that_none_of_them_had() {
    let world = World::new();
    let (parent, child) = (world.process(SHARES), world.with_file());
    let (first, rest) = (page(0, 0), VpnRange::new(page(0, 3), page(2, 0)));
    world.map(&parent, VpnRange::new(first, rest.start), 0, Protection::READ_WRITE);
    world.map(&parent, rest, 3 * HUGE, READ_ONLY);
    let frame = world.touch(&parent, first);
    parent.protect(&world.machine, &world.memory, rest, Protection::READ_WRITE);
    assert_eq!(world.touch(&child, first), frame);
    assert!(world.shares(&child, first));
    // Taken apart and put together again.
    world.rounds(&child, |world| child.unmap(&world.machine, &world.memory, rest));
    assert_eq!(world.touch(&child, first), frame);
    assert!(!world.shares(&child, first));
    world.map(&child, rest, 3 * HUGE, Protection::READ_WRITE);
    let third = world.with_file();
    world.exit(parent);
    assert_eq!(world.touch(&third, first), frame);
    assert!(world.shares(&third, first) && world.shares(&child, first));
    // Made longer, an area has all of the table.
    world.exit(child);
    let grown = world.process(SHARES);
    world.map(&grown, VpnRange::new(first, rest.start), 0, Protection::READ_WRITE);
    assert_eq!(world.touch(&grown, first), frame);
    assert!(!world.shares(&grown, first));
    grown.resize(&world.machine, &world.memory, VpnRange::new(first, rest.start), 2 * TABLE);
    world.exit(third);
    let last = world.with_file();
    assert_eq!(world.touch(&last, first), frame);
    assert!(world.shares(&last, first));
    world.finish([grown, last]);
}

#[test]
fn a_move_leaves_tables_and_has_them_where_it_goes() {
    let world = World::new();
    let (parent, child) = (world.with_file(), world.with_file());
    let frames = [page(0, 1), page(1, 1)].map(|page| world.touch(&parent, page));
    world.touch(&child, page(0, 1));
    for keeping in [Keep::Mapping, Keep::Nothing] {
        let to = VpnRange::from_len(ELSEWHERE, 2 * TABLE);
        let rounds = world.rounds(&child, |world| {
            let moved = child.relocate(&world.machine, &world.memory, tables(0, 2), to, keeping);
            moved.expect("there is memory");
        });
        assert_eq!(rounds, 1);
        let there = [ELSEWHERE.0 + HUGE, ELSEWHERE.0 + TABLE + HUGE].map(Vpn);
        assert_eq!(there.map(|page| world.touch(&child, page)), frames);
        assert_eq!(there.map(|page| world.shares(&child, page)), [true, true]);
        if keeping == Keep::Mapping {
            // Both places of the same address space have the table then.
            assert_eq!(world.touch(&child, page(0, 1)), frames[0]);
            child.unmap(&world.machine, &world.memory, to);
            assert!(world.shares(&child, page(0, 1)));
        }
    }
    world.finish([parent, child]);
}

#[test]
fn without_memory_nothing_is_shared_and_nothing_lost() {
    let world = World::new();
    let (parent, child) = (world.with_file(), world.with_file());
    let frame = world.touch(&parent, page(0, 0));
    for n_left in 0.. {
        world.machine.limit_frames(Some(n_left));
        match world.fault(&child, page(0, 0), Access::Write) {
            Err(error) => assert_eq!(error, FaultError::OutOfMemory),
            Ok(_) => break,
        }
    }
    world.machine.limit_frames(None);
    assert_eq!(child.translate(&world.machine, page(0, 0)), Some((frame, HUGE_LEVEL)));
    assert!(world.shares(&child, page(0, 0)));
    world.exit(child);
    assert_eq!(world.count(Counter::TableExclusive), 1, "offers that came to nothing were given back");
    world.finish([parent]);
}

#[test]
fn who_makes_his_own_tables_may_be_asked_for_them() {
    let world = World::new();
    let own = world.process(Habits::LAWFUL);
    world.map(&own, tables(0, 2), 0, Protection::READ_WRITE);
    let (shares, other) = (world.with_file(), world.process(Habits::LAWFUL));
    world.map(&other, tables(0, 2), 0, Protection::READ_WRITE);
    for process in [&own, &shares, &other] {
        world.touch(process, page(0, 0));
    }
    assert_eq!([&own, &shares, &other].map(|process| world.shares(process, page(0, 0))), [true, true, false]);
    world.finish([shares, own, other]);
}

#[test]
fn what_has_begun_to_exit_is_no_sharer_and_gives_no_table() {
    for exit in [Exit::Flushes, Exit::Quietly] {
        let world = World::new();
        let parent = world.process(Habits { exit, ..SHARES });
        world.map(&parent, tables(0, 2), 0, Protection::READ_WRITE);
        let child = parent.fork(&world.machine, &world.memory, world.machine.new_space()).expect("there is memory");
        let frame = world.touch(&parent, page(0, 0));
        world.touch(&child, page(0, 0));
        world.machine.go_lazy();
        child.begin_exit(&world.machine, &world.memory);
        assert_eq!((world.count(Counter::TableExclusive), world.count(Counter::QuiescenceRequest)), (1, 1));
        world.exit(parent);
        let late = world.with_file();
        assert_eq!(world.touch(&late, page(0, 0)), frame, "the file has it");
        assert_eq!(world.count(Counter::TableShared), 1);
        world.exit(child);
        world.finish([late]);
    }
}

#[test]
fn base_pages_and_private_mappings_have_tables_of_their_own() {
    let world = World::new();
    for (sharing, page_size) in [(Sharing::Private, PageSize::Large(HUGE_LEVEL)), (Sharing::Shared, PageSize::Base)] {
        let backing = Backing::object(world.file, 0, HERE);
        let vma = Vma { protection: Protection::READ_WRITE, sharing, backing, page_size };
        let processes = [0, 1].map(|_| world.process(SHARES));
        for process in &processes {
            process.map(&world.machine, &world.memory, tables(0, 1), vma);
            world.touch(process, HERE);
        }
        processes.into_iter().for_each(|process| world.exit(process));
        world.memory.drop_object(&world.machine, world.file);
    }
    assert_eq!(world.count(Counter::TableShared), 0);
    world.finish([]);
}

/// Nobody who takes a frame back goes into tables that others have: so a driver's are never in one.
#[test]
fn a_large_frame_that_a_driver_takes_back_is_reached_by_nobody() {
    let world = World::new();
    let world = World { file: world.memory.new_driver_object(&world.machine), ..world };
    let (first, second) = (world.with_file(), world.with_file());
    let frame = shootdown::page::allocate(&world.machine, HUGE_LEVEL).expect("there is memory");
    world.memory.lend(&world.machine, world.file, 0, frame).expect("nothing is lent yet");
    let lent = world.touch(&first, HERE);
    assert_eq!(world.touch(&second, HERE), lent);
    assert!(!world.shares(&first, HERE) && !world.shares(&second, HERE));
    let revoked = world.memory.revoke(&world.machine, world.file, 0..1);
    assert_eq!(revoked.iter().map(Frame::pfn).collect::<Vec<_>>(), [lent]);
    assert!(revoked.iter().all(|frame| shootdown::page::is_last(&world.machine, frame)), "somebody still maps it");
    assert_eq!(world.fault(&first, HERE, Access::Read), Err(FaultError::NotLent(HERE)));
    revoked.into_iter().for_each(|frame| shootdown::page::drop_reference(&world.machine, frame));
    world.finish([first, second]);
}

#[test]
fn a_fault_takes_in_the_tables_that_follow_if_it_is_to() {
    let world = World::new();
    let parent = world.process(SHARES);
    world.map(&parent, tables(0, 6), 0, Protection::READ_WRITE);
    // All but the fourth have a table.
    let frames = [0, 1, 2, 4, 5].map(|table| world.touch(&parent, page(table, 0)));
    let child = world.process(Habits { large_tables: LargeTables::SharedAhead { n_tables: 4 }, ..SHARES });
    world.map(&child, tables(0, 6), 0, Protection::READ_WRITE);
    let taken_in = |world: &World| world.count(Counter::TableShared);
    assert_eq!(world.touch(&child, page(1, 0)), frames[1]);
    assert_eq!(taken_in(&world), 2, "this one and the next, and then there is none");
    let translate = |table| child.translate(&world.machine, page(table, 0)).map(|(frame, _)| frame);
    assert_eq!([0, 1, 2, 3, 4].map(translate), [None, Some(frames[1]), Some(frames[2]), None, None]);
    assert_eq!(world.touch(&child, page(4, 0)), frames[3]);
    assert_eq!(taken_in(&world), 4, "up to the end of the area");
    assert_eq!(world.touch(&child, page(0, 0)), frames[0]);
    assert_eq!(taken_in(&world), 5, "the next one is there already");
    world.rounds(&child, |world| child.unmap(&world.machine, &world.memory, tables(0, 6)));
    assert_eq!(world.touch(&parent, page(2, 0)), frames[2]);
}
