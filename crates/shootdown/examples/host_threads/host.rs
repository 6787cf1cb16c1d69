//! The process as a computer: the places for the library's state, CPUs that come up and go, and signals.
//!
//! In a kernel the places are statics or part of its own structures, and the rest is its boot and interrupt code.
#![expect(clippy::disallowed_types, reason = "this is the machine's own state, not the library's")]

use std::{
    array,
    cell::Cell,
    fmt::Write as _,
    mem, ptr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

use shootdown::{
    Attributes, Counter, CpuId, Descriptor, Fix, Machine, Masked, OneMemory, PageState, PerCpu, Space, SpaceId, Vpn,
    call::{self, Notice, Present, Slot, Waiting, Work},
};

use super::{
    machine::{Cpu, on_kick},
    mmu::{DATA, Memory, Mmu, Owner, TABLES},
};

pub(crate) const N_CPUS: usize = 8;
pub(crate) const N_SPACES: usize = 2;

/// The signal that stands for the interrupt. One that is pending already is not queued again, and need not be: a
/// handler drains the whole inbox.
const KICK: libc::c_int = libc::SIGUSR1;

/// What is run, and what a CPU does that waits for too long.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// For tests: the step that [`Machine::keeps`] answers `false` for.
    pub(crate) left_out: Option<Fix>,
    /// A CPU that waits longer than this waits for ever.
    pub(crate) patience: Duration,
    /// What repeats the run.
    pub(crate) command: String,
}

impl Settings {
    /// Makes the settings of a run that this command repeats.
    pub(crate) fn new(seed: u64, left_out: Option<Fix>, command: String) -> Self {
        Settings { seed, left_out, patience: Duration::from_secs(20), command }
    }
}

/// What the kernel of this machine does besides using the library. There is one for each CPU.
pub(crate) trait Kernel {
    /// Does what another CPU asks for, see [`Machine::run`].
    fn run(&self, m: &Cpu, work: Work) {
        let _ = (m, work);
    }

    /// Hears a notice, see [`Machine::noticed`].
    fn noticed(&self, m: &Cpu, notice: Notice) {
        let _ = (m, notice);
    }

    /// Does deferred work, at the end of an interrupt. Interrupts are masked.
    fn after_kick(&self, m: &Cpu) {
        let _ = m;
    }
}

/// Does nothing besides.
impl Kernel for () {}

/// Everything the CPUs share.
pub(crate) struct Host {
    pub(crate) memory: Memory,
    pub(crate) spaces: [Space<Cpu>; N_SPACES],
    pub(super) per_cpu: [PerCpu<Cpu>; N_CPUS],
    pub(super) slots: [[Slot<Cpu>; N_CPUS]; N_CPUS],
    pub(super) present: Present<Cpu>,
    pub(super) descriptors: [Descriptor<Cpu>; TABLES.end as usize],
    pub(super) pages: [PageState<Cpu>; DATA.end as usize],
    pub(super) settings: Settings,
    counters: [AtomicU64; Counter::COUNT],
    // Whom each CPU has last waited for: a CPU's number plus two, 1 for anything else, 0 for nobody.
    waits: [AtomicU64; N_CPUS],
    longest_rounds: AtomicU64,
    longest_ns: AtomicU64,
    n_hung: AtomicU64,
    // The `pthread_t` of each CPU's thread, from before the first `meet` on.
    threads: [AtomicU64; N_CPUS],
    n_arrived: AtomicU64,
    n_ended: AtomicU64,
}

impl Host {
    /// Makes a machine whose CPUs are off.
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        install_handler();
        Arc::new(Host {
            memory: Memory::new(),
            spaces: array::from_fn(|id| Space::new(SpaceId(id as u32))),
            per_cpu: [const { PerCpu::new() }; N_CPUS],
            slots: [const { [const { Slot::new() }; N_CPUS] }; N_CPUS],
            present: Present::new(),
            descriptors: [const { Descriptor::new() }; TABLES.end as usize],
            pages: [const { PageState::new() }; DATA.end as usize],
            settings,
            counters: zeroed(),
            waits: zeroed(),
            longest_rounds: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
            n_hung: AtomicU64::new(0),
            threads: zeroed(),
            n_arrived: AtomicU64::new(0),
            n_ended: AtomicU64::new(0),
        })
    }

    /// Switches the CPUs on and runs `body` on all of them at the same time; returns when all have ended.
    ///
    /// # Panics
    /// If a body panics: the other CPUs go on until they end or lose patience. If it is called again.
    pub(crate) fn run(self: &Arc<Self>, body: impl Fn(&Cpu) + Sync) {
        self.run_kernel(|_| (), |m, ()| body(m));
    }

    /// The same with a kernel that `boot` makes for each CPU.
    pub(crate) fn run_kernel<K: Kernel + 'static>(
        self: &Arc<Self>,
        boot: impl Fn(CpuId) -> K + Sync,
        body: impl Fn(&Cpu, &K) + Sync,
    ) {
        // A second run would send signals to threads of the first.
        assert_eq!(self.n_ended.load(Relaxed), 0, "a machine is switched on once");
        thread::scope(|scope| {
            for id in (0..N_CPUS as u16).map(CpuId) {
                let (host, boot, body) = (Arc::clone(self), &boot, &body);
                scope.spawn(move || {
                    let random = Random::new(host.settings.seed, u64::from(id.0));
                    let kernel = Rc::new(boot(id));
                    let cpu = Cpu { id, host, mmu: Mmu::new(), random, kernel: Rc::clone(&kernel) as Rc<dyn Kernel> };
                    HERE.set(&cpu);
                    // SAFETY: has no conditions.
                    #[expect(unsafe_code, reason = "a thread's name for signals is the system's")]
                    let thread = unsafe { libc::pthread_self() };
                    cpu.host.threads[usize::from(id.0)].store(thread, Relaxed);
                    call::arrive(&cpu);
                    let _last = LeaveTogether(&cpu);
                    // ORDER(meet): all names are there before any CPU sends a signal.
                    cpu.meet();
                    body(&cpu, &kernel);
                });
            }
        });
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

    /// Calls `ready` until it returns something, and lets other threads run in between.
    ///
    /// # Panics
    /// If that takes so long that it must be a deadlock.
    pub(super) fn spin<R>(&self, cpu: CpuId, ready: impl Fn() -> Option<R>) -> R {
        if let Some(result) = ready() {
            return result;
        }
        let begin = Instant::now();
        for n_rounds in 1.. {
            if begin.elapsed() > self.settings.patience {
                self.n_hung.fetch_add(1, Relaxed);
                panic!("{}", self.deadlock(cpu));
            }
            thread::yield_now();
            if let Some(result) = ready() {
                self.longest_rounds.fetch_max(n_rounds, Relaxed);
                self.longest_ns.fetch_max(begin.elapsed().as_nanos() as u64, Relaxed);
                self.waits[usize::from(cpu.0)].store(0, Relaxed);
                return result;
            }
        }
        unreachable!("patience ends before the numbers do")
    }

    /// Hears whom `cpu` waits for, and that no interrupt for it can have been lost.
    pub(super) fn waits_for(&self, cpu: CpuId, waiting: Waiting) -> bool {
        let whom = if let Waiting::Answer(target) = waiting { u64::from(target.0) + 2 } else { 1 };
        self.waits[usize::from(cpu.0)].store(whom, Relaxed);
        false
    }

    /// Says who waits for whom, and how to see it again.
    fn deadlock(&self, cpu: CpuId) -> String {
        let Settings { seed, left_out, command, .. } = &self.settings;
        let mut message = format!("deadlock: CPU {} waits for ever; ", cpu.0);
        for (cpu, whom) in self.waits.iter().enumerate() {
            let _infallible = match whom.load(Relaxed) {
                0 => Ok(()),
                1 => write!(message, "CPU {cpu} waits; "),
                whom => write!(message, "CPU {cpu} waits for CPU {}; ", whom - 2),
            };
        }
        message + &format!("left out: {left_out:?}; seed {seed}: {command}")
    }

    /// Returns what repeats the run.
    pub(crate) fn command(&self) -> &str {
        &self.settings.command
    }

    /// Returns how many CPUs have lost patience.
    pub(crate) fn n_hung(&self) -> u64 {
        self.n_hung.load(Relaxed)
    }

    /// Returns the most rounds that a wait has taken, and the longest time.
    pub(crate) fn longest_wait(&self) -> (u64, Duration) {
        (self.longest_rounds.load(Relaxed), Duration::from_nanos(self.longest_ns.load(Relaxed)))
    }

    pub(super) fn count(&self, counter: Counter, times: u64) {
        self.counters[counter as usize].fetch_add(times, Relaxed);
    }

    /// Returns how often something happened until now.
    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }
}

// SAFETY: CPUs are threads of one process, and the lock's words are its atomics, used with the order asked for.
#[expect(unsafe_code, reason = "locks over plain data, and closures, cross from one CPU to another")]
unsafe impl OneMemory for Cpu {}

impl Cpu {
    /// Uses `page` as a program does, in the loaded address space; tells whether it was mapped and permitted.
    pub(crate) fn access(&self, page: Vpn, wanted: Attributes) -> bool {
        // A processor takes interrupts between instructions, not amid the accesses of one.
        let _masked = Masked::new(self);
        self.mmu.access(&self.host.memory, page, wanted)
    }

    /// Uses `page` as the kernel does; the frame must be this owner's.
    #[allow(dead_code, reason = "a test of kernel mappings uses it")]
    pub(crate) fn access_of(&self, page: Vpn, wanted: Attributes, owner: Owner) -> bool {
        let _masked = Masked::new(self);
        self.mmu.access_of(&self.host.memory, page, wanted, owner)
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

    /// Returns a random number below `end`.
    pub(crate) fn random(&self, end: u64) -> u64 {
        self.random.below(end)
    }
}

/// Random numbers of one CPU's code; interrupt handlers have their own.
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Random(Cell::new(seed << 8 | stream << 1 | 1))
    }

    /// Returns a random number below `end`: Marsaglia's xorshift, multiplied.
    pub(crate) fn below(&self, end: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}

/// Switches this CPU off when its body ends, by return or by panic. Its thread stays until all have, since a CPU that does
/// not know yet may still interrupt it.
struct LeaveTogether<'c>(&'c Cpu);

impl Drop for LeaveTogether<'_> {
    fn drop(&mut self) {
        let &mut LeaveTogether(cpu) = self;
        // For good: this thread's handler does not run again.
        cpu.mask();
        call::depart(cpu);
        let n_ended = &cpu.host.n_ended;
        n_ended.fetch_add(1, AcqRel);
        while n_ended.load(Acquire) < N_CPUS as u64 {
            thread::yield_now();
        }
    }
}

thread_local! {
    // Neither lazy nor with a destructor: a handler may read it between any two instructions.
    static HERE: Cell<*const Cpu> = const { Cell::new(ptr::null()) };
}

/// Runs `handler` as that of an interrupt of this thread's CPU, if it is one.
pub(super) fn interrupt(handler: impl FnOnce(&Cpu)) {
    // SAFETY: null, or a CPU that `Host::run` owns further up on this thread's stack. After that frame has gone the
    // signal is masked, see `LeaveTogether`, so no handler asks.
    #[expect(unsafe_code, reason = "a handler has no argument to get its CPU from")]
    if let Some(cpu) = unsafe { HERE.get().as_ref() } {
        handler(cpu);
        cpu.kernel.after_kick(cpu);
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
