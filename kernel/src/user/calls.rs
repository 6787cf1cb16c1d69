//! The calls that programs make, by Linux's numbers for x86-64.

use super::{
    before_return,
    errors::Errno,
    files, futex,
    mappings::Mappings,
    numbers::{self, call},
    process::{self, Process, exited},
    scheduler,
    thread::{self, WayOut, current},
    transfer,
    trap::Trap,
};
use crate::{cpu::Number, machine::Metal, smp};
use alloc::sync::Arc;

#[unsafe(no_mangle)]
extern "C" fn on_system_call(trap: &mut Trap) {
    let m = &Metal;
    trap.rax = match perform(m, trap) {
        Ok(value) => value as u64,
        Err(Errno(number)) => (-number) as u64,
    };
    before_return(m);
}

fn perform(m: &Metal, trap: &Trap) -> Result<i64, Errno> {
    let process = current().process(m);
    let arguments = [trap.rdi, trap.rsi, trap.rdx, trap.r10, trap.r8, trap.r9];
    let [a, b, c, d, e, _] = arguments;
    let mappings = Mappings { m, process: &process };
    match trap.rax {
        call::READ => files::read(m, &process, a, b, c),
        call::WRITE => files::write(m, &process, a, b, c),
        call::OPEN => files::open(m, &process, a),
        call::CLOSE => files::close(m, &process, a),
        call::MMAP => mappings.map(arguments),
        call::MPROTECT => mappings.protect(a, b, c),
        call::MUNMAP => mappings.unmap(a, b),
        call::SCHED_YIELD => {
            scheduler::give_way(m);
            Ok(0)
        }
        call::MREMAP => mappings.remap([a, b, c, d, e]),
        call::MADVISE => mappings.advise(a, b, c),
        call::GETPID => Ok(process.id()),
        call::CLONE => clone(m, &process, trap),
        call::FORK => process::fork(m, &process, &trap.of_child()),
        call::EXIT => {
            thread::end_current();
            Ok(0)
        }
        call::WAIT4 => wait(m, &process, a, b),
        // An object has any length.
        call::FTRUNCATE => Ok(0),
        call::FUTEX => futex(m, &process, [a, b, c]),
        call::SCHED_SETAFFINITY => set_affinity(m, &process, b, c),
        call::SCHED_GETAFFINITY => affinity(m, &process, b, c),
        call::EXIT_GROUP => {
            process.end(m, exited(a));
            Ok(0)
        }
        call::MEMFD_CREATE => files::create_memory(m, &process, b),
        call::SET_WAY_OUT => {
            current().set_way_out(WayOut { begin: a, end: b, target: c });
            Ok(0)
        }
        _ => Err(Errno::NO_CALL),
    }
}

/// `clone`, as libraries use it for threads.
fn clone(m: &Metal, process: &Arc<Process>, trap: &Trap) -> Result<i64, Errno> {
    if trap.rdi != numbers::clone::THREAD || trap.rsi == 0 {
        return Err(Errno::INVALID);
    }
    let mut beginning = trap.of_child();
    beginning.stack = trap.rsi;
    process::add_thread(m, process, &beginning)
}

/// `wait4`, for one child or for any.
fn wait(m: &Metal, process: &Process, child: u64, status_at: u64) -> Result<i64, Errno> {
    let child = match child.cast_signed() {
        -1 => None,
        id @ 1.. => Some((id - 1) as u32),
        _ => return Err(Errno::INVALID),
    };
    let (id, status) = process::wait(m, process, child)?;
    if status_at != 0 {
        transfer::write(m, process, status_at, &status.to_le_bytes())?;
    }
    Ok(id)
}

fn futex(m: &Metal, process: &Process, [address, operation, value]: [u64; 3]) -> Result<i64, Errno> {
    use numbers::futex::{PRIVATE, WAIT, WAKE};
    match operation & !PRIVATE {
        WAIT => futex::wait(m, process, address, value as u32),
        WAKE => futex::wake(m, process, address, value),
        _ => Err(Errno::NO_CALL),
    }
}

/// `sched_setaffinity` of this thread: it runs on the first CPU of the set.
fn set_affinity(m: &Metal, process: &Process, length: u64, address: u64) -> Result<i64, Errno> {
    let mut bytes = [0; 8];
    transfer::read(m, process, address, &mut bytes[..(length as usize).min(8)])?;
    let cpu = u64::from_le_bytes(bytes).trailing_zeros() as u16;
    if cpu >= smp::n_cpus() {
        return Err(Errno::INVALID);
    }
    scheduler::move_to(Number(cpu));
    Ok(0)
}

/// `sched_getaffinity`: all CPUs that there are.
fn affinity(m: &Metal, process: &Process, length: u64, address: u64) -> Result<i64, Errno> {
    if length < 8 {
        return Err(Errno::INVALID);
    }
    let cpus = u64::MAX >> (64 - smp::n_cpus());
    transfer::write(m, process, address, &cpus.to_le_bytes())?;
    Ok(8)
}
