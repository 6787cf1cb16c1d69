//! One CPU: its number, segments and stacks, and the instructions that Rust has no words for.

use core::{
    arch::asm,
    hint, ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
};

use shootdown::PerCpu;

use crate::{apic, interrupt, machine::Metal, places, tlb};

/// As many as the library's geometry here has room for.
pub(crate) const MAX_CPUS: usize = 64;

const STACK_BYTES: usize = 32 << 10;
const INTERRUPT_STACK_BYTES: usize = 16 << 10;
/// Offset of the first interrupt stack in the task state: SDM 3A, figure "64-Bit TSS Format".
const TASK_STATE_STACKS: usize = 36 / 4;
const TASK_STATE_WORDS: usize = 104 / 4;
const TASK_SELECTOR: u16 = 0x28;
const GS_BASE: u32 = 0xc000_0101;
/// What `swapgs` exchanges the GS base with.
const OTHER_GS_BASE: u32 = 0xc000_0102;
/// Selectors, entry and flags that are cleared for SYSCALL and SYSRET: SDM 3A, "SYSCALL and SYSRET Instructions".
const SYSCALL_SELECTORS: u32 = 0xc000_0081;
const SYSCALL_ENTRY: u32 = 0xc000_0082;
const SYSCALL_FLAGS: u32 = 0xc000_0084;
/// SYSCALL: code at 8 and the stack at 16. SYSRET: 8 more than this for the stack and 16 more for code, both user's.
const SELECTORS: u64 = 0x13 << 48 | 8 << 32;
/// Trap, interrupt, direction and alignment check.
const FLAGS_CLEARED: u64 = 0x100 | INTERRUPT_FLAG | 0x400 | 0x4_0000;
const INTERRUPT_FLAG: u64 = 1 << 9;

/// A CPU's number: from 0, in the order in which they came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u16);

/// Which stack a gate switches to. None interrupts what runs on another but as this order allows: nothing interrupts
/// interrupts and exceptions but what cannot be masked, and an exception in a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InterruptStack {
    NonMaskable = 1,
    DoubleFault = 2,
    Exception = 3,
    Interrupt = 4,
}

const N_INTERRUPT_STACKS: usize = 4;

/// What this CPU knows of the threads that it runs. Only it looks there.
#[repr(C)]
pub(crate) struct Threads {
    /// The end of the kernel stack of the thread that runs.
    pub(crate) kernel_stack: AtomicU64,
    /// The program's stack, for a moment.
    user_stack: AtomicU64,
    /// Where the scheduler goes on when the thread has left the CPU.
    pub(crate) scheduler_stack: AtomicU64,
    /// The thread that runs.
    pub(crate) current: AtomicU64,
    /// What the scheduler is to do with it when it has left the CPU.
    pub(crate) next_step: AtomicU64,
    /// Whether the thread is to leave the CPU when it is about to return to user mode.
    pub(crate) is_due: AtomicBool,
    /// Interrupts that this CPU has raised on others. Others look, too.
    n_kicks: AtomicU64,
}

impl Threads {
    const fn new() -> Threads {
        Threads {
            kernel_stack: AtomicU64::new(0),
            user_stack: AtomicU64::new(0),
            scheduler_stack: AtomicU64::new(0),
            current: AtomicU64::new(0),
            next_step: AtomicU64::new(0),
            is_due: AtomicBool::new(false),
            n_kicks: AtomicU64::new(0),
        }
    }
}

/// What the GS base of a CPU points at.
#[repr(C, align(64))]
struct Block {
    // First and second: `number` and `here` read them there.
    number: AtomicU64,
    here: AtomicPtr<PerCpu<Metal>>,
    // Next: `user/gates.s` finds the first two there.
    threads: Threads,
    descriptors: [AtomicU64; 7],
    task_state: [AtomicU32; TASK_STATE_WORDS],
}

/// Memory for a stack. Atomics, since the hardware and the code that runs on it change it through no reference.
#[repr(C, align(4096))]
pub(crate) struct Stack<const N_WORDS: usize>([AtomicU64; N_WORDS]);

impl<const N_WORDS: usize> Stack<N_WORDS> {
    pub(crate) const fn new() -> Self {
        Stack([const { AtomicU64::new(0) }; N_WORDS])
    }

    pub(crate) fn end(&self) -> u64 {
        self.0.as_ptr_range().end.expose_provenance() as u64
    }

    /// Its words, the last of which is at the end.
    pub(crate) const fn words(&self) -> &[AtomicU64; N_WORDS] {
        &self.0
    }
}

unsafe extern "C" {
    /// From `user/gates.s`. Only its address is used.
    safe static syscall_entry: u8;
}

static BLOCKS: [Block; MAX_CPUS] = [const {
    Block {
        number: AtomicU64::new(0),
        here: AtomicPtr::new(ptr::null_mut()),
        threads: Threads::new(),
        descriptors: [const { AtomicU64::new(0) }; 7],
        task_state: [const { AtomicU32::new(0) }; TASK_STATE_WORDS],
    }
}; MAX_CPUS];
static STACKS: [Stack<{ STACK_BYTES / 8 }>; MAX_CPUS] = [const { Stack::new() }; MAX_CPUS];
static INTERRUPT_STACKS: [[Stack<{ INTERRUPT_STACK_BYTES / 8 }>; N_INTERRUPT_STACKS]; MAX_CPUS] =
    [const { [const { Stack::new() }; N_INTERRUPT_STACKS] }; MAX_CPUS];

/// Where the stacks begin, one behind the other, and how long each is.
pub(crate) fn stacks() -> (u64, u64) {
    (STACKS.as_ptr().expose_provenance() as u64, STACK_BYTES as u64)
}

/// Gives this CPU its segments, stacks, interrupt table, number and interrupt controller. Interrupts are masked.
pub(crate) fn set_up(number: Number) {
    let block = &BLOCKS[usize::from(number.0)];
    block.number.store(u64::from(number.0), Relaxed);
    block.here.store(ptr::from_ref(places::per_cpu(number)).cast_mut(), Relaxed);
    for (index, stack) in INTERRUPT_STACKS[usize::from(number.0)].iter().enumerate() {
        let [low, high] = halves(stack.end());
        block.task_state[TASK_STATE_STACKS + 2 * index].store(low, Relaxed);
        block.task_state[TASK_STATE_STACKS + 2 * index + 1].store(high, Relaxed);
    }
    // No I/O permission map: it would begin at the end.
    block.task_state[TASK_STATE_WORDS - 1].store(104 << 16, Relaxed);
    let task_state = block.task_state.as_ptr().expose_provenance() as u64;
    let descriptors = [
        0,
        0x00af_9a00_0000_ffff, // 64-bit code
        0x00cf_9200_0000_ffff, // data
        0x00cf_f200_0000_ffff, // user data
        0x00af_fa00_0000_ffff, // user code
        // An available 64-bit task state: SDM 3A, "TSS Descriptor in 64-bit mode".
        103 | (task_state & 0xff_ffff) << 16 | 0x89 << 40 | (task_state >> 24 & 0xff) << 56,
        task_state >> 32,
    ];
    for (place, descriptor) in block.descriptors.iter().zip(descriptors) {
        place.store(descriptor, Relaxed);
    }
    let pointer = TablePointer { last_byte: 55, base: block.descriptors.as_ptr().expose_provenance() as u64 };
    // SAFETY: the table lives for ever, has the code and data segments that are loaded already at the same places, and
    // a task state at `TASK_SELECTOR` whose stacks are this CPU's own.
    unsafe { asm!("lgdt [{}]", "ltr {:x}", in(reg) &pointer, in(reg) TASK_SELECTOR, options(nostack)) }
    interrupt::load_table();
    // SAFETY: nobody but `number` and `here` uses GS, and they find the block there that lives for ever.
    unsafe { write_register(GS_BASE, core::ptr::from_ref(block).expose_provenance() as u64) }
    // SAFETY: every 64-bit CPU has them. The selectors are those of the table above, and the entry keeps all registers.
    unsafe {
        write_register(OTHER_GS_BASE, 0);
        write_register(SYSCALL_SELECTORS, SELECTORS);
        write_register(SYSCALL_ENTRY, (&raw const syscall_entry).addr() as u64);
        write_register(SYSCALL_FLAGS, FLAGS_CLEARED);
    }
    tlb::set_up();
    apic::set_up();
}

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// What `lgdt` and `lidt` read.
#[repr(C, packed)]
pub(crate) struct TablePointer {
    pub(crate) last_byte: u16,
    pub(crate) base: u64,
}

/// This CPU's number.
#[inline]
pub(crate) fn number() -> Number {
    let number: u64;
    // SAFETY: `set_up` pointed GS at a block whose first word this is. Nobody migrates.
    unsafe { asm!("mov {}, gs:[0]", out(reg) number, options(pure, readonly, nostack, preserves_flags)) }
    // SAFETY: it is the index of a block. Said here, so that no index made of it is checked again.
    unsafe { hint::assert_unchecked(number < MAX_CPUS as u64) }
    Number(number as u16)
}

/// The library's state of this CPU.
#[inline]
pub(crate) fn here() -> &'static PerCpu<Metal> {
    let here: *const PerCpu<Metal>;
    // SAFETY: `set_up` pointed GS at a block whose second word this is. Nobody migrates.
    unsafe { asm!("mov {}, gs:[8]", out(reg) here, options(pure, readonly, nostack, preserves_flags)) }
    // SAFETY: `set_up` made it of a reference to a static, which is only ever shared.
    unsafe { &*here }
}

/// What this CPU knows of its threads.
#[inline]
pub(crate) fn threads() -> &'static Threads {
    &BLOCKS[usize::from(number().0)].threads
}

/// Notes that this CPU has raised interrupts on so many others.
#[inline]
pub(crate) fn count_kicks(n: u64) {
    // A handler may come between the load and the store, but none raises any: what runs for a call calls nobody.
    let n_kicks = &threads().n_kicks;
    n_kicks.store(n_kicks.load(Relaxed) + n, Relaxed);
}

/// How many it has raised.
pub(crate) fn n_kicks(cpu: Number) -> u64 {
    BLOCKS[usize::from(cpu.0)].threads.n_kicks.load(Relaxed)
}

/// Masks interrupts and tells whether they were open, as a number for [`restore_interrupts`].
#[inline]
pub(crate) fn mask_interrupts() -> u64 {
    let flags: u64;
    // SAFETY: the stack is as before at the end, and there is no red zone to overwrite: not `nostack`. That interrupts
    // do not come is no danger. Not `nomem`: what follows stays behind it.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) }
    flags & INTERRUPT_FLAG
}

/// Opens interrupts if they were open when [`mask_interrupts`] returned `was`.
#[inline]
pub(crate) fn restore_interrupts(was: u64) {
    if was != 0 {
        enable_interrupts();
    }
}

/// Opens interrupts.
#[inline]
pub(crate) fn enable_interrupts() {
    // SAFETY: `set_up` has loaded a table whose handlers keep all registers and use stacks of their own. Not `nomem`:
    // what came before stays before it.
    unsafe { asm!("sti", options(nostack)) }
}

/// Opens interrupts and sleeps until one has been handled, which cannot come between the two.
pub(crate) fn sleep() {
    // SAFETY: as in `enable_interrupts`. `sti` holds interrupts back for one more instruction: SDM 2B, "STI".
    unsafe { asm!("sti", "hlt", options(nostack)) }
}

/// Sleeps and never wakes.
pub(crate) fn halt_for_ever() -> ! {
    loop {
        // SAFETY: this CPU does nothing any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

/// Lets others run. Under QEMU with one thread this ends the CPU's turn, so every wait needs it.
#[inline]
pub(crate) fn pause() {
    hint::spin_loop();
}

/// The address of the last page fault.
pub(crate) fn fault_address() -> u64 {
    let address;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) }
    address
}

/// Reads a model-specific register.
///
/// # Safety
/// This CPU has it.
pub(crate) unsafe fn read_register(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller says that it does not fault.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags)) }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// This CPU has it, and nothing that Rust relies on changes with it.
pub(crate) unsafe fn write_register(register: u32, value: u64) {
    let [low, high] = halves(value);
    // SAFETY: the caller says so.
    unsafe { asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags)) }
}
