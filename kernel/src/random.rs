//! Random numbers, two streams for each CPU: one for what it does, one for its timer, so that neither disturbs the
//! other.

use core::sync::atomic::{AtomicU64, Ordering::*};

use crate::cpu::{self, MAX_CPUS, Number};

static WORK: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(1) }; MAX_CPUS];
static TIMER: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(1) }; MAX_CPUS];

/// Begins both streams of a CPU anew.
pub(crate) fn seed(cpu: Number, seed: u64) {
    let index = usize::from(cpu.0);
    // Odd, so not 0, which the generator would never leave; spread, so that near seeds do not run alike at first.
    let spread = |stream: u64| (seed << 8 | u64::from(cpu.0) << 1 | stream).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    WORK[index].store(spread(0), Relaxed);
    TIMER[index].store(spread(1), Relaxed);
}

/// A number below `end` for what this CPU does. Not for handlers.
pub(crate) fn below(end: u64) -> u64 {
    next(&WORK[usize::from(cpu::number().0)], end)
}

/// A number below `end` for this CPU's timer. For its handler.
pub(crate) fn for_timer(cpu: Number, end: u64) -> u64 {
    next(&TIMER[usize::from(cpu.0)], end)
}

/// Marsaglia's xorshift, multiplied.
fn next(state: &AtomicU64, end: u64) -> u64 {
    let mut word = state.load(Relaxed);
    word ^= word >> 12;
    word ^= word << 25;
    word ^= word >> 27;
    state.store(word, Relaxed);
    (word.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
}
