//! The calls that programs make, by Linux's numbers for x86-64.

use super::{
    before_return,
    errors::Errno,
    files, futex,
    mappings::Mappings,
    process::{self, Process, exited},
    scheduler,
    thread::{self, WayOut, current},
    transfer,
    trap::Trap,
};
use crate::{cpu::Number, machine::Metal, smp};
use alloc::sync::Arc;

/// Not Linux's: where the thread goes on after a fault that nothing can be done about.
const SET_WAY_OUT: u64 = 1000;
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
        0 => files::read(m, &process, a, b, c),
        1 => files::write(m, &process, a, b, c),
        2 => files::open(m, &process, a),
        3 => files::close(m, &process, a),
        9 => mappings.map(arguments),
        10 => mappings.protect(a, b, c),
        11 => mappings.unmap(a, b),
        24 => {
            scheduler::give_way(m);
            Ok(0)
        }
        25 => mappings.remap([a, b, c, d, e]),
        28 => mappings.advise(a, b, c),
        39 => Ok(process.id()),
        56 => clone(m, &process, trap),
        57 => process::fork(m, &process, &trap.of_child()),
        60 => {
            thread::end_current();
            Ok(0)
        }
        61 => wait(m, &process, a, b),
        77 => Ok(0),
        202 => futex(m, &process, [a, b, c]),
        203 => set_affinity(m, &process, b, c),
        204 => affinity(m, &process, b, c),
        231 => {
            process.end(m, exited(a));
            Ok(0)
        }
        319 => files::create_memory(m, &process, b),
        SET_WAY_OUT => {
            current().set_way_out(WayOut { begin: a, end: b, target: c });
            Ok(0)
        }
        _ => Err(Errno::NO_CALL),
    }
}

/// `clone`, as libraries use it for threads.
fn clone(m: &Metal, process: &Arc<Process>, trap: &Trap) -> Result<i64, Errno> {
    /// Memory, file systems, files, handlers, thread group, semaphores.
    const THREAD: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
    if trap.rdi != THREAD || trap.rsi == 0 {
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
    const WAIT: u64 = 0;
    const WAKE: u64 = 1;
    const PRIVATE: u64 = 128;
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
