//! Where the library's state lives in the explorer: structures whose words are nothing but numbers.
//!
//! A word *adopts* the number of a word of the simulated machine, once and in a fixed order, so the structures can be
//! one static that every machine, state and coroutine shares. Adoption goes through the library's own `visit` methods,
//! which also gives the words the names that traces use.

use std::sync::{
    LazyLock,
    atomic::{AtomicU16, Ordering::Relaxed},
};

use shootdown::{
    Descriptor, Own, PageState, PerCpu, Shared, Space, SpaceId, Vpn, VpnRange, Word,
    arch::tiny::Tiny,
    call::{Present, Slot},
    kspace::{Block, Current, KernelArea, KernelSpace},
    lock::Locked,
    notify::Syncs,
    tag::Context,
};
use shootdown_sim::smp::{FRAMES, Location, MAX_CPUS, Operation, WordId};

use crate::machine::Sim;

/// Address spaces there are.
const SPACES: usize = 3;

/// What the kernel maps, in scenarios that have that: the second root entry. It may grow by the first.
const KERNEL_AREA: VpnRange = VpnRange::new(Vpn(2), Vpn(4));

/// Words for scenarios' own use.
const SCRATCH: usize = 4;

/// A word of library state: the number of a machine word plus one, 0 until adopted.
pub struct WordIndex(AtomicU16);

impl Word for WordIndex {
    const ZERO: Self = WordIndex(AtomicU16::new(0));
}

impl WordIndex {
    fn adopt(&self, id: WordId) {
        let was = self.0.swap(id.0 + 1, Relaxed);
        assert!(was == 0, "a word is shown twice: {} and {}", was - 1, id.0);
    }

    /// Returns the machine word that this stands for.
    pub(crate) fn id(&self) -> WordId {
        WordId(self.0.load(Relaxed).checked_sub(1).expect("a word that no `visit` method shows"))
    }
}

pub(crate) struct Places {
    pub(crate) per_cpu: [PerCpu<Sim>; MAX_CPUS],
    pub(crate) slots: [[Slot<Sim>; MAX_CPUS]; MAX_CPUS],
    pub(crate) spaces: [Space<Sim>; SPACES],
    pub(crate) descriptors: [Descriptor<Sim>; FRAMES],
    pub(crate) pages: [PageState<Sim>; FRAMES],
    /// The lock of the only reverse map that scenarios have.
    pub(crate) rmap: Locked<Sim, ()>,
    pub(crate) kernel: KernelSpace<Sim>,
    pub(crate) lone_kernel: KernelSpace<Sim>,
    pub(crate) blocks: [Block<Sim>; 1],
    pub(crate) current_blocks: [Current<Sim>; 1],
    pub(crate) syncs: Syncs<Sim>,
    /// By address space and CPU.
    pub(crate) contexts: [[Context<Sim>; MAX_CPUS]; SPACES],
    pub(crate) present: Present<Sim>,
    pub(crate) scratch: [Shared<Sim>; SCRATCH],
    pub(crate) owned: Own<Sim>,
    names: Vec<String>,
    /// For each number of CPUs, from 1 on.
    n_words: [usize; MAX_CPUS],
}

pub(crate) static PLACES: LazyLock<Places> = LazyLock::new(Places::new);

impl Places {
    fn new() -> Self {
        let mut places = Places {
            per_cpu: [const { PerCpu::new() }; MAX_CPUS],
            slots: [const { [const { Slot::new() }; MAX_CPUS] }; MAX_CPUS],
            spaces: [Space::new(SpaceId(0)), Space::new(SpaceId(1)), Space::new(SpaceId(2))],
            descriptors: [const { Descriptor::new() }; FRAMES],
            pages: [const { PageState::new() }; FRAMES],
            rmap: Locked::new(()),
            kernel: KernelSpace::growable(kernel_area()),
            lone_kernel: KernelSpace::with_one_root(kernel_area()),
            blocks: [Block::new()],
            current_blocks: [Current::new()],
            syncs: Syncs::new(),
            contexts: [const { [const { Context::new() }; MAX_CPUS] }; SPACES],
            present: Present::new(),
            scratch: [const { Shared::ZERO }; SCRATCH],
            owned: Own::ZERO,
            names: Vec::new(),
            n_words: [0; MAX_CPUS],
        };
        places.adopt();
        places
    }

    /// What belongs to CPUs comes last, CPU after CPU, so that a machine with few of them needs no words for the others.
    fn adopt(&mut self) {
        let names = &mut self.names;
        for (id, space) in self.spaces.iter().enumerate() {
            space.visit(&mut |name, word| adopt(names, &id.to_string(), name, word));
        }
        for (frame, descriptor) in self.descriptors.iter().enumerate() {
            descriptor.visit(&mut |name, word| adopt(names, &frame.to_string(), name, word));
        }
        for (frame, page) in self.pages.iter().enumerate() {
            page.visit(&mut |name, word| adopt(names, &frame.to_string(), name, word));
        }
        self.rmap.visit(&mut |name, word| adopt(names, "rmap", name, word), |(), _| {});
        self.kernel.visit(&mut |name, word| adopt(names, "kernel", name, word));
        self.lone_kernel.visit(&mut |name, word| adopt(names, "lone", name, word));
        self.blocks[0].visit(&mut |name, word| adopt(names, "0", name, word));
        self.current_blocks[0].visit(&mut |name, word| adopt(names, "0", name, word));
        self.syncs.visit(&mut |name, word| adopt(names, "device", name, word));
        self.present.visit(&mut |name, word| adopt(names, "all", name, word));
        for (index, word) in self.scratch.iter().enumerate() {
            word.visit("scratch", &mut |name, word| adopt(names, &index.to_string(), name, word));
        }
        self.owned.visit("scratch.owned", &mut |name, word| adopt(names, "all", name, word));
        for cpu in 0..MAX_CPUS {
            for (space, contexts) in self.contexts.iter().enumerate() {
                contexts[cpu].visit(&mut |name, word| adopt(names, &format!("{space}@{cpu}"), name, word));
            }
            self.per_cpu[cpu].visit(&mut |name, word| adopt(names, &cpu.to_string(), name, word));
            for (from, to) in (0..=cpu).map(|other| (cpu, other)).chain((0..cpu).map(|other| (other, cpu))) {
                self.slots[from][to].visit(&mut |name, word| adopt(names, &format!("{from}>{to}"), name, word));
            }
            self.n_words[cpu] = names.len();
        }
    }

    /// Returns how many words a machine with so many CPUs uses; they are the first ones.
    pub(crate) fn n_words(&self, cpus: usize) -> usize {
        self.n_words[cpus - 1]
    }

    /// Returns the name of a word, and in brackets whose it is.
    pub(crate) fn name(&self, word: WordId) -> &str {
        &self.names[usize::from(word.0)]
    }
}

fn kernel_area() -> KernelArea {
    KernelArea::at::<Tiny>(KERNEL_AREA).expect("it is one slot")
}

fn adopt(names: &mut Vec<String>, owner: &str, name: &str, word: &WordIndex) {
    word.adopt(WordId(names.len() as u16));
    names.push(format!("{name}[{owner}]"));
}

/// The place in memory that an operation reads or writes, if it does.
pub(crate) fn touched(operation: Operation) -> Option<Location> {
    match operation {
        Operation::Load(at, _) | Operation::Store(at, ..) | Operation::Modify(at, ..) | Operation::Update(at, ..) => {
            Some(at)
        }
        _ => None,
    }
}
