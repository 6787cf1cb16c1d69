//! Programs in user mode, over the address spaces of `shootdown-mm`.
//!
//! They are made for Linux, whose calls this kernel has some of, with Linux's numbers: so the same file runs on both. Threads
//! keep to their CPU until they ask for another. Only a timer in user mode, and the thread itself, give a CPU to the next.

use core::sync::atomic::Ordering::*;

use shootdown::residency;

use crate::{cpu, machine::Metal};

mod calls;
mod errors;
mod faults;
mod files;
mod futex;
mod image;
mod mappings;
mod numbers;
mod process;
mod scheduler;
mod thread;
mod transfer;
mod trap;

pub(crate) use faults::{on_exception, on_fault};
pub(crate) use process::N_PROCESSES;
pub(crate) use scheduler::run_until;
pub(crate) use trap::Trap;

/// Runs the program that the machine was given, with these words, until it ends; returns its status. For the first CPU.
pub(crate) fn run(m: &Metal, words: &[&str]) -> Result<i32, &'static str> {
    let process = process::begin(m, words)?;
    // Kept, as it is said once.
    let mut status = None;
    run_until(m, || {
        status = status.or_else(|| process::ended(m, process));
        status.is_some()
    });
    residency::leave(m);
    Ok(status.expect("the process has ended"))
}

/// Before a thread goes on in user mode: ends it if its process is to end, and lets the next one run if it is time.
pub(crate) fn before_return(m: &Metal) {
    if cpu::threads().is_due.load(Relaxed) {
        cpu::threads().is_due.store(false, Relaxed);
        scheduler::give_way(m);
    }
    if thread::must_end(m) {
        scheduler::end();
    }
}
