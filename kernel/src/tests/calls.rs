//! Calls between CPUs where they are hard: with interrupts masked, and with interrupts that are lost.

use core::sync::atomic::{AtomicU64, Ordering::*};

use shootdown::{CpuSet, Machine as _, Masked, call};

use super::{Outcome, ensure};
use crate::{
    command_line::CommandLine,
    cpu::{self, MAX_CPUS},
    jobs,
    machine::{self, Cpus, Metal},
    smp,
};

const N_ROUNDS: u64 = 500;
const N_LOST: u64 = 20;

/// How many calls have arrived on each CPU. A static: what is called may not borrow from a caller that, with a fix left
/// out, does not wait.
static N_ARRIVED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

fn everybody(m: &Metal) -> CpuSet<Cpus> {
    let mut everybody = jobs::others(m);
    everybody.insert(m.cpu());
    everybody
}

fn arrive(m: &Metal) {
    N_ARRIVED[usize::from(m.cpu().0)].fetch_add(1, Relaxed);
}

/// Calls all CPUs and counts on which it arrives.
fn call_everybody(m: &Metal) {
    call::with(m, &everybody(m), &arrive);
}

fn begin() {
    N_ARRIVED.iter().for_each(|n_arrived| n_arrived.store(0, Relaxed));
}

/// Fails unless so many calls have arrived on each CPU.
fn ensure_arrived(n_calls: u64) -> Outcome {
    let all_have = N_ARRIVED[..usize::from(smp::n_cpus())].iter().all(|n_arrived| n_arrived.load(Relaxed) == n_calls);
    ensure(all_have, "a call has not arrived, or has arrived twice")
}

/// All CPUs call all at once, so each waits for others that wait for it, and none can be interrupted.
pub(super) fn masked(m: &Metal, _: &CommandLine) -> Outcome {
    begin();
    jobs::on_every_cpu(m, &|m| {
        jobs::meet();
        let _masked = Masked::new(m);
        for _ in 0..N_ROUNDS {
            call_everybody(m);
        }
    });
    ensure_arrived(N_ROUNDS * u64::from(smp::n_cpus()))
}

/// The interrupts of calls are lost; every CPU's timer finds what they were for.
pub(super) fn lost(m: &Metal, _: &CommandLine) -> Outcome {
    begin();
    let n_done = AtomicU64::new(0);
    jobs::on_every_cpu(m, &|m| {
        if m.cpu().0 != 0 {
            jobs::until(|| n_done.load(Relaxed) == N_LOST);
            return;
        }
        machine::lose_kicks(true);
        for _ in 0..N_LOST {
            call_everybody(m);
            n_done.fetch_add(1, Relaxed);
            cpu::pause();
        }
        machine::lose_kicks(false);
    });
    ensure_arrived(N_LOST)
}
