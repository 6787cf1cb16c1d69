//! What stops a program: pages that are not there yet, and what it must not do.

use shootdown::{EntryFormat as _, Vpn};
use shootdown_mm::{Access, FaultError};

use super::{
    Trap,
    process::{KILLED, MEMORY},
    thread,
};
use crate::{
    machine::{Format, Metal},
    serial::println,
};

/// In a page fault's error: SDM 3A, "Page-Fault Error Code".
const WRITE: u64 = 1 << 1;
const FETCH: u64 = 1 << 4;

/// A page fault of a program. On the thread's stack, with interrupts open.
pub(crate) fn on_fault(m: &Metal, trap: &mut Trap, address: u64) {
    let access = match trap.error {
        error if error & FETCH != 0 => Access::Execute,
        error if error & WRITE != 0 => Access::Write,
        _ => Access::Read,
    };
    let process = thread::current().process(m);
    let Err(error) = process.space.fault(m, &MEMORY, Vpn(address >> Format::PAGE_SHIFT), access) else {
        return;
    };
    let way_out = thread::current().way_out();
    match error {
        FaultError::NoMapping(_) | FaultError::Denied(_)
            if (way_out.begin..way_out.end).contains(&trap.instruction) =>
        {
            trap.instruction = way_out.target;
        }
        _ => {
            let instruction = trap.instruction;
            println!("process {}: {error}; instruction {instruction:#x}, address {address:#x}", process.id());
            process.end(m, KILLED);
        }
    }
}

/// Any other exception of a program: it ends.
pub(crate) fn on_exception(m: &Metal, trap: &Trap) {
    let process = thread::current().process(m);
    let Trap { vector, error, instruction, .. } = trap;
    println!("process {}: exception {vector}, error {error:#x}, instruction {instruction:#x}", process.id());
    process.end(m, KILLED);
}
