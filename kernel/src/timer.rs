//! Each CPU's timer: it fires after random waits, so that the seed decides where code is interrupted.

use crate::{apic, cpu, places, random};

/// Shortest and longest wait. Counted in instructions of all CPUs under `-icount`, so they can be short there.
const WAIT_NS: (u64, u64) = (20_000, 400_000);
const WAIT_COUNTED_NS: (u64, u64) = (500, 20_000);

/// Starts this CPU's timer.
pub(crate) fn start() {
    if cfg!(not(feature = "bench")) {
        restart();
    }
}

/// Starts it again, in its handler.
pub(crate) fn restart() {
    let (shortest, longest) = if places::counts_instructions() { WAIT_COUNTED_NS } else { WAIT_NS };
    apic::start_timer((shortest + random::for_timer(cpu::number(), longest - shortest)) as u32);
}
