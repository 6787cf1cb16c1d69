//! Mappings of the kernel's own on real threads: eight CPUs, on roots of two address spaces, map, use and unmap. Where an address
//! is valid there must be no fault, and nothing stale. See `host_threads.rs`.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "the account is of the test, not of the library")]
#![expect(dead_code, reason = "the machine can do more than this")]

#[path = "../examples/host_threads/host.rs"]
mod host;
#[path = "../examples/host_threads/machine.rs"]
mod machine;
#[path = "../examples/host_threads/mmu.rs"]
mod mmu;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::*},
    },
    time::Instant,
};

use host::{Host, N_CPUS, N_SPACES, Settings};
use machine::Cpu;
use mmu::{DATA, Owner};
use shootdown::{
    Attributes, Counter, CpuId, Fix, Frame, Level, Machine, UpTo, Vpn,
    arch::x86_64::X86_64,
    kspace::{Block, Blocks, Current, KernelArea, KernelSpace},
    page,
};
use shootdown_mm::KernelMappings;

type Geometry = UpTo<1>;

/// Mappings that there can be at a time, with up to so many pages each; there are frames for all.
const N_PLACES: u64 = 40;
const MAX_PAGES: u64 = 4;
/// Blocks of so many pages: few, so that addresses are soon used again.
const N_BLOCKS: u64 = 4;
const BLOCK_PAGES: u64 = 32;

const DATA_OF_KERNEL: Attributes =
    Attributes { writable: true, executable: false, user: false, accessed: true, dirty: true };

/// What belongs to the kernel as a whole. For ever, as in a kernel.
struct Shared {
    space: KernelSpace<Cpu>,
    blocks: [Block<Cpu>; N_BLOCKS as usize],
    current: [Current<Cpu>; N_CPUS],
    places: [Place; N_PLACES as usize],
    n_numbers: AtomicU64,
    tally: Tally,
}

/// A place for a mapping.
#[derive(Default)]
struct Place {
    /// [`NONE`], [`BUSY`] while a mapping is made or unmade, or how many CPUs use it, plus [`VALID`].
    state: AtomicU64,
    start: AtomicU64,
    n_pages: AtomicU64,
    number: AtomicU64,
}

const NONE: u64 = 0;
const BUSY: u64 = 1;
const VALID: u64 = 2;

#[derive(Debug, Default)]
struct Tally {
    n_maps: AtomicU64,
    n_unmaps: AtomicU64,
    n_touches: AtomicU64,
    n_faults: AtomicU64,
    n_refused: AtomicU64,
}

/// What a run comes to.
struct Outcome {
    host: Arc<Host>,
    kernel: &'static Shared,
}

impl Outcome {
    fn count(&self, counter: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        counter(&self.kernel.tally).load(Relaxed)
    }

    fn n_frames_lost(&self) -> usize {
        DATA.filter(|frame| self.host.memory.is_taken(shootdown::Pfn(*frame))).count()
    }
}

/// Lets each CPU do so many things at random.
fn run(seed: u64, n_operations: u64, left_out: Option<Fix>) -> Outcome {
    let command = format!("cargo test -p shootdown --test host_threads_kernel, seed {seed}");
    let host = Host::new(Settings::new(seed, left_out, command));
    let kernel: &'static Shared = Box::leak(Box::new(Shared {
        space: KernelSpace::new(KernelArea::of_size::<X86_64>(512 << 30).expect("it is one slot")),
        blocks: [const { Block::new() }; N_BLOCKS as usize],
        current: [const { Current::new() }; N_CPUS],
        places: std::array::from_fn(|_| Place::default()),
        n_numbers: AtomicU64::new(0),
        tally: Tally::default(),
    }));
    let mappings = OnceLock::new();
    host.run(|m| {
        if m.cpu() == CpuId(0) {
            assert!(mappings.set(boot(m, kernel)).is_ok(), "one CPU boots");
        }
        m.meet();
        m.host.spaces[usize::from(m.cpu().0) % N_SPACES].switch_to(m);
        let worker = Worker { m, kernel, mappings: mappings.get().expect("it was set") };
        (0..n_operations).for_each(|_| worker.step());
        m.meet();
        if m.cpu() == CpuId(0) {
            kernel.places.iter().for_each(|place| worker.unmap(place));
        }
    });
    Outcome { host, kernel }
}

fn boot(m: &Cpu, kernel: &'static Shared) -> KernelMappings<'static, Cpu> {
    let (sealed, addresses) = kernel.space.build(m).expect("there are frames for two tables").seal(m);
    for space in &m.host.spaces {
        space.create_in(m, &sealed).expect("there is a frame for the root");
    }
    let (in_blocks, rest) = addresses.split(N_BLOCKS * BLOCK_PAGES).expect("there are more");
    // Not many more, so that these are soon used again, too.
    let (few, _) = rest.split(24).expect("there are more");
    let blocks = Blocks::new(sealed, in_blocks, &kernel.blocks, &kernel.current).expect("they are even");
    KernelMappings::new(sealed, few, N_CPUS).with_blocks(blocks)
}

struct Worker<'w> {
    m: &'w Cpu,
    kernel: &'w Shared,
    mappings: &'w KernelMappings<'static, Cpu>,
}

impl Worker<'_> {
    fn step(&self) {
        let m = self.m;
        let place = &self.kernel.places[m.random(N_PLACES) as usize];
        match m.random(64) {
            0 => m.host.spaces[m.random(N_SPACES as u64) as usize].switch_to(m),
            1 => self.mappings.drain(m),
            2 => _ = self.mappings.try_drain(m),
            3..18 => self.map(place),
            18..32 => self.unmap(place),
            _ => self.touch(place),
        }
    }

    fn map(&self, place: &Place) {
        if place.state.compare_exchange(NONE, BUSY, Acquire, Relaxed).is_err() {
            return;
        }
        let Worker { m, kernel, .. } = *self;
        let n_pages = 1 + m.random(MAX_PAGES);
        let number = kernel.n_numbers.fetch_add(1, Relaxed) + 1;
        let frames: Vec<Frame> =
            (0..n_pages).map(|_| page::allocate(m, Level::LEAF).expect("there are frames for all")).collect();
        frames.iter().for_each(|frame| m.host.memory.own(frame.pfn(), Owner::mapping(number)));
        // An alignment keeps it out of the blocks.
        let alignment = 1 << u64::from(m.random(4) == 0);
        match self.mappings.map(m, frames, alignment, DATA_OF_KERNEL) {
            Ok(pages) => {
                kernel.tally.n_maps.fetch_add(1, Relaxed);
                place.start.store(pages.start.0, Relaxed);
                place.n_pages.store(n_pages, Relaxed);
                place.number.store(number, Relaxed);
                // ORDER(valid): whoever finds it valid finds all of it.
                place.state.store(VALID, Release);
            }
            Err((_, frames)) => {
                kernel.tally.n_refused.fetch_add(1, Relaxed);
                frames.into_iter().for_each(|frame| page::drop_reference(m, frame));
                place.state.store(NONE, Release);
            }
        }
    }

    fn unmap(&self, place: &Place) {
        // ORDER(valid): after the last use.
        if place.state.compare_exchange(VALID, BUSY, Acquire, Relaxed).is_ok() {
            let start = Vpn(place.start.load(Relaxed));
            self.mappings.unmap(self.m, start).expect("it is mapped");
            self.kernel.tally.n_unmaps.fetch_add(1, Relaxed);
            place.state.store(NONE, Release);
        }
    }

    /// Uses a mapping, which nobody unmaps meanwhile.
    fn touch(&self, place: &Place) {
        let one_more = |state| (state >= VALID).then_some(state + 1);
        // ORDER(valid): see `map`.
        if place.state.fetch_update(Acquire, Relaxed, one_more).is_err() {
            return;
        }
        let page = Vpn(place.start.load(Relaxed) + self.m.random(place.n_pages.load(Relaxed)));
        let owner = Owner::mapping(place.number.load(Relaxed));
        self.kernel.tally.n_touches.fetch_add(1, Relaxed);
        if !self.m.access_of(page, DATA_OF_KERNEL, owner) {
            self.kernel.tally.n_faults.fetch_add(1, Relaxed);
        }
        // ORDER(valid): used before it is said not to be.
        place.state.fetch_sub(1, Release);
    }
}

/// An address that is used again too early, a slot that a root lacks, or a lost frame: one million operations.
#[test]
fn valid_addresses_work_and_lead_to_what_was_mapped() {
    let begin = Instant::now();
    let outcome = run(1, 1_000_000 / N_CPUS as u64, None);
    let Outcome { host, kernel } = &outcome;
    println!("{:?}, {} flushes, {:?}", kernel.tally, host.counted(Counter::Flush), begin.elapsed());
    assert_eq!(host.memory.n_stale(), 0, "stale accesses; {}", host.command());
    assert_eq!(outcome.count(|tally| &tally.n_faults), 0, "faults at valid addresses; {}", host.command());
    assert_eq!(outcome.n_frames_lost(), 0, "frames; {}", host.command());
    assert_eq!(outcome.count(|tally| &tally.n_maps), outcome.count(|tally| &tally.n_unmaps));
    assert!(outcome.count(|tally| &tally.n_touches) > 100_000);
}

/// A test that cannot fail shows nothing.
#[test]
fn use_of_an_address_before_the_flush_is_seen() {
    const N_ROUNDS: u64 = 100;
    let fix = Fix::FlushBeforeReuse;
    let round = (1..=N_ROUNDS).find(|seed| run(*seed, 2_000, Some(fix)).host.memory.n_stale() > 0);
    println!("without {}: stale in round {round:?}", fix.name());
    assert!(round.is_some(), "{} was left out {N_ROUNDS} times, and no access was stale", fix.name());
}
