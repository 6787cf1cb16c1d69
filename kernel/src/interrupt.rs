//! The interrupt table and what comes through it.

use core::{
    arch::asm,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::call;

use crate::{
    access, apic,
    cpu::{self, InterruptStack, TablePointer},
    machine::Metal,
    timer,
    user::{self, Trap},
};

/// The vectors in use beyond the exceptions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vector {
    Timer = 0x40,
    /// Above the timer's, so that it is served first.
    Kick = 0xf0,
    Spurious = 0xff,
}

const TIMER: u64 = Vector::Timer as u64;
const SPURIOUS: u64 = Vector::Spurious as u64;
const PAGE_FAULT: u64 = 14;
const N_EXCEPTIONS: usize = 32;
const N_VECTORS: usize = 256;
/// Present, for the kernel, an interrupt gate: interrupts are masked in the handler. SDM 3A, "64-Bit Mode IDT".
const INTERRUPT_GATE: u64 = 0x8e00 << 32;
const CODE_SELECTOR: u64 = 8 << 16;

static TABLE: [[AtomicU64; 2]; N_VECTORS] = [const { [const { AtomicU64::new(0) }; 2] }; N_VECTORS];

unsafe extern "C" {
    /// The stub of each vector, from `interrupt.s`. Never written.
    safe static interrupt_stubs: [u64; N_VECTORS];
    /// The kick's own way in, from there too. Only its address is used.
    safe static kick_entry: u8;
}

/// Makes every vector lead to [`on_interrupt`], and the kick to [`on_kick`]. Before any CPU loads the table.
pub(crate) fn fill_table() {
    for (vector, (gate, stub)) in TABLE.iter().zip(&interrupt_stubs).enumerate() {
        let stack = match vector {
            2 => InterruptStack::NonMaskable,
            8 => InterruptStack::DoubleFault,
            0..N_EXCEPTIONS => InterruptStack::Exception,
            _ => InterruptStack::Interrupt,
        };
        let stub = if vector == Vector::Kick as usize { (&raw const kick_entry).addr() as u64 } else { *stub };
        let low = stub & 0xffff | CODE_SELECTOR | (stack as u64) << 32 | INTERRUPT_GATE | (stub >> 16 & 0xffff) << 48;
        gate[0].store(low, Relaxed);
        gate[1].store(stub >> 32, Relaxed);
    }
}

/// Makes this CPU use the table.
pub(crate) fn load_table() {
    let pointer =
        TablePointer { last_byte: (N_VECTORS * 16 - 1) as u16, base: TABLE.as_ptr().expose_provenance() as u64 };
    // SAFETY: the table lives for ever and was filled; its handlers keep all registers and use stacks of their own.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) }
}

/// What `interrupt_entry` and the CPU have put on the stack.
#[repr(C)]
pub(crate) struct Interrupted {
    registers: [u64; 10],
    vector: u64,
    error: u64,
    instruction: u64,
    code_segment: u64,
    flags: u64,
    stack: u64,
}

#[unsafe(no_mangle)]
extern "C" fn on_kick() {
    apic::end_interrupt();
    call::handle_kick(&Metal);
}

fn on_timer() {
    apic::end_interrupt();
    timer::restart();
    call::on_interrupt_exit(&Metal);
    cpu::threads().is_due.store(true, Relaxed);
}

/// What interrupts or stops a program: on its thread's stack, with interrupts masked.
#[unsafe(no_mangle)]
extern "C" fn on_interrupt_of_user(trap: &mut Trap) {
    let address = cpu::fault_address();
    if trap.vector == TIMER {
        on_timer();
    }
    cpu::enable_interrupts();
    match trap.vector {
        TIMER | SPURIOUS => {}
        PAGE_FAULT => user::on_fault(&Metal, trap, address),
        _ => user::on_exception(&Metal, trap),
    }
    user::before_return(&Metal);
}

#[unsafe(no_mangle)]
extern "C" fn on_interrupt(interrupted: &mut Interrupted) {
    match interrupted.vector {
        TIMER => on_timer(),
        SPURIOUS => {}
        PAGE_FAULT => match access::way_out_of_a_fault(interrupted.instruction) {
            Some(instruction) => interrupted.instruction = instruction,
            None => report(interrupted),
        },
        _ => report(interrupted),
    }
}

fn report(interrupted: &Interrupted) -> ! {
    let Interrupted { vector, error, instruction, stack, .. } = interrupted;
    panic!(
        "exception {vector} on CPU {}: error {error:#x}, instruction {instruction:#x}, stack {stack:#x}, address {:#x}",
        cpu::number().0,
        cpu::fault_address(),
    )
}
