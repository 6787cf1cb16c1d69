//! Starting the other CPUs, and the kernel's half of every address space.

use core::{
    ptr,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::{EntryFormat, Stale, TableFrame};

use crate::{
    apic,
    cpu::{self, MAX_CPUS},
    machine::{Format, Metal},
    memory, port,
};

/// Where the code that other CPUs begin with is copied: page 8 of the first MiB.
const TRAMPOLINE: u64 = 0x8000;
/// Rounds of a wait for CPUs that should come.
const MAX_ROUNDS: u64 = 1 << 26;
/// The first entry of a root table that is the kernel's.
const KERNEL_HALF: usize = Format::ENTRIES / 2;

/// CPUs that take part. The first one does from the start.
static N_CPUS: AtomicU64 = AtomicU64::new(1);

unsafe extern "C" {
    // From `boot.s`: at the physical addresses they are linked at. Only their addresses are used.
    safe static trampoline: u8;
    safe static trampoline_end: u8;
    safe static trampoline_stacks: u8;
    safe static trampoline_stack_bytes: u8;
    safe static boot_root: u8;
}

/// Pointers and no references, since nothing is mapped there once the identity map has gone.
fn address(symbol: *const u8) -> u64 {
    symbol.addr() as u64
}

/// How many CPUs take part.
pub(crate) fn n_cpus() -> u16 {
    N_CPUS.load(Acquire) as u16
}

/// Says that this CPU takes part.
pub(crate) fn has_come() {
    N_CPUS.fetch_add(1, Release);
}

/// Starts every other CPU and returns how many there are when all take part: SDM 3A, "Typical BSP Initialization Sequence".
pub(crate) fn start_others() -> u16 {
    let wanted = port::n_cpus();
    assert!(usize::from(wanted) <= MAX_CPUS, "there are {wanted} CPUs and room for {MAX_CPUS}");
    prepare_trampoline();
    apic::reset_others();
    pause_for_a_while();
    apic::start_others((TRAMPOLINE >> 12) as u8);
    for _ in 0..MAX_ROUNDS {
        if n_cpus() == wanted {
            return wanted;
        }
        cpu::pause();
    }
    panic!("{} of {wanted} CPUs have come", n_cpus());
}

fn prepare_trampoline() {
    let (stacks, stack_bytes) = cpu::stacks();
    let n_bytes = (address(&raw const trampoline_end) - address(&raw const trampoline)) as usize;
    // SAFETY: the source is part of the kernel, at its physical address; at the target there is memory below the first
    // MiB that nothing else uses.
    unsafe {
        ptr::copy_nonoverlapping(
            memory::direct_map(address(&raw const trampoline)),
            memory::direct_map(TRAMPOLINE),
            n_bytes,
        );
    }
    for (symbol, value) in [(&raw const trampoline_stacks, stacks), (&raw const trampoline_stack_bytes, stack_bytes)] {
        let place = memory::direct_map(TRAMPOLINE + address(symbol) - address(&raw const trampoline)).cast::<u64>();
        // SAFETY: within the copy, where `boot.s` keeps a word for it. No other CPU runs yet.
        unsafe { place.write_unaligned(value) }
    }
}

/// Between the two interrupts that start a CPU the manual has 10 ms, for hardware of long ago; QEMU needs none.
fn pause_for_a_while() {
    for _ in 0..1000 {
        cpu::pause();
    }
}

/// The root table that is loaded where there is no address space.
pub(crate) fn kernel_root() -> u64 {
    address(&raw const boot_root)
}

fn kernel_root_entries() -> &'static [AtomicU64; Format::ENTRIES] {
    // SAFETY: a page of the kernel, aligned, in the direct map, changed as atomics only once Rust runs.
    unsafe { &*memory::direct_map(kernel_root()).cast() }
}

/// Takes away what `boot.s` mapped at the addresses it lies at, which are user addresses, on all CPUs.
pub(crate) fn drop_identity_map(m: &Metal) {
    kernel_root_entries()[0].store(0, Release);
    shootdown::flush_kernel(m, Stale::EVERYTHING);
}

/// Gives a new root table the kernel's half.
pub(crate) fn copy_kernel_half(root: TableFrame) {
    let kernel = &kernel_root_entries()[KERNEL_HALF..];
    for (to, from) in memory::words(root.0)[KERNEL_HALF..].iter().zip(kernel) {
        to.store(from.load(Relaxed), Relaxed);
    }
}
