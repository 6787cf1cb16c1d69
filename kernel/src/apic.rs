//! The local interrupt controller, as x2APIC where the CPU has it, else as xAPIC: SDM 3A, "Advanced Programmable Interrupt Controller".

use core::{
    arch::{asm, x86_64::__cpuid_count as cpuid},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::*},
};

use crate::{
    cpu::{self, MAX_CPUS, Number},
    interrupt::Vector,
    memory,
};

const BASE: u32 = 0x1b;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2: u64 = 1 << 10;
const X2_REGISTERS: u32 = 0x800;
const MEMORY: u64 = 0xfee0_0000;

const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const SPURIOUS_ENABLED: u32 = 1 << 8;
const COMMAND: u32 = 0x300;
const COMMAND_TARGET: u32 = 0x310;
const COMMAND_IS_PENDING: u32 = 1 << 12;
const TIMER: u32 = 0x320;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_DIVISOR: u32 = 0x3e0;
const DIVIDE_BY_1: u32 = 0b1011;

/// Commands: fixed delivery to one, and the two that start the CPUs, to all but this one.
const FIXED: u32 = 1 << 14;
const INIT_OTHERS: u32 = 0xc_4500;
const START_OTHERS: u32 = 0xc_4600;

static IS_X2: AtomicBool = AtomicBool::new(false);
/// What a command calls each CPU: as xAPIC its controller's id in the highest byte, as x2APIC the id.
static IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// Switches this CPU's controller on.
pub(crate) fn set_up() {
    let is_x2 = cpuid(1, 0).ecx & 1 << 21 != 0;
    IS_X2.store(is_x2, Relaxed);
    // SAFETY: every 64-bit CPU has the register. The mode is the one that `read` and `write` use from here on.
    unsafe {
        let base = cpu::read_register(BASE) | BASE_ENABLED | if is_x2 { BASE_X2 } else { 0 };
        cpu::write_register(BASE, base);
    }
    write(TASK_PRIORITY, 0);
    write(SPURIOUS, SPURIOUS_ENABLED | Vector::Spurious as u32);
    IDS[usize::from(cpu::number().0)].store(read(ID), Relaxed);
}

/// The mode's name, for reports.
pub(crate) fn mode_name() -> &'static str {
    if IS_X2.load(Relaxed) { "x2APIC" } else { "xAPIC" }
}

/// Says that the interrupt in service has been handled.
pub(crate) fn end_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Raises the interrupt that the library's kick is, on these CPUs, which see every store made before.
#[inline]
pub(crate) fn kick(cpus: impl Iterator<Item = Number>) {
    command(cpus.map(|cpu| IDS[usize::from(cpu.0)].load(Relaxed)), FIXED | Vector::Kick as u32);
}

/// Puts every other CPU into the state that it wakes from by [`start_others`].
pub(crate) fn reset_others() {
    command([0].into_iter(), INIT_OTHERS);
}

/// Makes every other CPU begin at this 4 KiB page of the first MiB.
pub(crate) fn start_others(page: u8) {
    command([0].into_iter(), START_OTHERS | u32::from(page));
}

/// Raises the timer's interrupt once, after so many nanoseconds: QEMU's controller counts these.
pub(crate) fn start_timer(wait_ns: u32) {
    write(TIMER_DIVISOR, DIVIDE_BY_1);
    write(TIMER, Vector::Timer as u32);
    write(TIMER_INITIAL, wait_ns);
}

/// Gives a command for each of these targets, which are called as in [`IDS`].
#[inline]
fn command(targets: impl Iterator<Item = u32>, command: u32) {
    if IS_X2.load(Relaxed) {
        // The write orders nothing by itself: SDM 3A, "MSR Access in x2APIC Mode".
        // SAFETY: a fence has no other effect.
        unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) }
        for target in targets {
            // SAFETY: the register is there in this mode.
            unsafe { cpu::write_register(x2(COMMAND), u64::from(target) << 32 | u64::from(command)) }
        }
        return;
    }
    // A handler that sends too must not come between the two halves.
    let was = cpu::mask_interrupts();
    for target in targets {
        while read_memory(COMMAND) & COMMAND_IS_PENDING != 0 {
            cpu::pause();
        }
        write_memory(COMMAND_TARGET, target);
        write_memory(COMMAND, command);
    }
    cpu::restore_interrupts(was);
}

fn read(register: u32) -> u32 {
    if IS_X2.load(Relaxed) {
        // SAFETY: the register is there in this mode.
        return unsafe { cpu::read_register(x2(register)) } as u32;
    }
    read_memory(register)
}

fn write(register: u32, value: u32) {
    if IS_X2.load(Relaxed) {
        // SAFETY: the register is there in this mode, and none changes what Rust relies on.
        unsafe { cpu::write_register(x2(register), u64::from(value)) }
        return;
    }
    write_memory(register, value);
}

/// What a register is called as x2APIC.
const fn x2(register: u32) -> u32 {
    X2_REGISTERS + (register >> 4)
}

/// Reads a register as xAPIC.
fn read_memory(register: u32) -> u32 {
    // SAFETY: the controller's registers are there, in the direct map, and are no memory that Rust knows. That they are
    // not cached is the range registers' doing, which firmware, and QEMU, set so.
    unsafe { memory::direct_map(MEMORY + u64::from(register)).cast::<u32>().read_volatile() }
}

/// Writes a register as xAPIC.
fn write_memory(register: u32, value: u32) {
    // SAFETY: as in `read_memory`.
    unsafe { memory::direct_map(MEMORY + u64::from(register)).cast::<u32>().write_volatile(value) }
}
