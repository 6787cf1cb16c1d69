//! Random operations of several processes on several CPUs, held against a model that knows each store.
//!
//! The model gives each store a number, and knows what every page of every process must show. Memory and storage fail at
//! random. Whatever happens: what a page shows is the last store to it; when a write-back has returned, storage has the last
//! store to each of its pages; a crash loses nothing that had been written back; while a page is written out nobody can store to it;
//! and what was cut out of an object, or taken back by a driver, is reached by nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use shootdown::{
    CpuId, Fix, Level, Vpn, VpnRange,
    arch::{alpha::Alpha, x86_64::X86_64},
    notify::Registration,
    page,
};
use shootdown_mm::{
    Access, AddressSpace, Backing, FaultError, Habits, HoleError, Keep, Memory, ObjectId, ObjectPage, Protection,
    Sharing, Vma,
};
use shootdown_sim::sequential::{Architecture, Dma, IOMMU, Sequential};

use crate::disk::{BROKEN, Disk, Platter};

const N_CPUS: u16 = 3;
const MAX_PROCESSES: usize = 4;
/// The window in which processes map things: the end of one table of level 1, and the beginning of the next.
const BASE: u64 = 0x1555_0000 - N_PAGES / 2;
const N_PAGES: u64 = 96;
/// Two objects with storage, one without, and a driver's.
const N_OBJECTS: usize = 4;
/// Which one that is.
const DRIVERS: usize = 3;
/// What a driver's frame says when it is lent, and when it is the driver's own again.
const LENT: u64 = u64::MAX;
const DRIVERS_OWN: u64 = u64::MAX - 1;
const OBJECT_PAGES: u64 = 64;
const READ_ONLY: Protection = Protection { read: true, write: false, execute: false };

/// Some pages of the window, or of an object.
type Pages = (u64, u64);

/// What a process does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Map { pages: Pages, object: usize, first: u64, sharing: Sharing },
    Unmap(Pages),
    Discard(Pages),
    Protect(Pages, Protection),
    Move { from: Pages, to: u64, keeping: Keep },
    Use(Pages, Access),
    Clean(Pages),
    Fork,
    Exit,
    GoLazy,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A process does something on some CPU.
    Act {
        cpu: u16,
        process: usize,
        act: Act,
    },
    /// The kernel writes an object back.
    WriteBack {
        object: usize,
        pages: Pages,
    },
    /// The kernel wants memory.
    Reclaim(u64),
    /// Somebody cuts pages out of an object.
    PunchHole {
        object: usize,
        pages: Pages,
    },
    /// The driver lends frames where it has lent none, or takes all of them back.
    Lend(Pages),
    Revoke(Pages),
    LimitFrames(Option<u64>),
    LimitBatches(Option<u64>),
    BreakDisk(bool),
    /// Nothing is left but what storage has.
    Crash,
}

fn pages() -> impl Strategy<Value = Pages> {
    (0..N_PAGES, prop_oneof![3 => 1..9_u64, 1 => 1..N_PAGES]).prop_map(|(start, n)| (start, n.min(N_PAGES - start)))
}

fn act() -> impl Strategy<Value = Act> {
    let sharing = prop_oneof![3 => Just(Sharing::Shared), 1 => Just(Sharing::Private)];
    let keeping = prop_oneof![Just(Keep::Nothing), Just(Keep::Mapping)];
    let protection = prop_oneof![Just(READ_ONLY), Just(Protection::READ_WRITE)];
    prop_oneof![
        6 => (pages(), 0..N_OBJECTS, 0..OBJECT_PAGES, sharing)
            .prop_map(|(pages, object, first, sharing)| Act::Map { pages, object, first, sharing }),
        12 => (pages(), prop_oneof![Just(Access::Read), Just(Access::Write)])
            .prop_map(|(pages, access)| Act::Use(pages, access)),
        2 => pages().prop_map(Act::Unmap),
        1 => pages().prop_map(Act::Discard),
        2 => (pages(), protection).prop_map(|(pages, protection)| Act::Protect(pages, protection)),
        2 => (pages(), 0..N_PAGES, keeping).prop_map(|(from, to, keeping)| Act::Move { from, to, keeping }),
        2 => pages().prop_map(Act::Clean),
        2 => Just(Act::Fork),
        1 => Just(Act::Exit),
        1 => Just(Act::GoLazy),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let limit = || prop_oneof![2 => Just(None), 1 => (0..4_u64).prop_map(Some)];
    prop_oneof![
        24 => (0..N_CPUS, 0..MAX_PROCESSES, act()).prop_map(|(cpu, process, act)| Step::Act { cpu, process, act }),
        3 => (0..N_OBJECTS, pages()).prop_map(|(object, pages)| Step::WriteBack { object, pages }),
        3 => (1..2 * OBJECT_PAGES).prop_map(Step::Reclaim),
        2 => (0..N_OBJECTS, pages()).prop_map(|(object, pages)| Step::PunchHole { object, pages }),
        2 => pages().prop_map(Step::Lend),
        1 => pages().prop_map(Step::Revoke),
        1 => limit().prop_map(Step::LimitFrames),
        1 => limit().prop_map(Step::LimitBatches),
        1 => prop_oneof![2 => Just(false), 1 => Just(true)].prop_map(Step::BreakDisk),
        1 => Just(Step::Crash),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..120)
}

/// What the model knows of a page of a process.
#[derive(Clone, Copy, Debug)]
struct Shown {
    of: ObjectPage,
    sharing: Sharing,
    may_write: bool,
    // The last store to the copy, if this is a private mapping and there is one.
    copy: Option<u64>,
}

struct Process<A: Architecture> {
    space: AddressSpace<Sequential<A>>,
    shows: BTreeMap<u64, Shown>,
}

/// The last stores to the pages of objects.
#[derive(Default)]
struct Stores {
    n: u64,
    last: BTreeMap<ObjectPage, u64>,
    // The last ones that somebody was told are in storage.
    synced: BTreeMap<ObjectPage, u64>,
}

impl Stores {
    fn last(&self, page: ObjectPage) -> u64 {
        self.last.get(&page).copied().unwrap_or(0)
    }
}

struct World<A: Architecture> {
    machine: Sequential<A>,
    // Of a device that uses what the processes use.
    iommu: Registration,
    memory: Memory<Sequential<A>, Disk>,
    objects: [ObjectId; N_OBJECTS],
    // Pages that the driver has lent.
    lent: BTreeSet<u64>,
    processes: Vec<Process<A>>,
    platter: Rc<Platter>,
    stores: Stores,
    left_out: Vec<Fix>,
    has_memory: bool,
    disk_works: bool,
}

fn window((start, n): Pages) -> VpnRange {
    VpnRange::from_len(Vpn(BASE + start), n)
}

fn numbers(range: VpnRange) -> Range<u64> {
    range.start.0..range.end.0
}

impl<A: Architecture> World<A> {
    fn new(platter: Rc<Platter>, stores: Stores, left_out: &[Fix]) -> Self {
        let machine = Sequential::new(usize::from(N_CPUS), left_out).with_iommu();
        let iommu = Registration::new(&machine, IOMMU);
        let memory = Memory::with_storage(Disk(Rc::clone(&platter)));
        // The same ones after each crash.
        let objects = [
            memory.new_object(&machine),
            memory.new_stored_object(&machine),
            memory.new_stored_object(&machine),
            memory.new_driver_object(&machine),
        ];
        let space = AddressSpace::create(&machine, machine.new_space(), Habits::LAWFUL).expect("there is memory");
        machine.attach_device(&iommu, space.id()).expect("it lives");
        let processes = vec![Process { space, shows: BTreeMap::new() }];
        let left_out = left_out.to_vec();
        let lent = BTreeSet::new();
        World {
            machine,
            iommu,
            memory,
            objects,
            lent,
            processes,
            platter,
            stores,
            left_out,
            has_memory: true,
            disk_works: true,
        }
    }

    fn take(mut self, step: Step) -> Self {
        match step {
            Step::Act { cpu, process, act } => {
                let process = process % self.processes.len();
                self.machine.act_on(CpuId(cpu));
                self.machine.switch_to(self.processes[process].space.id());
                self.act(process, act);
            }
            Step::WriteBack { object, pages: (first, n) } => self.write_back(self.objects[object], first..first + n),
            Step::Reclaim(n_pages) => {
                let reclaimed = self.memory.reclaim(&self.machine, n_pages);
                assert!(reclaimed.is_ok() || !self.disk_works);
            }
            Step::PunchHole { object, pages: (first, n) } => self.punch_hole(object, first..first + n),
            Step::Lend((first, n)) => self.lend(first..first + n),
            Step::Revoke((first, n)) => self.revoke(first..first + n),
            Step::LimitFrames(n_left) => {
                self.has_memory = n_left.is_none();
                self.machine.limit_frames(n_left);
            }
            Step::LimitBatches(n_left) => self.machine.limit_batches(n_left),
            Step::BreakDisk(is_broken) => {
                self.disk_works = !is_broken;
                self.platter.break_down(is_broken);
            }
            Step::Crash => return self.crash(),
        }
        self.check();
        self
    }

    /// Nothing that was changed may still be used, and nobody may have been able to store to what was written out.
    fn check(&self) {
        for process in &self.processes {
            self.machine.operation_returned(process.space.id());
        }
        assert_eq!(self.platter.take_writers(), [], "somebody could store to a page that was written out");
        let stale = self.machine.take_stale_accesses();
        assert!(stale.is_empty() || !self.left_out.is_empty(), "{stale:?}");
    }

    fn act(&mut self, which: usize, act: Act) {
        let World { machine, memory, processes, .. } = self;
        let Process { space, shows } = &mut processes[which];
        match act {
            Act::Map { pages, object, first, sharing } => self.map(which, pages, (object, first), sharing),
            Act::Unmap(pages) => {
                space.unmap(machine, memory, window(pages));
                shows.retain(|page, _| !window(pages).contains(Vpn(*page)));
            }
            Act::Discard(pages) => {
                space.discard(machine, memory, window(pages));
                shows.range_mut(numbers(window(pages))).for_each(|(_, shown)| shown.copy = None);
            }
            Act::Protect(pages, protection) => {
                space.protect(machine, memory, window(pages), protection);
                shows.range_mut(numbers(window(pages))).for_each(|(_, shown)| shown.may_write = protection.write);
            }
            Act::Move { from, to, keeping } => self.relocate(which, from, to, keeping),
            Act::Use(pages, access) => {
                numbers(window(pages)).take(16).for_each(|page| self.access(which, page, access))
            }
            Act::Clean(pages) => self.clean(which, window(pages)),
            Act::Fork => self.fork(which),
            Act::Exit => self.exit(which),
            Act::GoLazy => machine.go_lazy(),
        }
    }

    fn map(&mut self, which: usize, pages: Pages, (object, first): (usize, u64), sharing: Sharing) {
        let (range, object) = (window(pages), self.objects[object]);
        let vma = Vma {
            sharing,
            backing: Backing::object(object, first, range.start),
            ..Vma::anonymous(Protection::READ_WRITE)
        };
        let Process { space, shows } = &mut self.processes[which];
        space.map(&self.machine, &self.memory, range, vma);
        shows.extend(numbers(range).map(|page| {
            let of = ObjectPage { object, index: page - range.start.0 + first };
            (page, Shown { of, sharing, may_write: true, copy: None })
        }));
    }

    /// Uses a page, and holds what it shows against the model.
    fn access(&mut self, which: usize, page: u64, access: Access) {
        let Process { space, shows } = &mut self.processes[which];
        let fault = space.fault(&self.machine, &self.memory, Vpn(page), access);
        let shown = shows.get_mut(&page);
        match fault {
            Err(FaultError::NoMapping(_)) => return assert!(shown.is_none()),
            Err(FaultError::Denied(_)) => {
                return assert!(access == Access::Write && shown.is_some_and(|it| !it.may_write));
            }
            Err(FaultError::OutOfMemory) => return assert!(!self.has_memory),
            Err(FaultError::NotLent(_)) => {
                return assert!(
                    shown.is_some_and(|it| it.of.object.is_of_driver() && !self.lent.contains(&it.of.index))
                );
            }
            Err(error) => return assert!(!self.disk_works && error == FaultError::Storage(BROKEN), "{error}"),
            Ok(_) => {}
        }
        let dma = if access == Access::Write { Dma::Write } else { Dma::Read };
        self.machine.touch(space.id(), Vpn(page), dma);
        let shown = shown.expect("what is not mapped cannot be used");
        let (frame, _) = space.translate(&self.machine, Vpn(page)).expect("it was used just now");
        if access == Access::Write {
            assert!(shown.may_write);
            self.stores.n += 1;
            self.platter.store(frame, self.stores.n);
            match shown.sharing {
                Sharing::Shared => drop(self.stores.last.insert(shown.of, self.stores.n)),
                Sharing::Private => shown.copy = Some(self.stores.n),
            }
        } else {
            let expected = shown.copy.unwrap_or(self.stores.last(shown.of));
            // Nobody zeroes the frames here.
            if expected != 0 || shown.of.object.is_stored() {
                assert_eq!(self.platter.load(frame), expected, "page {page:#x} of process {which}: {shown:?}");
            }
        }
    }

    /// A store to each page that was written back is in storage now.
    fn is_synced(&mut self, pages: impl Iterator<Item = ObjectPage>) {
        for page in pages.filter(|page| page.object.is_stored()) {
            assert_eq!(self.platter.page(page), self.stores.last(page), "{page:?} was written back");
            self.stores.synced.insert(page, self.stores.last(page));
        }
    }

    fn write_back(&mut self, object: ObjectId, pages: Range<u64>) {
        match self.memory.write_back(&self.machine, object, pages.clone()) {
            Ok(_) => self.is_synced(pages.map(|index| ObjectPage { object, index })),
            Err(error) => assert!(!self.disk_works && error == BROKEN),
        }
    }

    /// The model's own copies of private mappings stay.
    fn punch_hole(&mut self, which: usize, pages: Range<u64>) {
        let object = self.objects[which];
        match self.memory.punch_hole(&self.machine, object, pages.clone()) {
            Ok(()) => {
                let is_in = |page: &ObjectPage| page.object == object && pages.contains(&page.index);
                self.stores.last.retain(|page, _| !is_in(page));
                self.stores.synced.retain(|page, _| !is_in(page));
                if which == DRIVERS {
                    self.lent.retain(|index| !pages.contains(index));
                }
            }
            Err(error) => assert!(!self.disk_works && error == HoleError::Storage(BROKEN), "{error}"),
        }
    }

    fn lend(&mut self, pages: Range<u64>) {
        for index in pages {
            let Ok(frame) = page::allocate(&self.machine, Level::LEAF) else { return };
            let pfn = frame.pfn();
            match self.memory.lend(&self.machine, self.objects[DRIVERS], index, frame) {
                Ok(()) => {
                    assert!(self.lent.insert(index));
                    self.platter.store(pfn, LENT);
                    self.stores.last.insert(ObjectPage { object: self.objects[DRIVERS], index }, LENT);
                }
                Err(frame) => {
                    assert!(self.lent.contains(&index));
                    page::drop_reference(&self.machine, frame);
                }
            }
        }
    }

    /// What comes back is the driver's alone: it uses it, and then gives it back.
    fn revoke(&mut self, pages: Range<u64>) {
        let frames = self.memory.revoke(&self.machine, self.objects[DRIVERS], pages.clone());
        let n_lent = self.lent.range(pages.clone()).count();
        assert_eq!(frames.len(), n_lent);
        self.lent.retain(|index| !pages.contains(index));
        for frame in frames {
            assert!(page::is_last(&self.machine, &frame), "somebody maps what the driver has taken back");
            self.platter.store(frame.pfn(), DRIVERS_OWN);
            let writer = self.machine.writer_of(frame.pfn());
            assert_eq!(writer, None, "somebody could store to what the driver has taken back");
            page::drop_reference(&self.machine, frame);
        }
    }

    fn clean(&mut self, which: usize, range: VpnRange) {
        let Process { space, shows } = &self.processes[which];
        let shared = shows.range(numbers(range)).filter(|(_, shown)| shown.sharing == Sharing::Shared);
        let pages: Vec<ObjectPage> = shared.map(|(_, shown)| shown.of).collect();
        match space.clean(&self.machine, &self.memory, range) {
            Ok(_) => self.is_synced(pages.into_iter()),
            Err(error) => assert!(!self.disk_works && error == BROKEN),
        }
    }

    fn relocate(&mut self, which: usize, (start, n): Pages, to: u64, keeping: Keep) {
        let n = n.min(N_PAGES - to);
        let (from, to) = (window((start, n)), window((to, n)));
        let Process { space, shows } = &mut self.processes[which];
        let is_one_mapping = space.vma_at(&self.machine, from.start).is_some_and(|(range, _)| range.covers(from));
        if !is_one_mapping || !from.intersection(to).is_empty() {
            return;
        }
        let moved = space.relocate(&self.machine, &self.memory, from, to, keeping);
        assert!(moved.is_ok() || !self.has_memory);
        shows.retain(|page, _| !to.contains(Vpn(*page)));
        for page in numbers(from) {
            let there = page - from.start.0 + to.start.0;
            let mut shown = shows[&page];
            // Where there was no memory for a table it is still here.
            if shown.copy.is_some() && space.translate(&self.machine, Vpn(page)).is_some() {
                assert!(moved.is_err());
                shown.copy = None;
            } else if keeping == Keep::Nothing && moved.is_ok() {
                shows.remove(&page);
            } else {
                shows.entry(page).and_modify(|left| left.copy = None);
            }
            shows.insert(there, shown);
        }
    }

    fn fork(&mut self, which: usize) {
        if self.processes.len() == MAX_PROCESSES {
            return;
        }
        let (id, Process { space, shows }) = (self.machine.new_space(), &self.processes[which]);
        match space.fork(&self.machine, &self.memory, id) {
            Ok(space) => {
                self.machine.attach_device(&self.iommu, id).expect("it lives");
                let shows = shows.clone();
                self.processes.push(Process { space, shows });
            }
            Err(_) => {
                assert!(!self.has_memory);
                self.machine.forget_space(id);
            }
        }
    }

    fn exit(&mut self, which: usize) {
        if self.processes.len() == 1 {
            return;
        }
        self.make_all_lazy();
        let Process { space, .. } = self.processes.swap_remove(which);
        let id = space.id();
        space.destroy(&self.machine, &self.memory);
        self.machine.forget_space(id);
    }

    fn make_all_lazy(&self) {
        for cpu in 0..N_CPUS {
            self.machine.act_on(CpuId(cpu));
            self.machine.go_lazy();
        }
    }

    /// What storage has is what there is now; it is no older than what somebody was told is there.
    fn crash(self) -> Self {
        let World { platter, mut stores, left_out, .. } = self;
        stores.last.retain(|page, last| {
            let kept = platter.page(*page);
            let synced = stores.synced.get(page).copied().unwrap_or(0);
            assert!((synced..=*last).contains(&kept), "{page:?}: {kept} is left of {last}, {synced} was synced");
            *last = kept;
            page.object.is_stored()
        });
        platter.crash();
        platter.break_down(false);
        World::new(platter, stores, &left_out)
    }

    /// Everything that was ever stored is to be seen, and after a last write-back it is in storage. Then nothing is left.
    fn finish(mut self) {
        self.machine.limit_frames(None);
        self.machine.limit_batches(None);
        self.platter.break_down(false);
        (self.has_memory, self.disk_works) = (true, true);
        for which in 0..self.processes.len() {
            let pages: Vec<u64> = self.processes[which].shows.keys().copied().collect();
            pages.into_iter().for_each(|page| self.access(which, page, Access::Read));
        }
        self.objects.into_iter().for_each(|object| self.write_back(object, 0..OBJECT_PAGES + N_PAGES));
        self.check();
        self.make_all_lazy();
        let World { machine, memory, processes, objects, left_out, .. } = self;
        processes.into_iter().for_each(|process| process.space.destroy(&machine, &memory));
        let stale = machine.take_stale_accesses();
        assert!(stale.is_empty() || !left_out.is_empty(), "{stale:?}");
        memory.reclaim(&machine, u64::MAX).expect("the disk works");
        memory.drop_object(&machine, objects[0]);
        memory.drop_object(&machine, objects[DRIVERS]);
        assert_eq!(machine.n_frames_held(), 0, "somebody has lost a frame");
    }
}

fn runs<A: Architecture>(steps: Vec<Step>, left_out: &[Fix]) {
    let world = World::<A>::new(Rc::default(), Stores::default(), left_out);
    steps.into_iter().fold(world, World::take).finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_store_is_lost(steps in steps()) {
        runs::<X86_64>(steps, &[]);
    }

    #[test]
    fn no_store_is_lost_on_alpha(steps in steps()) {
        runs::<Alpha>(steps, &[]);
    }
}

/// The same steps find who could store to a page while it was written out, when something is left out.
#[test]
fn what_is_left_out_is_noticed() {
    for fix in [Fix::FlushRemote, Fix::WaitForAcks, Fix::FlushBeforeWrite, Fix::RecordChanges, Fix::TellDevices] {
        let mut runner = TestRunner::deterministic();
        let result = runner.run(&steps(), |steps| {
            runs::<X86_64>(steps, &[fix]);
            Ok(())
        });
        let found = result.expect_err(fix.name()).to_string();
        assert!(found.contains("somebody could store"), "without {}: {found}", fix.name());
    }
}
