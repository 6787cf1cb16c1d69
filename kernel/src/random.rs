//! Random numbers, two streams for each CPU: one for what it does, one for its timer, so that neither disturbs the
//! other.

use core::sync::atomic::{AtomicU64, Ordering::*};

use self::xorshift::Random;
use crate::cpu::{self, MAX_CPUS, Number};

mod xorshift;

static WORK: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(1) }; MAX_CPUS];
static TIMER: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(1) }; MAX_CPUS];

/// Begins both streams of a CPU anew.
pub(crate) fn seed(cpu: Number, seed: u64) {
    let index = usize::from(cpu.0);
    for (stream, states) in [(0, &WORK), (1, &TIMER)] {
        states[index].store(Random::new(seed << 8 | u64::from(cpu.0) << 1 | stream).0, Relaxed);
    }
}

/// A number below `end` for what this CPU does. Not for handlers.
pub(crate) fn below(end: u64) -> u64 {
    next(&WORK[usize::from(cpu::number().0)], end)
}

/// A number below `end` for this CPU's timer. For its handler.
pub(crate) fn for_timer(cpu: Number, end: u64) -> u64 {
    next(&TIMER[usize::from(cpu.0)], end)
}

fn next(state: &AtomicU64, end: u64) -> u64 {
    let mut random = Random(state.load(Relaxed));
    let number = random.below(end);
    state.store(random.0, Relaxed);
    number
}
