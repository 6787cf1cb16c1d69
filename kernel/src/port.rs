//! I/O ports.

use alloc::vec::Vec;
use core::arch::asm;

/// Writes a byte to a port.
///
/// # Safety
/// What the device does about it touches no memory that Rust code uses.
pub(crate) unsafe fn write_byte(port: u16, byte: u8) {
    // SAFETY: touches no memory or flags itself; of the device's doing the caller says so.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte from a port.
///
/// # Safety
/// As [`write_byte`].
pub(crate) unsafe fn read_byte(port: u16) -> u8 {
    let byte;
    // SAFETY: as in `write_byte`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") byte, options(nomem, nostack, preserves_flags)) }
    byte
}

/// Silences the two controllers that came before the APIC: the clock's interrupt would arrive as vector 8, a double
/// fault.
pub(crate) fn mask_old_interrupt_controllers() {
    for port in [0x21, 0xa1] {
        // SAFETY: the mask registers of the 8259s, which have no other effect.
        unsafe { write_byte(port, 0xff) }
    }
}

/// Items of QEMU's configuration device: port 0x510 selects what 0x511 reads, byte by byte, lowest first.
const N_CPUS: u16 = 5;
const PROGRAM_BYTES: u16 = 0xb;
const PROGRAM: u16 = 0x12;

/// The number of CPUs.
pub(crate) fn n_cpus() -> u16 {
    select(N_CPUS);
    u16::from_le_bytes(read_bytes())
}

/// The file that QEMU was given as initial RAM disk; empty if there is none.
pub(crate) fn program() -> Vec<u8> {
    select(PROGRAM_BYTES);
    let n_bytes = u32::from_le_bytes(read_bytes());
    select(PROGRAM);
    (0..n_bytes).map(|_| read_bytes::<1>()[0]).collect()
}

fn select(item: u16) {
    // SAFETY: chooses what is read next.
    unsafe { write_word(0x510, item) }
}

fn read_bytes<const N: usize>() -> [u8; N] {
    // SAFETY: nothing is written to memory.
    core::array::from_fn(|_| unsafe { read_byte(0x511) })
}

/// Writes 16 bits to a port.
///
/// # Safety
/// As [`write_byte`].
unsafe fn write_word(port: u16, word: u16) {
    // SAFETY: as in `write_byte`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") word, options(nomem, nostack, preserves_flags)) }
}
