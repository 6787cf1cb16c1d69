//! Random operations of several processes on several CPUs, and of a device that all of them use, held against a model that
//! knows only contents.
//!
//! The model gives each store a number. Whatever the library does with frames, a page shows the last store to it: two
//! pages with different contents never share a frame, and one that can be written shares its frame with nobody.

use std::collections::{BTreeMap, HashMap};

use shootdown::{
    CpuId, Fix, Machine, Pfn, Vpn, VpnRange,
    arch::{alpha::Alpha, x86_64::X86_64},
    notify::Registration,
};
use shootdown_mm::{Access, AddressSpace, Contents, Habits, Keep, Memory, Protection, Vma};
use shootdown_sim::sequential::{Architecture, Dma, IOMMU, Masks, Sequential, StaleAccess};

const N_CPUS: u16 = 3;
const N_PAGES: u64 = 1200;
// Within reach of every architecture.
const BASE: u64 = 0x1555_0000;
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

    fn range(&mut self) -> VpnRange {
        let start = self.below(N_PAGES);
        let room = N_PAGES - start;
        let most = if self.below(4) == 0 { room } else { room.min(8) };
        let n_pages = 1 + self.below(most);
        VpnRange::from_len(Vpn(BASE + start), n_pages)
    }
}

/// What a page shows: the number of a store, or 0 for zeroes.
type Pages = BTreeMap<u64, (u64, Protection)>;

struct Process<A: Architecture> {
    space: AddressSpace<Sequential<A>>,
    model: Pages,
}

struct World<A: Architecture> {
    machine: Sequential<A>,
    memory: Memory<Sequential<A>>,
    processes: Vec<Process<A>>,
    random: Random,
    n_stores: u64,
    iommu: Registration,
    // What the device does in between.
    device: Random,
}

impl<A: Architecture> World<A> {
    fn new(seed: u64, masks: Masks, left_out: &[Fix]) -> Self {
        let machine = Sequential::new(usize::from(N_CPUS), left_out).with_masks(masks).with_iommu();
        let iommu = Registration::new(&machine, IOMMU);
        let space = AddressSpace::create(&machine, machine.new_space(), Habits::LAWFUL).expect("there is memory");
        machine.attach_device(&iommu, space.id()).expect("it lives");
        let processes = vec![Process { space, model: Pages::new() }];
        let (random, device) = (Random(seed), Random(seed));
        World { machine, memory: Memory::new(), processes, random, n_stores: 0, iommu, device }
    }

    /// One operation of some process on some CPU, and what the model makes of it.
    fn step(&mut self) {
        let World { machine, memory, processes, random, n_stores, iommu, .. } = self;
        let which = random.below(processes.len() as u64) as usize;
        machine.act_on(CpuId(random.below(u64::from(N_CPUS)) as u16));
        machine.switch_to(processes[which].space.id());
        let n_processes = processes.len();
        let Process { space, model } = &mut processes[which];
        let range = random.range();
        let pages = range.start.0..range.end.0;
        match random.below(12) {
            0 | 1 => {
                space.map(machine, memory, range, Vma::anonymous(Protection::READ_WRITE));
                model.extend(pages.map(|page| (page, (0, Protection::READ_WRITE))));
            }
            2 => {
                space.unmap(machine, memory, range);
                model.retain(|page, _| !pages.contains(page));
            }
            3 => {
                space.discard(machine, memory, range);
                model.range_mut(pages).for_each(|(_, (contents, _))| *contents = 0);
            }
            4 => {
                let protection = [READ_ONLY, Protection::READ_WRITE, Protection::NONE][random.below(3) as usize];
                space.protect(machine, memory, range, protection);
                model.range_mut(pages).for_each(|(_, (_, now))| *now = protection);
            }
            5 if n_processes < 4 => {
                let child = processes[which].space.fork(machine, memory, machine.new_space()).expect("there is memory");
                machine.attach_device(iommu, child.id()).expect("it lives");
                let model = processes[which].model.clone();
                processes.push(Process { space: child, model });
            }
            6 if n_processes > 1 => {
                let gone = processes.swap_remove(which);
                for cpu in 0..N_CPUS {
                    machine.act_on(CpuId(cpu));
                    machine.go_lazy();
                }
                let id = gone.space.id();
                gone.space.destroy(machine, memory);
                machine.forget_space(id);
                return;
            }
            7 => relocate(machine, memory, space, model, random),
            8 => space.age(machine, range, Contents::Kept),
            9 => machine.go_lazy(),
            _ => {
                for page in pages.take(16) {
                    let access = if random.below(2) == 0 { Access::Read } else { Access::Write };
                    let resolved = space.fault(machine, memory, Vpn(page), access).is_ok();
                    machine.touch(space.id(), Vpn(page), if access == Access::Write { Dma::Write } else { Dma::Read });
                    let expected = model.get_mut(&page).filter(|(_, protection)| protection.allows(access));
                    assert_eq!(resolved, expected.is_some(), "page {page:#x}, {access:?}");
                    if let (Some((contents, _)), Access::Write) = (expected, access) {
                        *n_stores += 1;
                        *contents = *n_stores;
                    }
                }
            }
        }
        let id = self.processes.get(which).map(|process| process.space.id());
        id.into_iter().for_each(|id| self.machine.operation_returned(id));
    }

    /// Lets the device touch some pages of some process.
    fn dma(&mut self) {
        let World { machine, processes, device, .. } = self;
        let Process { space, .. } = &processes[device.below(processes.len() as u64) as usize];
        let range = device.range();
        let dma = if device.below(2) == 0 { Dma::Read } else { Dma::Write };
        (range.start.0..range.end.0).take(16).for_each(|page| machine.touch(space.id(), Vpn(page), dma));
    }

    /// Holds every translation against the model.
    fn compare(&self) {
        let mut shown: HashMap<Pfn, (u64, u32, bool)> = HashMap::new();
        for Process { space, model } in &self.processes {
            let tables = self.machine.space(space.id()).expect("it lives").lock(&self.machine);
            for leaf in tables.leaves(VpnRange::new(Vpn(0), Vpn(u64::MAX))) {
                let (contents, protection) =
                    model.get(&leaf.page().0).copied().expect("what is not mapped is not there");
                let attributes = leaf.attributes();
                assert!(!attributes.writable || protection.write, "page {:#x}", leaf.page().0);
                assert!(!attributes.user || protection.read, "page {:#x}", leaf.page().0);
                let (other, n_users, is_writable) = shown.entry(leaf.frame()).or_insert((contents, 0, false));
                assert_eq!(*other, contents, "frame {:#x} shows two contents", leaf.frame().0);
                *n_users += 1;
                *is_writable |= attributes.writable;
                assert!(!*is_writable || *n_users == 1, "a writable frame is shared: {:#x}", leaf.frame().0);
            }
        }
    }
}

fn relocate<A: Architecture>(
    machine: &Sequential<A>,
    memory: &Memory<Sequential<A>>,
    space: &AddressSpace<Sequential<A>>,
    model: &mut Pages,
    random: &mut Random,
) {
    let (from, to) = (random.range(), random.range());
    let n_pages = from.n_pages().min(to.n_pages());
    let (from, to) = (VpnRange::from_len(from.start, n_pages), VpnRange::from_len(to.start, n_pages));
    let is_one_mapping = space.vma_at(machine, from.start).is_some_and(|(range, _)| range.covers(from));
    if !is_one_mapping || !from.intersection(to).is_empty() {
        return;
    }
    space.relocate(machine, memory, from, to, Keep::Nothing).expect("there is memory");
    model.retain(|page, _| !to.contains(Vpn(*page)));
    let moved: Vec<_> = model.extract_if(from.start.0..from.end.0, |_, _| true).collect();
    model.extend(moved.into_iter().map(|(page, shows)| (page - from.start.0 + to.start.0, shows)));
}

/// Runs random operations and returns what the machine found.
fn run<A: Architecture>(seed: u64, masks: Masks, left_out: &[Fix], n_steps: u64) -> Vec<StaleAccess> {
    let mut world = World::<A>::new(seed, masks, left_out);
    for step in 0..n_steps {
        world.machine.set_time(step * 10_000_000);
        world.machine.limit_batches((world.random.below(2) == 0).then_some(0));
        world.step();
        world.dma();
        if step % 16 == 0 && left_out.is_empty() {
            world.compare();
        }
    }
    let mut stale = world.machine.take_stale_accesses();
    for cpu in 0..N_CPUS {
        world.machine.act_on(CpuId(cpu));
        world.machine.go_lazy();
    }
    let World { machine, processes, memory, .. } = world;
    if left_out.is_empty() {
        processes.into_iter().for_each(|process| process.space.destroy(&machine, &memory));
        assert!(machine.n_frames_held() <= 1, "seed {seed}: more than the page of zeroes is left");
    }
    stale.extend(machine.take_stale_accesses());
    stale
}

const TRIMMED: Masks = Masks::Trimmed { interval_ns: 1_000_000_000 };

#[test]
fn contents_and_frames_agree_whatever_happens() {
    for seed in 1..=12 {
        for masks in [Masks::Exact, TRIMMED] {
            for stale in [run::<X86_64>(seed, masks, &[], 1_500), run::<Alpha>(seed, masks, &[], 1_500)] {
                assert_eq!((stale.len(), stale.first()), (0, None), "seed {seed}, {masks:?}");
            }
        }
    }
}

#[test]
fn each_step_left_out_is_seen() {
    for fix in [Fix::FlushBeforeFree, Fix::FlushRemote, Fix::WaitForAcks, Fix::TellDevices, Fix::EndDevices] {
        for masks in [Masks::Exact, TRIMMED] {
            assert!(!run::<X86_64>(1, masks, &[fix], 500).is_empty(), "{}, {masks:?}", fix.name());
            assert!(!run::<Alpha>(1, masks, &[fix], 500).is_empty(), "{} on Alpha, {masks:?}", fix.name());
        }
    }
}

/// Rights are given without a flush only to who wrote to a page that nobody shares any longer: seldom here.
#[test]
fn rights_that_no_device_is_told_of_are_seen() {
    assert!(!run::<X86_64>(1, Masks::Exact, &[Fix::TellOfPermissions], 6_000).is_empty());
    assert!(!run::<Alpha>(1, Masks::Exact, &[Fix::TellOfPermissions], 6_000).is_empty());
}
