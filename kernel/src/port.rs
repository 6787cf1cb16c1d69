//! I/O ports.

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

/// The number of CPUs, from QEMU's configuration device: item 5, in 16 bits, lowest byte first.
pub(crate) fn n_cpus() -> u16 {
    // SAFETY: port 0x510 selects what 0x511 reads, byte by byte; nothing is written to memory.
    unsafe {
        write_word(0x510, 5);
        u16::from_le_bytes([read_byte(0x511), read_byte(0x511)])
    }
}

/// Writes 16 bits to a port.
///
/// # Safety
/// As [`write_byte`].
unsafe fn write_word(port: u16, word: u16) {
    // SAFETY: as in `write_byte`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") word, options(nomem, nostack, preserves_flags)) }
}
