//! Where the library's state lives, and what was chosen once, on the command line.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use shootdown::{
    Counter, Descriptor, Fix, PerCpu, Space, SpaceId,
    call::{Present, Slot},
};

use crate::{
    command_line::CommandLine,
    cpu::{MAX_CPUS, Number},
    machine::Metal,
    memory,
};

/// Address spaces of the kernel's tests.
pub(crate) const N_TEST_SPACES: usize = 2;
/// All of them: those of processes come behind the tests'.
pub(crate) const N_SPACES: usize = N_TEST_SPACES + crate::user::N_PROCESSES;

/// Something on cache lines of its own, two of which are fetched together, and whose place is found without multiplying.
#[repr(align(128))]
struct Apart<T>(T);

static SLOTS: [[Apart<Slot<Metal>>; MAX_CPUS]; MAX_CPUS] =
    [const { [const { Apart(Slot::new()) }; MAX_CPUS] }; MAX_CPUS];
static PER_CPU: [Apart<PerCpu<Metal>>; MAX_CPUS] = [const { Apart(PerCpu::new()) }; MAX_CPUS];
pub(crate) static PRESENT: Present<Metal> = Present::new();
pub(crate) static SPACES: [Space<Metal>; N_SPACES] = {
    let mut spaces = [const { Space::new(SpaceId(0)) }; N_SPACES];
    let mut index = 0;
    while index < N_SPACES {
        spaces[index] = Space::new(SpaceId(index as u32));
        index += 1;
    }
    spaces
};
pub(crate) static DESCRIPTORS: [Descriptor<Metal>; memory::N_TABLES] = [const { Descriptor::new() }; memory::N_TABLES];

static COUNTERS: [AtomicU64; Counter::COUNT] = [const { AtomicU64::new(0) }; Counter::COUNT];
static SEED: AtomicU64 = AtomicU64::new(1);
static COUNTS_INSTRUCTIONS: AtomicBool = AtomicBool::new(false);
static LEFT_OUT: AtomicU64 = AtomicU64::new(NOTHING);
static MEMORY_FAILS: AtomicBool = AtomicBool::new(false);

const NOTHING: u64 = u64::MAX;

/// The library's state of one CPU.
#[inline]
pub(crate) fn per_cpu(cpu: Number) -> &'static PerCpu<Metal> {
    &PER_CPU[usize::from(cpu.0)].0
}

/// The place of requests from one CPU to another.
#[inline]
pub(crate) fn slot(from: Number, to: Number) -> &'static Slot<Metal> {
    &SLOTS[usize::from(from.0)][usize::from(to.0)].0
}

/// Remembers what was chosen, before anything looks.
pub(crate) fn choose(command_line: &CommandLine) {
    memory::check();
    SEED.store(command_line.seed, Relaxed);
    COUNTS_INSTRUCTIONS.store(command_line.counts_instructions, Relaxed);
    LEFT_OUT.store(command_line.left_out.map_or(NOTHING, |fix| fix as u64), Relaxed);
}

pub(crate) fn seed() -> u64 {
    SEED.load(Relaxed)
}

/// Tells whether the machine's clock counts instructions.
pub(crate) fn counts_instructions() -> bool {
    COUNTS_INSTRUCTIONS.load(Relaxed)
}

/// Tells whether this is the fix that is left out.
pub(crate) fn is_left_out(fix: Fix) -> bool {
    LEFT_OUT.load(Relaxed) == fix as u64
}

/// Tells whether memory is refused at random.
pub(crate) fn memory_fails() -> bool {
    MEMORY_FAILS.load(Relaxed)
}

/// Lets memory be refused at random, or no longer.
pub(crate) fn set_memory_fails(fails: bool) {
    MEMORY_FAILS.store(fails, Relaxed);
}

pub(crate) fn count(counter: Counter, times: u64) {
    COUNTERS[counter as usize].fetch_add(times, Relaxed);
}

/// How often something has happened.
pub(crate) fn counted(counter: Counter) -> u64 {
    COUNTERS[counter as usize].load(Relaxed)
}
