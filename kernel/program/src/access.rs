//! Loads and stores that may fault, and then say so: on a kernel that knows of a way out.

use core::arch::global_asm;

use crate::calls::{self, Errno};

// bool try_load(address, *value) and bool try_store(address, value): false if the first instruction of them faulted, with the
// stack as at the entry.
global_asm!(
    ".global try_load, try_store, try_failed",
    "try_load:",
    "mov (%rdi), %rax",
    "mov %rax, (%rsi)",
    "mov $1, %eax",
    "ret",
    "try_store:",
    "mov %rsi, (%rdi)",
    "mov $1, %eax",
    "ret",
    "try_failed:",
    "xor %eax, %eax",
    "ret",
    options(att_syntax)
);

unsafe extern "C" {
    fn try_load(address: u64, value: &mut u64) -> bool;
    fn try_store(address: u64, value: u64) -> bool;
    fn try_failed() -> bool;
}

/// Lets this thread use [`load`] and [`store`].
pub(crate) fn prepare() -> Result<u64, Errno> {
    let [begin, end] = [try_load as *const () as u64, try_failed as *const () as u64];
    calls::set_way_out(begin, end, end)
}

/// The word at an address where no Rust value lies; or it cannot be loaded.
pub(crate) fn load(address: u64) -> Option<u64> {
    let mut value = 0;
    // SAFETY: a load of what no Rust value is; if it faults, it returns by `try_failed`.
    unsafe { try_load(address, &mut value) }.then_some(value)
}

/// Stores to a word at an address where no Rust value lies; tells whether that was possible.
pub(crate) fn store(address: u64, value: u64) -> bool {
    // SAFETY: as in `load`.
    unsafe { try_store(address, value) }
}
