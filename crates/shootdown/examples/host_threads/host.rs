//! The process as a computer: the places for the library's state, CPUs that come up and go, and signals.
//!
//! In a kernel the places are statics or part of its own structures, and the rest is its boot and interrupt code.
#![expect(clippy::disallowed_types, reason = "this is the machine's own state, not the library's")]

use std::{
    array,
    cell::Cell,
    mem, ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

use shootdown::{
    Attributes, Counter, CpuId, Descriptor, Fix, Machine, Masked, PerCpu, Space, SpaceId, Vpn,
    call::{self, Present, Slot},
};

use super::{
    machine::{Cpu, on_kick},
    mmu::{Memory, Mmu, TABLES},
};

pub(crate) const N_CPUS: usize = 4;
pub(crate) const N_SPACES: usize = 2;

/// The signal that stands for the interrupt. One that is pending already is not queued again, and need not be: a
/// handler drains the whole inbox.
const KICK: libc::c_int = libc::SIGUSR1;

/// A CPU that waits longer than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything the CPUs share.
pub(crate) struct Host {
    pub(crate) memory: Memory,
    pub(crate) spaces: [Space<Cpu>; N_SPACES],
    pub(super) per_cpu: [PerCpu<Cpu>; N_CPUS],
    pub(super) slots: [[Slot<Cpu>; N_CPUS]; N_CPUS],
    pub(super) present: Present<Cpu>,
    pub(super) descriptors: [Descriptor<Cpu>; TABLES.end as usize],
    /// For tests: the step that [`Machine::keeps`] answers `false` for.
    pub(super) left_out: Option<Fix>,
    seed: u64,
    counters: [AtomicU64; Counter::COUNT],
    // The `pthread_t` of each CPU's thread, from before the first `meet` on.
    threads: [AtomicU64; N_CPUS],
    n_arrived: AtomicU64,
    n_ended: AtomicU64,
}

impl Host {
    fn new(seed: u64, left_out: Option<Fix>) -> Self {
        Host {
            memory: Memory::new(),
            spaces: array::from_fn(|id| Space::new(SpaceId(id as u32))),
            per_cpu: [const { PerCpu::new() }; N_CPUS],
            slots: [const { [const { Slot::new() }; N_CPUS] }; N_CPUS],
            present: Present::new(),
            descriptors: [const { Descriptor::new() }; TABLES.end as usize],
            left_out,
            seed,
            counters: zeroed(),
            threads: zeroed(),
            n_arrived: AtomicU64::new(0),
            n_ended: AtomicU64::new(0),
        }
    }

    /// Brings a new host up and runs `body` on every CPU at the same time; returns the host when all have ended.
    ///
    /// # Panics
    /// If a body panics. The other CPUs go on until they end or lose patience.
    pub(crate) fn run(seed: u64, left_out: Option<Fix>, body: impl Fn(&Cpu) + Sync) -> Arc<Self> {
        install_handler();
        let host = Arc::new(Host::new(seed, left_out));
        thread::scope(|scope| {
            for id in (0..N_CPUS as u16).map(CpuId) {
                let (host, body) = (Arc::clone(&host), &body);
                scope.spawn(move || {
                    let random = Cell::new(seed << 8 | u64::from(id.0) << 1 | 1);
                    let cpu = Cpu { id, host, mmu: Mmu::new(), random };
                    HERE.set(&cpu);
                    // SAFETY: has no conditions.
                    #[expect(unsafe_code, reason = "a thread's name for signals is the system's")]
                    let thread = unsafe { libc::pthread_self() };
                    cpu.host.threads[usize::from(id.0)].store(thread, Relaxed);
                    let _last = LeaveTogether(&cpu);
                    // ORDER(meet): all names are there before any CPU sends a signal.
                    cpu.meet();
                    body(&cpu);
                });
            }
        });
        host
    }

    /// Sends the interrupt to `cpu`.
    pub(super) fn kick(&self, cpu: CpuId) {
        let thread = self.threads[usize::from(cpu.0)].load(Relaxed);
        // SAFETY: the thread exists. It stored its name before the first `meet`, which the caller has passed, and does
        // not end before the caller's body has: see `LeaveTogether`.
        #[expect(unsafe_code, reason = "threads are the system's")]
        let error = unsafe { libc::pthread_kill(thread, KICK) };
        assert_eq!(error, 0, "the signal could not be sent");
    }

    /// Lets other threads run while `cpu` waits, which it has done since `begin`.
    ///
    /// # Panics
    /// If that is so long ago that it must be a deadlock.
    #[track_caller]
    pub(super) fn be_patient(&self, cpu: CpuId, begin: Instant) {
        let Host { seed, left_out, .. } = self;
        assert!(begin.elapsed() < PATIENCE, "deadlock: {cpu:?} waits for ever; seed {seed}, left out: {left_out:?}");
        thread::yield_now();
    }

    pub(super) fn count(&self, counter: Counter, times: u64) {
        self.counters[counter as usize].fetch_add(times, Relaxed);
    }

    /// Returns how often something happened until now.
    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }
}

impl Cpu {
    /// Uses `page` as a program does, in the loaded address space; tells whether it was mapped and permitted.
    pub(crate) fn access(&self, page: Vpn, wanted: Attributes) -> bool {
        // A processor takes interrupts between instructions, not amid the accesses of one.
        let _masked = Masked::new(self);
        self.mmu.access(&self.host.memory, page, wanted)
    }

    /// Waits until every CPU has come here as often as this one.
    pub(crate) fn meet(&self) {
        // ORDER(meet): whatever a CPU did before is seen by all after.
        let all_here = (self.host.n_arrived.fetch_add(1, AcqRel) / N_CPUS as u64 + 1) * N_CPUS as u64;
        call::wait(self, |m| (m.host.n_arrived.load(Acquire) >= all_here).then_some(()));
    }

    /// Lets other threads run, now and then: the CPU that is slow just here finds the windows of a protocol.
    pub(crate) fn dawdle(&self) {
        if self.random(16) == 0 {
            thread::yield_now();
        }
    }

    /// Returns a random number below `end`: Marsaglia's xorshift, multiplied.
    pub(crate) fn random(&self, end: u64) -> u64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}

/// Keeps this CPU there until all bodies have ended, by return or by panic: each may still have to answer another.
struct LeaveTogether<'c>(&'c Cpu);

impl Drop for LeaveTogether<'_> {
    fn drop(&mut self) {
        let n_ended = &self.0.host.n_ended;
        n_ended.fetch_add(1, AcqRel);
        while n_ended.load(Acquire) < N_CPUS as u64 {
            thread::yield_now();
        }
        // For good: this thread's handler does not run again, and the CPU may go.
        self.0.mask();
    }
}

thread_local! {
    // Neither lazy nor with a destructor: a handler may read it between any two instructions.
    static HERE: Cell<*const Cpu> = const { Cell::new(ptr::null()) };
}

/// Calls `body` with the CPU of this thread, if it is one.
pub(super) fn with_this_cpu(body: impl FnOnce(&Cpu)) {
    // SAFETY: null, or a CPU that `Host::run` owns further up on this thread's stack. After that frame has gone the
    // signal is masked, see `LeaveTogether`, so no handler asks.
    #[expect(unsafe_code, reason = "a handler has no argument to get its CPU from")]
    if let Some(cpu) = unsafe { HERE.get().as_ref() } {
        body(cpu);
    }
}

fn install_handler() {
    // SAFETY:
    // - all zeros is a valid `sigaction`, with an empty mask;
    // - the handler has the signature that goes without `SA_SIGINFO`, and calls nothing that is not safe in a handler:
    //   `call::handle_kick` neither allocates nor locks, and `pthread_sigmask` is on POSIX's list.
    #[expect(unsafe_code, reason = "signals are the system's")]
    let error = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_kick as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(KICK, &action, ptr::null_mut())
    };
    assert_eq!(error, 0, "the handler could not be installed");
}

/// Masks the interrupt on this thread; the result is what [`restore`] needs.
pub(super) fn mask() -> u64 {
    u64::from(set_mask(libc::SIG_BLOCK))
}

/// Puts the mask back.
pub(super) fn restore(was: u64) {
    if was == 0 {
        set_mask(libc::SIG_UNBLOCK);
    }
}

/// Masks or unmasks the interrupt on this thread and tells whether it was masked.
fn set_mask(how: libc::c_int) -> bool {
    // One block, since all four calls are about the same two sets.
    // SAFETY:
    // - all zeros is a valid `sigset_t`, the empty one;
    // - the pointers are to these two sets, which outlive the calls, and `KICK` is a signal.
    #[expect(unsafe_code, reason = "the signal mask is the system's")]
    unsafe {
        let (mut set, mut was) = mem::zeroed();
        libc::sigaddset(&mut set, KICK);
        assert_eq!(libc::pthread_sigmask(how, &set, &mut was), 0, "the mask could not be changed");
        libc::sigismember(&was, KICK) == 1
    }
}

fn zeroed<const N: usize>() -> [AtomicU64; N] {
    [const { AtomicU64::new(0) }; N]
}
