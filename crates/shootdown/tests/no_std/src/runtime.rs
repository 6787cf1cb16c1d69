//! What a program needs that has no C library: a beginning, an end, and the functions that compilers call unasked.

use core::{
    arch::{asm, naked_asm},
    panic::PanicInfo,
};

/// Where the program begins. The call leaves the stack aligned as a function expects it.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("call {run}", "ud2", run = sym crate::run)
}

/// Ends the program.
pub(crate) fn exit(status: u64) -> ! {
    // SAFETY: system call 231, `exit_group`, takes a status, touches no memory and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn, nostack)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

/// Named by the precompiled `core`, which can unwind; never called where a panic aborts.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

// The C standard's functions, in assembly so that no compiler turns one into a call of itself.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n_bytes: usize) -> *mut u8 {
    // SAFETY: reads and writes the `n_bytes` that the caller has at `from` and at `to`; the direction flag is clear.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") n_bytes => _,
            options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, n_bytes: usize) -> *mut u8 {
    // SAFETY: writes the `n_bytes` that the caller has at `to`; the direction flag is clear.
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, in("al") byte as u8, inout("rcx") n_bytes => _,
            options(nostack, preserves_flags));
    }
    to
}
