//! Random operations of several processes that map the same file of huge pages, held against a model that knows which page
//! of the file is to be where: whoever has a table with whom, all find the same frame for the same page of the file, and
//! nothing that they may not.

use std::collections::BTreeMap;

use shootdown::{Attributes, Counter, CpuId, Fix, Level, Machine, Pfn, Vpn, VpnRange, arch::x86_64::X86_64};
use shootdown_mm::{
    Access, AddressSpace, Backing, Exit, FaultError, Habits, Keep, LargeTables, Memory, ObjectId, OutOfMemory,
    PageSize, Protection, Sharing, Vma,
};
use shootdown_sim::sequential::{HUGE_LEVEL, Masks, StaleAccess};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;
type Process = AddressSpace<Sequential>;

const N_CPUS: u16 = 3;
/// Base pages of a huge page.
const HUGE: u64 = HUGE_LEVEL.pages::<X86_64>();
/// Huge pages that one table translates.
const TABLE: u64 = Level(3).pages::<X86_64>() / HUGE;
const N_TABLES: u64 = 4;
/// The huge page where all happens.
const BASE: u64 = 8 * TABLE;
const END: u64 = BASE + N_TABLES * TABLE;
const READ_ONLY: Protection = Protection { read: true, write: false, execute: false };

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn is_one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A huge page near a boundary of tables, so that different operations come upon the same ones; nearly always.
    fn huge_page(&mut self) -> u64 {
        let within = if self.is_one_in(16) { self.below(TABLE) } else { [0, 1, 2, TABLE - 1][self.below(4) as usize] };
        BASE + self.below(N_TABLES) * TABLE + within
    }

    /// Huge pages, often whole tables.
    fn range(&mut self) -> (u64, u64) {
        let (one, other) = if self.is_one_in(2) {
            (BASE + self.below(N_TABLES) * TABLE, BASE + (1 + self.below(N_TABLES)) * TABLE)
        } else {
            (self.huge_page(), self.huge_page() + 1)
        };
        (one.min(other), one.max(other).max(one + 1).min(END))
    }
}

fn pages((start, end): (u64, u64)) -> VpnRange {
    VpnRange::new(Vpn(start * HUGE), Vpn(end * HUGE))
}

/// What is to be at a huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shows {
    /// The page of the file; none for private memory of base pages.
    index: Option<u64>,
    protection: Protection,
}

type Model = BTreeMap<u64, Shows>;

struct World {
    machine: Sequential,
    memory: Memory<Sequential>,
    file: ObjectId,
    processes: Vec<(Process, Model)>,
    random: Random,
    // The frame of each page of the file that was seen.
    frames: BTreeMap<u64, Pfn>,
}

impl World {
    fn new(seed: u64, masks: Masks, left_out: &[Fix]) -> World {
        let machine = Sequential::new(usize::from(N_CPUS), left_out).with_masks(masks);
        for cpu in 0..N_CPUS {
            machine.act_on(CpuId(cpu));
            machine.arrive();
        }
        let mut random = Random(seed);
        let exit = if random.is_one_in(2) { Exit::Flushes } else { Exit::Quietly };
        let habits = Habits { large_tables: LargeTables::Shared, exit, ..Habits::LAWFUL };
        // One of them makes its own tables, and may be asked for them all the same.
        let processes = [habits, habits, Habits { large_tables: LargeTables::Own, ..habits }].map(|habits| {
            let space = AddressSpace::create(&machine, machine.new_space(), habits).expect("there is memory");
            (space, Model::new())
        });
        let memory = Memory::new();
        let file = memory.new_object(&machine);
        World { machine, memory, file, processes: processes.into(), random, frames: BTreeMap::new() }
    }

    /// One operation of some process on some CPU, and what the model makes of it.
    fn step(&mut self) {
        let which = self.random.below(self.processes.len() as u64) as usize;
        self.machine.act_on(CpuId(self.random.below(u64::from(N_CPUS)) as u16));
        self.machine.switch_to(self.processes[which].0.id());
        let World { machine, memory, processes, random, file, .. } = self;
        let n_processes = processes.len();
        let (process, model) = &mut processes[which];
        let range = random.range();
        match random.below(16) {
            0 | 1 => map_file(machine, memory, process, model, random, *file),
            2 if random.is_one_in(2) => {
                process.map(machine, memory, pages(range), Vma::anonymous(Protection::READ_WRITE));
                let shows = Shows { index: None, protection: Protection::READ_WRITE };
                model.extend((range.0..range.1).map(|page| (page, shows)));
            }
            3 => {
                process.unmap(machine, memory, pages(range));
                model.retain(|page, _| !(range.0..range.1).contains(page));
            }
            4 => process.discard(machine, memory, pages(range)),
            5 => protect(machine, memory, process, model, random),
            6 => relocate(machine, memory, process, model, random),
            7 if n_processes < 6 => {
                if let Ok(child) = process.fork(machine, memory, machine.new_space()) {
                    let model = model.clone();
                    processes.push((child, model));
                }
            }
            8 if n_processes > 1 && random.is_one_in(2) => return self.exit(which),
            9 => machine.go_lazy(),
            _ => fault(machine, memory, process, model, random),
        }
        self.machine.operation_returned(self.processes[which].0.id());
    }

    fn exit(&mut self, which: usize) {
        let (gone, _) = self.processes.swap_remove(which);
        for cpu in 0..N_CPUS {
            self.machine.act_on(CpuId(cpu));
            self.machine.go_lazy();
        }
        if self.random.is_one_in(2) {
            gone.begin_exit(&self.machine, &self.memory);
        }
        let id = gone.id();
        gone.destroy(&self.machine, &self.memory);
        self.machine.forget_space(id);
    }

    /// Holds every translation against the model.
    fn compare(&mut self) {
        for (process, model) in &self.processes {
            let tables = self.machine.space(process.id()).expect("it lives").lock(&self.machine);
            for page in BASE..END {
                let first = Vpn(page * HUGE);
                let own =
                    tables.next_leaf(VpnRange::from_len(first, HUGE)).map(|leaf| (leaf.frame(), leaf.attributes()));
                let found = tables.find_shared(first).map(|found| (found.frame, found.attributes));
                assert!(own.is_none() || found.is_none(), "huge page {page:#x} is there twice");
                match (own.or(found), model.get(&page)) {
                    (None, _) => {}
                    (Some(_), None) => panic!("huge page {page:#x} is there"),
                    (Some(_), Some(Shows { index: None, .. })) => assert!(found.is_none(), "private memory is shared"),
                    (Some((frame, to)), Some(Shows { index: Some(index), protection })) => {
                        let Attributes { writable, user, .. } = to;
                        assert_eq!(*self.frames.entry(*index).or_insert(frame), frame, "page {index} of the file");
                        assert_eq!((writable, user), (protection.write, protection.read), "huge page {page:#x}");
                    }
                }
            }
        }
    }
}

/// Maps the file from where it always is, or a table or a page further on.
fn map_file(
    machine: &Sequential,
    memory: &Memory<Sequential>,
    process: &Process,
    model: &mut Model,
    random: &mut Random,
    file: ObjectId,
) {
    let range = random.range();
    let shift = [0, 0, 0, TABLE, 1][random.below(5) as usize];
    let protection = if random.is_one_in(4) { READ_ONLY } else { Protection::READ_WRITE };
    let vma = Vma {
        protection,
        sharing: Sharing::Shared,
        backing: Backing::object(file, (range.0 - BASE + shift) * HUGE, Vpn(range.0 * HUGE)),
        page_size: PageSize::Large(HUGE_LEVEL),
    };
    process.map(machine, memory, pages(range), vma);
    model.extend((range.0..range.1).map(|page| (page, Shows { index: Some(page - BASE + shift), protection })));
}

fn protect(
    machine: &Sequential,
    memory: &Memory<Sequential>,
    process: &Process,
    model: &mut Model,
    random: &mut Random,
) {
    let range = random.range();
    let to = [READ_ONLY, Protection::READ_WRITE, Protection::READ_WRITE, Protection::NONE][random.below(4) as usize];
    process.protect(machine, memory, pages(range), to);
    model.range_mut(range.0..range.1).for_each(|(_, shows)| shows.protection = to);
}

fn relocate(
    machine: &Sequential,
    memory: &Memory<Sequential>,
    process: &Process,
    model: &mut Model,
    random: &mut Random,
) {
    let (from, to) = (random.range(), random.range().0);
    let n_pages = (from.1 - from.0).min(END - to);
    let (from, to) = ((from.0, from.0 + n_pages), (to, to + n_pages));
    let is_file = model.get(&from.0).is_some_and(|shows| shows.index.is_some());
    let vma = process.vma_at(machine, Vpn(from.0 * HUGE));
    if !is_file || !vma.is_some_and(|(area, _)| area.covers(pages(from))) || from.0 < to.1 && to.0 < from.1 {
        return;
    }
    let keeping = if random.is_one_in(2) { Keep::Nothing } else { Keep::Mapping };
    let result = process.relocate(machine, memory, pages(from), pages(to), keeping);
    model.retain(|page, _| !(to.0..to.1).contains(page));
    let moved: Vec<(u64, Shows)> =
        model.range(from.0..from.1).map(|(page, shows)| (page - from.0 + to.0, *shows)).collect();
    if result != Err(OutOfMemory) && keeping == Keep::Nothing {
        model.retain(|page, _| !(from.0..from.1).contains(page));
    }
    model.extend(moved);
}

fn fault(machine: &Sequential, memory: &Memory<Sequential>, process: &Process, model: &Model, random: &mut Random) {
    for _ in 0..8 {
        let page = random.huge_page();
        let access = if random.is_one_in(2) { Access::Read } else { Access::Write };
        let result = process.fault(machine, memory, Vpn(page * HUGE + random.below(HUGE)), access);
        match (model.get(&page), result) {
            (_, Err(FaultError::OutOfMemory)) => {}
            (None, result) => assert!(matches!(result, Err(FaultError::NoMapping(_))), "{result:?}"),
            (Some(shows), result) => {
                assert_eq!(result.is_ok(), shows.protection.allows(access), "huge page {page:#x}: {result:?}");
            }
        }
    }
}

/// Runs random operations; returns what the machine found, and how many tables were taken in.
fn run(seed: u64, masks: Masks, left_out: &[Fix], n_steps: u64) -> (Vec<StaleAccess>, u64) {
    let mut world = World::new(seed, masks, left_out);
    for step in 0..n_steps {
        world.machine.set_time(step * 10_000_000);
        let fails = world.random.is_one_in(4);
        world.machine.limit_frames(fails.then(|| world.random.below(4)));
        world.machine.limit_batches(world.random.is_one_in(2).then_some(0));
        world.step();
        if step % 8 == 0 && left_out.is_empty() {
            world.compare();
        }
    }
    world.machine.limit_frames(None);
    let stale = world.machine.take_stale_accesses();
    if left_out.is_empty() {
        while !world.processes.is_empty() {
            world.exit(0);
        }
        world.memory.drop_object(&world.machine, world.file);
        assert_eq!(world.machine.take_stale_accesses(), [], "seed {seed}, {masks:?}");
        assert!(world.machine.n_frames_held() <= 1, "seed {seed}: more than the page of zeroes is left");
    }
    (stale, world.machine.counter(Counter::TableShared))
}

const ALL_MASKS: [Masks; 2] = [Masks::Exact, Masks::Trimmed { interval_ns: 1_000_000_000 }];

#[test]
fn everybody_finds_the_files_pages_and_nothing_is_left() {
    let mut n_shared = 0;
    for seed in 1..=16 {
        for masks in ALL_MASKS {
            let (stale, n) = run(seed, masks, &[], 1_000);
            assert_eq!((stale.len(), stale.first()), (0, None), "seed {seed}, {masks:?}");
            n_shared += n;
        }
    }
    assert!(n_shared > 1_000, "{n_shared} tables were taken in");
}

#[test]
fn leaving_a_table_without_a_flush_is_seen() {
    for fix in [Fix::RecordUnshared, Fix::FlushRemote] {
        for masks in ALL_MASKS {
            assert!(!run(1, masks, &[fix], 1_000).0.is_empty(), "{}, {masks:?}", fix.name());
        }
    }
}
