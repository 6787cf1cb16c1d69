//! What a program needs that has no C library: the functions that compilers call unasked.

use core::arch::asm;

/// Named by the precompiled `core`, which can unwind; never called where a panic aborts.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Likewise.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    unreachable!("a panic aborts")
}

// The C standard's functions, in assembly so that no compiler turns one into a call of itself. Words first, as emulators count
// each step.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n_bytes: usize) -> *mut u8 {
    // SAFETY: reads and writes the `n_bytes` that the caller has at `from` and at `to`; the direction flag is clear.
    unsafe {
        asm!("rep movsq", "mov {odd}, %rcx", "rep movsb", odd = in(reg) n_bytes % 8, inout("rdi") to => _,
            inout("rsi") from => _, inout("rcx") n_bytes / 8 => _, options(att_syntax, nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n_bytes: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= n_bytes {
        // SAFETY: the caller has `n_bytes` at both, and going upwards writes no byte that is still to be read.
        return unsafe { memcpy(to, from, n_bytes) };
    }
    // SAFETY: reads and writes the `n_bytes` that the caller has, downwards from the last one; `n_bytes` is not 0 here.
    // The direction flag is clear again at the end.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rdi") to.wrapping_add(n_bytes - 1) => _,
            inout("rsi") from.wrapping_add(n_bytes - 1) => _, inout("rcx") n_bytes => _, options(nostack));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, n_bytes: usize) -> *mut u8 {
    // SAFETY: writes the `n_bytes` that the caller has at `to`; the direction flag is clear.
    unsafe {
        asm!("rep stosq", "mov {odd}, %rcx", "rep stosb", odd = in(reg) n_bytes % 8, inout("rdi") to => _,
            in("rax") u64::from(byte as u8) * 0x0101_0101_0101_0101, inout("rcx") n_bytes / 8 => _,
            options(att_syntax, nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, n_bytes: usize) -> i32 {
    for index in 0..n_bytes {
        // SAFETY: the caller has `n_bytes` at both. Volatile, so that the loop is not made a call of this function.
        let (one, other) = unsafe { (one.add(index).read_volatile(), other.add(index).read_volatile()) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, n_bytes: usize) -> i32 {
    // SAFETY: the same condition.
    unsafe { memcmp(one, other, n_bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut n_bytes = 0;
    // SAFETY: the caller's text has a zero byte at its end, and none before it is passed. Volatile as in `memcmp`.
    while unsafe { text.add(n_bytes).read_volatile() } != 0 {
        n_bytes += 1;
    }
    n_bytes
}
