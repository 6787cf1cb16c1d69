//! Threads, each with a place for its stack.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::*},
};

use crate::{
    calls::{self, Errno},
    numbers::{call, clone::THREAD, futex},
};

pub(crate) const MOST: usize = 64;
const STACK_BYTES: usize = 16 << 10;

const FREE: u32 = 0;
const RUNS: u32 = 1;

// start_thread(flags, stack, main, argument, state): `clone`. The new thread calls `main(argument)`; then it says in `*state`
// that it is over, wakes who waits for that, and ends, without a stack: somebody else may have that by then.
global_asm!(
    ".global start_thread",
    "start_thread:",
    "sub $24, %rsi",
    "mov %rdx, (%rsi)",
    "mov %rcx, 8(%rsi)",
    "mov %r8, 16(%rsi)",
    "mov ${clone}, %eax",
    "xor %edx, %edx",
    "xor %r10d, %r10d",
    "xor %r8d, %r8d",
    "syscall",
    "test %eax, %eax",
    "jz 1f",
    "ret",
    "1:",
    "xor %ebp, %ebp",
    "pop %rax",
    "pop %rdi",
    "pop %rbx",
    "call *%rax",
    "movl $0, (%rbx)",
    "mov ${futex}, %eax",
    "mov %rbx, %rdi",
    "mov ${wake}, %esi",
    "mov $0x7fffffff, %edx",
    "syscall",
    "mov ${exit}, %eax",
    "xor %edi, %edi",
    "syscall",
    "ud2",
    clone = const call::CLONE,
    futex = const call::FUTEX,
    wake = const futex::WAKE,
    exit = const call::EXIT,
    options(att_syntax)
);

unsafe extern "C" {
    fn start_thread(flags: u64, stack: u64, main: extern "C" fn(u64), argument: u64, state: &AtomicU32) -> i64;
}

#[repr(C, align(16))]
struct Stack([AtomicU64; STACK_BYTES / 8]);

static STACKS: [Stack; MOST] = [const { Stack([const { AtomicU64::new(0) }; STACK_BYTES / 8]) }; MOST];
static STATES: [AtomicU32; MOST] = [const { AtomicU32::new(FREE) }; MOST];

/// A thread that was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread(usize);

/// Runs `main` in a thread of its own.
pub(crate) fn start(main: extern "C" fn(u64), argument: u64) -> Result<Thread, Errno> {
    const AGAIN: Errno = Errno(11);
    let free = STATES.iter().position(|state| state.compare_exchange(FREE, RUNS, Acquire, Relaxed).is_ok());
    let index = free.ok_or(AGAIN)?;
    let stack = STACKS[index].0.as_ptr_range().end.expose_provenance() as u64;
    // SAFETY: nobody else uses the stack until the state says so; `main` is a function that returns.
    let result = unsafe { start_thread(THREAD, stack, main, argument, &STATES[index]) };
    if result < 0 {
        STATES[index].store(FREE, Relaxed);
        return Err(Errno(-result));
    }
    Ok(Thread(index))
}

impl Thread {
    /// Waits until it has ended.
    pub(crate) fn join(self) {
        calls::wait_while(&STATES[self.0], RUNS);
    }
}
