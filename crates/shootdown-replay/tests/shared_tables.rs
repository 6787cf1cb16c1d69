//! What it costs to leave page tables that others share, beside what Linux was measured to do.
//!
//! Linux counts are interrupts for function calls (`CAL` of /proc/interrupts) for each operation, of Debian's kernels 6.12.73,
//! which interrupts all CPUs for each table, and 6.12.74, which has the fix (8ce720d5bd91), on emulated CPUs: huge pages of
//! 2 MiB in a shared mapping at a multiple of 1 GiB, of which one page in each GiB is touched.

use shootdown::{Counter, CpuId, Fix, Level, Vpn, VpnRange, arch::x86_64::X86_64, walk::Walkers};
use shootdown_mm::{Access, AddressSpace, Backing, Memory, ObjectId, PageSize, Protection, Sharing, Vma};
use shootdown_replay::Profile;
use shootdown_sim::sequential::{EndOfWalks, HUGE_LEVEL};

type Sequential = shootdown_sim::sequential::Sequential<X86_64>;

const HERE: Vpn = Vpn(0x6_0000_0000);
/// What one table of huge pages translates.
const GIB: u64 = Level(3).pages::<X86_64>();
/// What 6.12.73 does not do.
const ONCE: [Fix; 2] = [Fix::QuiesceOnce, Fix::QuiesceForLastOnly];

fn area(n_tables: u64) -> VpnRange {
    VpnRange::from_len(HERE, n_tables * GIB)
}

/// A kernel like Linux, and a file of huge pages.
struct World {
    machine: Sequential,
    memory: Memory<Sequential>,
    object: ObjectId,
    n_tables: u64,
}

type Process = AddressSpace<Sequential>;

impl World {
    fn new(machine: Sequential, n_tables: u64) -> World {
        for cpu in (0..machine.n_cpus()).rev() {
            machine.act_on(CpuId(cpu as u16));
            machine.arrive();
        }
        let memory = Memory::new();
        let object = memory.new_object(&machine);
        World { machine, memory, object, n_tables }
    }

    fn process(&self) -> Process {
        let id = self.machine.new_space();
        AddressSpace::create(&self.machine, id, Profile::LINUX_6_18.habits).expect("there is memory")
    }

    fn map_and_touch(&self, process: &Process) {
        let file = Vma {
            sharing: Sharing::Shared,
            backing: Backing::object(self.object, 0, HERE),
            page_size: PageSize::Large(HUGE_LEVEL),
            ..Vma::anonymous(Protection::READ_WRITE)
        };
        process.map(&self.machine, &self.memory, area(self.n_tables), file);
        self.touch(process);
    }

    fn touch(&self, process: &Process) {
        self.machine.switch_to(process.id());
        for table in 0..self.n_tables {
            let page = Vpn(HERE.0 + table * GIB);
            process.fault(&self.machine, &self.memory, page, Access::Write).expect("there is memory");
        }
    }

    /// A process that has touched what is mapped, whose tables those that come after it share.
    fn standing(&self) -> Process {
        let process = self.process();
        self.map_and_touch(&process);
        process
    }

    fn fork_and_touch(&self, parent: &Process) -> Process {
        self.machine.switch_to(parent.id());
        let child = parent.fork(&self.machine, &self.memory, self.machine.new_space()).expect("there is memory");
        self.touch(&child);
        child
    }

    fn exit(&self, process: Process) {
        self.machine.go_lazy();
        let id = process.id();
        process.destroy(&self.machine, &self.memory);
        self.machine.forget_space(id);
    }

    fn munmap(&self, process: &Process) {
        self.machine.switch_to(process.id());
        process.unmap(&self.machine, &self.memory, area(self.n_tables));
        self.machine.operation_returned(process.id());
    }

    /// How many rounds of interrupts there were while `operate` ran, and for how many CPUs; nothing is stale afterwards.
    fn rounds(&self, operate: impl FnOnce(&World)) -> (u64, u64) {
        let count = || [Counter::Quiescence, Counter::QuiescenceRequest].map(|of| self.machine.counter(of));
        let before = count();
        operate(self);
        assert_eq!(self.machine.take_stale_accesses(), []);
        let [rounds, requests] = count();
        (rounds - before[0], requests - before[1])
    }
}

/// What is done once and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    ForkTouchExit,
    MapTouchMunmap,
    /// The first, while somebody beside the parent has the tables.
    ThirdSharer,
}

impl Case {
    const fn name(self) -> &'static str {
        match self {
            Case::ForkTouchExit => "fork + touch + exit",
            Case::MapTouchMunmap => "map + touch + munmap",
            Case::ThirdSharer => "fork + touch + exit, a third sharer",
        }
    }

    /// Interrupts for walks that one of it takes. There are no others: no other CPU has ever run these processes.
    fn requests(self, machine: Sequential, n_tables: u64) -> u64 {
        let world = World::new(machine, n_tables);
        let parent = world.standing();
        let others = (self == Case::ThirdSharer).then(|| world.fork_and_touch(&parent));
        let (_, requests) = world.rounds(|world| match self {
            Case::ForkTouchExit | Case::ThirdSharer => world.exit(world.fork_and_touch(&parent)),
            Case::MapTouchMunmap => {
                let process = world.process();
                world.map_and_touch(&process);
                world.munmap(&process);
                world.exit(process);
            }
        });
        assert_eq!(world.machine.counter(Counter::RemoteRequest), requests);
        for process in others.into_iter().chain([parent]) {
            world.exit(process);
        }
        world.memory.drop_object(&world.machine, world.object);
        assert_eq!(world.machine.n_frames_held(), 0, "{}", self.name());
        requests
    }

    /// What Linux was measured to do, before the fix and after it.
    fn on_linux(self, n_cpus: usize, n_tables: u64) -> Option<(u64, u64)> {
        match (self, n_cpus, n_tables) {
            (Case::ForkTouchExit, 4, 1) => Some((3, 3)),
            (Case::ForkTouchExit, 4, 4) => Some((12, 3)),
            (Case::ForkTouchExit, 4, 16) => Some((48, 3)),
            (Case::ForkTouchExit | Case::MapTouchMunmap, 4, 64) => Some((192, 3)),
            (Case::ThirdSharer, 4, 64) => Some((192, 0)),
            (Case::ForkTouchExit, 8, 64) => Some((448, 7)),
            _ => None,
        }
    }
}

fn linux(n_cpus: usize, left_out: &[Fix]) -> Sequential {
    let Profile { masks, end_of_walks, .. } = Profile::LINUX_6_18;
    Sequential::new(n_cpus, left_out).with_masks(masks).with_end_of_walks(end_of_walks)
}

#[test]
fn leaving_shared_tables_costs_what_linux_was_measured_to_pay() {
    let mut table = format!(
        "interrupts for walks that one operation takes; in brackets Linux 6.12.73 and 6.12.74, measured\n\
         {:<36} {:>4} {:>6} {:>16} {:>14} {:>10} {:>10}\n",
        "", "CPUs", "tables", "for each table", "for all", "announced", "by flush"
    );
    for case in [Case::ForkTouchExit, Case::MapTouchMunmap, Case::ThirdSharer] {
        for n_cpus in [2, 4, 8, 64] {
            for n_tables in [1, 4, 16, 64] {
                let others = n_cpus as u64 - 1;
                let for_each = case.requests(linux(n_cpus, &ONCE), n_tables);
                let for_all = case.requests(linux(n_cpus, &[]), n_tables);
                let announced = case.requests(linux(n_cpus, &[]).with_walkers(Walkers::Announced), n_tables);
                let by_flush = case.requests(linux(n_cpus, &[]).with_end_of_walks(EndOfWalks::Flush), n_tables);
                let measured = case.on_linux(n_cpus, n_tables);
                let [before, after] = [measured.map(|linux| linux.0), measured.map(|linux| linux.1)]
                    .map(|count| count.map_or(String::new(), |count| format!(" [{count}]")));
                table += &format!(
                    "{:<36} {n_cpus:>4} {n_tables:>6} {:>16} {:>14} {announced:>10} {by_flush:>10}\n",
                    case.name(),
                    format!("{for_each}{before}"),
                    format!("{for_all}{after}"),
                );
                assert_eq!(for_each, n_tables * others, "{case:?}");
                assert_eq!(for_all, if case == Case::ThirdSharer { 0 } else { others }, "{case:?}");
                assert_eq!((announced, by_flush), (0, 0), "{case:?}: nobody walks");
                assert!(measured.is_none_or(|linux| linux == (for_each, for_all)), "{case:?}: {measured:?}");
            }
        }
    }
    print!("{table}");
}

/// 100 children of a standing parent in all, so many at a time: each touches all tables before the first of them leaves.
fn rounds_of_children(n_at_a_time: u64, left_out: &[Fix], by_exit: bool) -> u64 {
    const N_TABLES: u64 = 64;
    let world = World::new(linux(2, left_out), N_TABLES);
    let parent = world.standing();
    let (rounds, _) = world.rounds(|world| {
        for _ in 0..100 / n_at_a_time {
            let children: Vec<Process> = (0..n_at_a_time).map(|_| world.fork_and_touch(&parent)).collect();
            for child in &children {
                if !by_exit {
                    world.munmap(child);
                }
            }
            children.into_iter().for_each(|child| world.exit(child));
        }
    });
    rounds
}

/// As counted on Linux 6.18.44, of which 5 at a time was not, with processes that wait for each other at barriers.
#[test]
fn children_that_live_together_leave_with_one_round() {
    let mut table = format!(
        "rounds of interrupts for 100 children of 64 tables each\n{:>13} {:>6} {:>8} {:>15}\n",
        "at a time", "exit", "munmap", "for each table"
    );
    for n_at_a_time in [1, 2, 4, 5, 10, 20] {
        let by_exit = rounds_of_children(n_at_a_time, &[], true);
        let by_munmap = rounds_of_children(n_at_a_time, &[], false);
        let for_each = rounds_of_children(n_at_a_time, &ONCE, true);
        table += &format!("{n_at_a_time:>13} {by_exit:>6} {by_munmap:>8} {for_each:>15}\n");
        assert_eq!((by_exit, by_munmap), (100 / n_at_a_time, 100 / n_at_a_time));
        assert_eq!(for_each, 6400);
    }
    print!("{table}");
}
