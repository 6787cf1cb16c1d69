//! Giving all CPUs something to do: they sleep until there is a job, or a program's thread, lazy in whatever address space
//! they had.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

use shootdown::{CpuId, CpuSet, Machine as _, call, call::Notice, residency};

use crate::{
    cpu,
    machine::{Cpus, Metal},
    smp, user,
};

type Job<'j> = &'j (dyn Fn(&Metal) + Sync);

/// The address of the [`Job`] of this round.
static JOB: AtomicUsize = AtomicUsize::new(0);
static ROUND: AtomicU64 = AtomicU64::new(0);
static N_DONE: AtomicU64 = AtomicU64::new(0);
static N_MET: AtomicU64 = AtomicU64::new(0);

/// Every CPU but this one.
pub(crate) fn others(m: &Metal) -> CpuSet<Cpus> {
    (0..smp::n_cpus()).map(CpuId).filter(|cpu| *cpu != m.cpu()).collect()
}

/// Runs `job` on every CPU at the same time; returns when all have. For the first CPU.
pub(crate) fn on_every_cpu(m: &Metal, job: Job<'_>) {
    N_DONE.store(0, Relaxed);
    JOB.store((&raw const job).expose_provenance(), Relaxed);
    // Release: whoever sees the round sees the job.
    ROUND.fetch_add(1, Release);
    let others = others(m);
    call::notify(m, &others, Notice::Reschedule);
    job(m);
    while N_DONE.load(Acquire) < others.len() as u64 {
        cpu::pause();
    }
}

/// Does one job after the other, for ever.
pub(crate) fn idle(m: &Metal) -> ! {
    let mut n_seen = 0;
    loop {
        user::run_until(m, || ROUND.load(Acquire) != n_seen);
        n_seen += 1;
        // If the job has come before it would have slept.
        residency::enter_lazy(m);
        // SAFETY: `on_every_cpu` made the address of a `Job` on its stack, which is there until this CPU has said that
        // it is done. There is one round at a time, so it is the one of this round.
        let job: Job<'_> = unsafe { *core::ptr::with_exposed_provenance::<Job<'_>>(JOB.load(Relaxed)) };
        job(m);
        // Release: what the job did is seen by whoever waits for it.
        N_DONE.fetch_add(1, Release);
    }
}

/// Waits, with interrupts open, until every CPU has come here as often as this one. Within a job.
pub(crate) fn meet() {
    let n_cpus = u64::from(smp::n_cpus());
    let all_here = (N_MET.fetch_add(1, AcqRel) / n_cpus + 1) * n_cpus;
    while N_MET.load(Acquire) < all_here {
        cpu::pause();
    }
}

/// Waits, with interrupts open, until something is so.
pub(crate) fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        cpu::pause();
    }
}

/// Lets others run for a moment, now and then: whoever is slow just here finds the windows of a protocol.
pub(crate) fn dawdle() {
    if crate::random::below(4) == 0 {
        for _ in 0..crate::random::below(8) {
            cpu::pause();
        }
    }
}
