//! Exercises address spaces from user mode: on the kernel beside it and, the same file, on Linux, whose calls both have.
//!
//! The first word says what to do: `bench` measures, `contents` looks at pages that were copied, `stress SEED OPERATIONS` does
//! everything at random. What came of it is the exit status.
#![no_std]
#![no_main]

use core::{
    arch::global_asm,
    ffi::{CStr, c_char},
    panic::PanicInfo,
};

use output::println;

mod access;
mod bench;
mod calls;
mod contents;
mod memory;
#[path = "../../src/user/numbers.rs"]
mod numbers;
mod output;
#[path = "../../src/random/xorshift.rs"]
mod random;
mod stress;
mod threads;
#[path = "../../src/without_c.rs"]
mod without_c;

// System V's ABI: the number of words is on top of the stack, and where they are behind it.
global_asm!(
    ".global program_entry",
    "program_entry:",
    "xor %ebp, %ebp",
    "mov (%rsp), %rdi",
    "lea 8(%rsp), %rsi",
    "and $-16, %rsp",
    "call program_main",
    options(att_syntax)
);

#[unsafe(no_mangle)]
extern "C" fn program_main(n_words: usize, words: *const *const c_char) -> ! {
    let word = |index: usize| {
        (index < n_words).then(|| {
            // SAFETY: the ABI has so many pointers there, to text that ends with a zero byte and stays.
            let word = unsafe { CStr::from_ptr(*words.add(index)) };
            word.to_str().unwrap_or("?")
        })
    };
    let number = |index: usize| word(index).and_then(|word| word.parse().ok());
    let status = match (word(1), number(2), number(3)) {
        (Some("bench"), ..) => bench::run(),
        (Some("contents"), ..) => contents::run(),
        (Some("stress"), Some(seed), Some(n_operations)) => stress::run(seed, n_operations),
        (word, ..) => {
            println!("no such job: {word:?}");
            2
        }
    };
    println!("status\t{status}");
    calls::power_off();
    calls::exit(status)
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    println!("{information}");
    calls::exit(101)
}
