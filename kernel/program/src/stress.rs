//! Everything at random: threads of several processes map, unmap, protect, move and discard pages, fork, and use the pages.
//!
//! A page that is used says whose it is: what is loaded from one must be zero, or what its own process has stored there. What
//! a region is, the one who changes it says *after* the call has returned; so who uses it meanwhile, and finds the same said
//! before and after, knows what must have happened. It runs on kernels only that let a program go on after a fault.

use core::{
    hint,
    sync::atomic::{AtomicU64, Ordering::*},
};

use crate::{
    access,
    calls::{self, Errno, NO_RESERVE, SHARED},
    memory::{self, GIB, LARGE_PAGE, PAGE, add},
    output::println,
    random::Random,
    threads,
};
use regions::{N_REGIONS, Regions};

mod nap;
mod regions;
mod watch;

/// Processes that have threads on several CPUs.
const N_PROCESSES: usize = 2;

/// What all processes know of each other.
pub(crate) struct Shared {
    seed: AtomicU64,
    n_operations: AtomicU64,
    most_operations: AtomicU64,
    pub(crate) n_accesses: AtomicU64,
    n_forks: AtomicU64,
    n_wrong: AtomicU64,
    /// Of each process.
    regions: [Regions; N_PROCESSES],
    watched: [watch::Counters; N_PROCESSES],
    beds: [nap::Beds; N_PROCESSES],
}

/// This process, for its threads.
static SHARED_AT: AtomicU64 = AtomicU64::new(0);
static PROCESS: AtomicU64 = AtomicU64::new(0);
static LARGE_FILE: AtomicU64 = AtomicU64::new(0);

/// What a thread works with.
pub(crate) struct Worker {
    pub(crate) shared: &'static Shared,
    pub(crate) process: usize,
    pub(crate) random: Random,
}

/// Does so many operations; returns the exit status.
pub(crate) fn run(seed: u64, n_operations: u64) -> i32 {
    match processes(seed, n_operations) {
        Ok(shared) => {
            let [operations, accesses, forks, wrong] =
                [&shared.n_operations, &shared.n_accesses, &shared.n_forks, &shared.n_wrong]
                    .map(|counter| counter.load(Relaxed));
            println!("{operations} operations, {forks} of them forks, {accesses} accesses looked at, {wrong} wrong");
            // Few would prove nothing.
            i32::from(wrong > 0 || accesses < n_operations / 2 || forks < n_operations / 200)
        }
        Err(Errno(number)) => {
            println!("the stress has failed: error {number}");
            1
        }
    }
}

fn processes(seed: u64, n_operations: u64) -> Result<&'static Shared, Errno> {
    // SAFETY: atomics only.
    let shared: &'static Shared = unsafe { memory::shared()? };
    shared.seed.store(seed, Relaxed);
    shared.most_operations.store(n_operations, Relaxed);
    SHARED_AT.store(calls::address_of(shared), Relaxed);
    LARGE_FILE.store(calls::create_large_memory()?, Relaxed);
    let mut children = [0; N_PROCESSES];
    for (number, child) in children.iter_mut().enumerate() {
        // SAFETY: there is one thread.
        *child = unsafe { calls::fork()? };
        if *child == 0 {
            PROCESS.store(number as u64, Relaxed);
            let outcome = work_on_all_cpus(number);
            calls::exit(outcome.map_or_else(|Errno(number)| number as i32, |()| 0))
        }
    }
    for child in children {
        match calls::wait(child)? {
            0 => {}
            status => {
                println!("a process has ended with status {status:#x}");
                add(&shared.n_wrong, 1);
            }
        }
    }
    Ok(shared)
}

/// The first process has a thread on each CPU; each other one on every second.
fn work_on_all_cpus(number: usize) -> Result<(), Errno> {
    let n_cpus = calls::n_cpus()?;
    watch::begin()?;
    Worker::of_this_process(n_cpus).beds().begin(n_cpus.saturating_sub(number as u64).div_ceil(number as u64 + 1));
    let mut started = [None; threads::MOST];
    for (thread, cpu) in started.iter_mut().zip((0..n_cpus).skip(number).step_by(number + 1)) {
        *thread = Some(threads::start(work, cpu)?);
    }
    started.into_iter().flatten().for_each(threads::Thread::join);
    Ok(())
}

extern "C" fn work(cpu: u64) {
    let mut worker = Worker::of_this_process(cpu);
    let shared = worker.shared;
    if calls::run_on(cpu).and_then(|_| access::prepare()).is_err() {
        worker.complain("a thread cannot begin", 0, 0);
        return;
    }
    let goes_on = || {
        let n_operations = shared.n_operations.fetch_add(1, Relaxed);
        n_operations < shared.most_operations.load(Relaxed) && shared.n_wrong.load(Relaxed) == 0
    };
    while goes_on() {
        worker.operate();
    }
    shared.n_operations.fetch_sub(1, Relaxed);
    worker.beds().leave();
}

extern "C" fn visit(cpu: u64) {
    // If it cannot go there, it has been here.
    calls::run_on(cpu).unwrap_or_default();
    watch::nothing_changes(&mut Worker::of_this_process(cpu));
}

impl Worker {
    /// One of this process, with the stream of random numbers of a CPU.
    fn of_this_process(cpu: u64) -> Worker {
        let shared_at = SHARED_AT.load(Relaxed) as usize;
        // SAFETY: `processes` has put the address of a reference there, for ever.
        let shared: &'static Shared = unsafe { &*core::ptr::with_exposed_provenance(shared_at) };
        let process = PROCESS.load(Relaxed) as usize;
        let random = Random::new(shared.seed.load(Relaxed) << 16 | cpu << 9 | (process as u64) << 1);
        Worker { shared, process, random }
    }

    fn beds(&self) -> &'static nap::Beds {
        &self.shared.beds[self.process]
    }

    fn regions(&self) -> &'static Regions {
        &self.shared.regions[self.process]
    }

    pub(crate) fn counters(&self) -> &'static watch::Counters {
        &self.shared.watched[self.process]
    }

    /// Says that something is as it must not be.
    pub(crate) fn complain(&self, what: &str, address: u64, found: u64) {
        if self.shared.n_wrong.fetch_add(1, Relaxed) < 3 {
            println!("process {}: {what}, at {address:#x}: {found:#x}", self.process);
        }
    }

    fn operate(&mut self) {
        let region = self.random.below(N_REGIONS as u64) as usize;
        match self.random.below(100) {
            0..10 => self.regions().map(self, region),
            10..16 => self.regions().unmap(self, region),
            16..20 => self.regions().forbid_stores(self, region),
            20..24 => self.regions().permit_stores(self, region),
            24..28 => self.regions().discard(self, region),
            28..31 => {
                let to = self.random.below(N_REGIONS as u64) as usize;
                self.regions().relocate(self, region, to);
            }
            31 => self.fork(),
            32..38 => watch::count(self),
            38..44 => watch::look(self),
            44..47 => self.beds().nap(),
            47..52 => self.beds().wake_all(),
            _ => self.regions().access(self, region),
        }
        if self.random.below(4) == 0 {
            // Whoever is slow just here finds the windows of a protocol.
            (0..self.random.below(8)).for_each(|_| hint::spin_loop());
        }
    }

    /// Makes a copy of this process, which looks at its memory for a while.
    fn fork(&mut self) {
        add(&self.shared.n_forks, 1);
        // SAFETY: the child uses this thread's stack, and what is shared.
        match unsafe { calls::fork() } {
            Ok(0) => {
                let is_right = watch::nothing_changes(self);
                if self.random.below(2) == 0 {
                    self.use_another_cpu();
                }
                calls::exit(if is_right { 0 } else { 1 })
            }
            Ok(child) => match calls::wait(child) {
                Ok(0) => {}
                Ok(status) => self.complain("a child has ended with a status", 0, status as u64),
                Err(Errno(number)) => self.complain("a child was not there any more", 0, number as u64),
            },
            // There is a limit to them, and to memory.
            Err(_) => {}
        }
    }

    /// In a child: leaves another CPU behind that had this address space.
    fn use_another_cpu(&mut self) {
        let cpu = calls::n_cpus().map_or(0, |n_cpus| self.random.below(n_cpus));
        // There is a limit to them.
        if let Ok(thread) = threads::start(visit, cpu) {
            thread.join();
        }
    }

    /// Maps large pages that all processes have.
    pub(crate) fn map_large(&self, address: u64, protection: u64) -> Result<u64, Errno> {
        // SAFETY: only addresses of regions, where no Rust value lies.
        unsafe { calls::map(address, GIB, protection, SHARED | calls::FIXED | NO_RESERVE, LARGE_FILE.load(Relaxed)) }
    }
}

/// Bytes of a large region that are used.
pub(crate) const LARGE_BYTES: u64 = 2 * LARGE_PAGE;
/// Bytes of a small region.
pub(crate) const SMALL_BYTES: u64 = 12 * PAGE;
