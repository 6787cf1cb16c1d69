//! All CPUs at once call each other in every way there is, mask interrupts, take locks, go away and come back; interrupt
//! handlers make calls too. What must come of it is in `ledger.rs`.
#![expect(clippy::disallowed_types, reason = "the counts are of the test, not of the library")]

use std::{
    array,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicU64, Ordering::*},
    thread,
};

use shootdown::{
    CpuId, Fix, Machine, Masked, Mutex, Own,
    call::{self, Notice, Work},
    lock::Locked,
};

use super::{
    host::{Host, Kernel, N_CPUS, Random, Settings},
    ledger::{Ledger, Line, N_LINES, Targets},
    machine::Cpu,
    outcome::Outcome,
};

const NOTICES: [Notice; 2] = [Notice::Reschedule, Notice::Stop];
/// What a CPU has done when it will do nothing more.
const ALL_DONE: u64 = u64::MAX;

/// What the CPUs share.
struct Shared {
    ledger: Ledger,
    locked: Locked<Cpu, Own<Cpu>>,
    mutex: Mutex<Cpu, u64>,
    // Holds of both locks.
    n_holds: AtomicU64,
    // How far each CPU has come; `ALL_DONE` in the end.
    progress: [AtomicU64; N_CPUS],
    // Odd while the CPU is in a section with interrupts masked.
    sections: [AtomicU64; N_CPUS],
    // For each notice and CPU: how many were given, and how many of them before the last one was heard.
    given: [[AtomicU64; N_CPUS]; NOTICES.len()],
    heard: [[AtomicU64; N_CPUS]; NOTICES.len()],
    n_journeys: AtomicU64,
    n_in_handlers: AtomicU64,
    n_overtaken: AtomicU64,
    n_unlocked: AtomicU64,
}

/// Returns the settings of a run with `n_calls` calls.
pub(crate) fn settings(seed: u64, n_calls: u64, left_out: Option<Fix>) -> Settings {
    let command = format!("cargo run --release -p shootdown --example host_threads -- calls {n_calls} {seed}");
    Settings::new(seed, left_out, command)
}

/// Makes `n_calls` calls, as many from each CPU, and as many more as interrupt handlers happen to make.
///
/// Where a step is left out, CPUs may lose patience in a call; handlers, which cannot panic, then make none.
pub(crate) fn calls(settings: Settings, n_calls: u64) -> Outcome {
    // What a call runs that nobody waits for must live for ever.
    let shared: &'static Shared = Box::leak(Box::new(Shared::new()));
    let host = Host::new(settings);
    let run = AssertUnwindSafe(|| {
        host.run_kernel(|cpu| Node::new(cpu, shared, &host.settings), |m, node| node.run(m, n_calls / N_CPUS as u64));
    });
    if let Err(panic) = panic::catch_unwind(run)
        && host.n_hung() == 0
    {
        panic::resume_unwind(panic);
    }
    let given_and_heard = shared.given.iter().flatten().zip(shared.heard.iter().flatten());
    Outcome {
        host,
        tally: &shared.ledger.tally,
        n_journeys: shared.n_journeys.load(Relaxed),
        n_in_handlers: shared.n_in_handlers.load(Relaxed),
        n_overtaken: shared.n_overtaken.load(Relaxed),
        n_unlocked: shared.n_unlocked.load(Relaxed),
        n_unheard: given_and_heard.map(|(given, heard)| given.load(Relaxed) - heard.load(Relaxed)).sum(),
    }
}

impl Shared {
    fn new() -> Self {
        Shared {
            ledger: Ledger::default(),
            locked: Locked::new(Own::ZERO),
            mutex: Mutex::new(0),
            n_holds: AtomicU64::new(0),
            progress: Default::default(),
            sections: Default::default(),
            given: Default::default(),
            heard: Default::default(),
            n_journeys: AtomicU64::new(0),
            n_in_handlers: AtomicU64::new(0),
            n_overtaken: AtomicU64::new(0),
            n_unlocked: AtomicU64::new(0),
        }
    }
}

/// The lines of code that makes calls, and its own random numbers: a handler may interrupt anything.
struct Caller {
    random: Random,
    waited: Line,
    begun: Vec<Line>,
}

/// One CPU's kernel.
struct Node {
    shared: &'static Shared,
    main: Caller,
    handler: Caller,
    with_closure: Line,
    closure: &'static Closure,
    // Whether handlers may make calls: not on top of each other, and not in the end.
    handlers_may_call: Cell<bool>,
    may_unwind: bool,
}

type Closure = Box<dyn Fn(&Cpu) + Sync>;

impl Node {
    fn new(cpu: CpuId, shared: &'static Shared, settings: &Settings) -> Self {
        let [a, b, c, d, e, f, g]: [Line; N_LINES] = array::from_fn(|line| Line::new(&shared.ledger, cpu, line));
        let random = |stream| Random::new(settings.seed, stream * N_CPUS as u64 + u64::from(cpu.0));
        let closure: Closure = Box::new(c.closure());
        Node {
            shared,
            main: Caller { random: random(1), waited: a, begun: vec![d, e, f] },
            handler: Caller { random: random(2), waited: b, begun: vec![g] },
            with_closure: c,
            closure: Box::leak(Box::new(closure)),
            handlers_may_call: Cell::new(settings.left_out.is_none()),
            may_unwind: settings.left_out.is_some(),
        }
    }

    fn run(&self, m: &Cpu, n_calls: u64) {
        let progress = &self.shared.progress[usize::from(m.cpu().0)];
        for _ in 0..n_calls {
            match m.random(64) {
                0 => self.go_away(m),
                1 => self.mask_for_a_while(m),
                _ => {}
            }
            self.call_somehow(m);
            progress.fetch_add(1, Relaxed);
        }
        progress.store(ALL_DONE, Relaxed);
        // A handler has either begun its last call by now or will not begin one.
        self.handlers_may_call.set(false);
        self.lines().for_each(|line| line.finish(m));
        m.meet();
        self.lines().for_each(Line::look_for_surplus);
        self.listen(m);
        if m.cpu() == CpuId(0) {
            let n_held = self.shared.locked.lock(m).get(m) + *self.shared.mutex.lock(m);
            self.shared.n_unlocked.fetch_add(self.shared.n_holds.load(Relaxed).abs_diff(n_held), Relaxed);
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        let callers = [&self.main, &self.handler].into_iter();
        callers.flat_map(|caller| caller.begun.iter().chain([&caller.waited])).chain([&self.with_closure])
    }

    /// Goes away and comes back; now and then not before another CPU has done something without this one.
    fn go_away(&self, m: &Cpu) {
        let Shared { ledger, progress, n_journeys, .. } = self.shared;
        let _masked = Masked::new(m);
        // Whoever calls this CPU now finds it there, and deaf.
        thread::yield_now();
        ledger.travel(m.cpu());
        call::depart(m);
        n_journeys.fetch_add(1, Relaxed);
        let whom = CpuId(m.random(N_CPUS as u64) as u16);
        let come_so_far = || progress[usize::from(whom.0)].load(Relaxed);
        let before = come_so_far();
        if m.random(2) == 0 {
            thread::yield_now();
        } else if before != ALL_DONE {
            // Nobody serves this CPU's inbox, so whoever waits for an answer from it will wait for ever, and so will it.
            m.spin(|_| (come_so_far() != before || ledger.is_away(whom)).then_some(()));
        }
        call::arrive(m);
        ledger.travel(m.cpu());
    }

    /// Takes no interrupts and does not wait either.
    fn mask_for_a_while(&self, m: &Cpu) {
        let section = &self.shared.sections[usize::from(m.cpu().0)];
        let _masked = Masked::new(m);
        section.fetch_add(1, Relaxed);
        thread::yield_now();
        section.fetch_add(1, Relaxed);
    }

    /// Makes a call with interrupts open or masked, under a lock or not.
    fn call_somehow(&self, m: &Cpu) {
        let shared = self.shared;
        let _masked = (m.random(3) == 0).then(|| Masked::new(m));
        match m.random(8) {
            0 => {
                let n_holds = shared.locked.lock(m);
                let before = n_holds.get(m);
                self.call(m);
                n_holds.set(m, before + 1);
                shared.n_holds.fetch_add(1, Relaxed);
            }
            1 => {
                let mut n_holds = shared.mutex.lock(m);
                let before = *n_holds;
                self.call(m);
                *n_holds = before + 1;
                shared.n_holds.fetch_add(1, Relaxed);
            }
            _ => self.call(m),
        }
        m.dawdle();
    }

    /// Makes one call of any kind.
    fn call(&self, m: &Cpu) {
        let Caller { random, waited, begun } = &self.main;
        let targets = random_targets(random);
        match random.below(14) {
            0..3 => waited.call(targets, |work| call::on_each(m, &targets, work)),
            3 => {
                let wanted = random_targets(random);
                let both = targets.iter().filter(|cpu| wanted.contains(*cpu)).collect();
                waited.call(both, |work| call::on_each_if(m, &targets, work, |cpu| wanted.contains(cpu)));
            }
            4 => waited.call(all(), |work| call::on_all(m, work)),
            5 => waited.call(all_but(m.cpu()), |work| call::on_others(m, work)),
            6 => self.rendezvous(m, targets),
            7 => notify(m, self.shared, random, without(targets, m.cpu())),
            // A CPU that loses patience here would leave the closure behind.
            8 if !self.may_unwind => {
                let closure = waited.closure();
                waited.call(targets, |_| call::with(m, &targets, &closure));
            }
            8 | 9 => {
                let targets = without(targets, m.cpu());
                self.with_closure.finish(m);
                self.with_closure.start(targets, |_| call::start_with(m, &targets, self.closure));
            }
            _ => start(m, random, begun, targets),
        }
    }

    /// Meets some CPUs, and looks whether those that were in a masked section have left it since.
    fn rendezvous(&self, m: &Cpu, targets: Targets) {
        let sections = || self.shared.sections.each_ref().map(|section| section.load(Relaxed));
        let before = sections();
        call::rendezvous(m, &targets);
        let after = sections();
        let is_overtaken = |cpu: &CpuId| {
            let index = usize::from(cpu.0);
            before[index] % 2 == 1 && before[index] == after[index]
        };
        self.shared.n_overtaken.fetch_add(targets.iter().filter(is_overtaken).count() as u64, Relaxed);
    }

    /// Waits until every notice has been heard that was given to this CPU, or there is no more hope.
    fn listen(&self, m: &Cpu) {
        let here = usize::from(m.cpu().0);
        let Shared { given, heard, .. } = self.shared;
        let is_heard = |notice: usize| heard[notice][here].load(Relaxed) == given[notice][here].load(Relaxed);
        call::wait(m, |_| (is_heard(0) && is_heard(1)).then_some(()));
    }
}

impl Kernel for Node {
    fn run(&self, m: &Cpu, work: Work) {
        self.shared.ledger.do_work(m.cpu(), work);
    }

    fn noticed(&self, m: &Cpu, notice: Notice) {
        let (index, here) = (notice as usize, usize::from(m.cpu().0));
        self.shared.heard[index][here].store(self.shared.given[index][here].load(Relaxed), Relaxed);
    }

    /// Makes a call now and then, to few CPUs: their handlers do the same, and it must come to an end.
    fn after_kick(&self, m: &Cpu) {
        let Caller { random, waited, begun } = &self.handler;
        if !self.handlers_may_call.get() || random.below(8) != 0 {
            return;
        }
        self.handlers_may_call.set(false);
        self.shared.n_in_handlers.fetch_add(1, Relaxed);
        // As deferred work does, sometimes with interrupts open.
        let is_open = random.below(2) == 0;
        if is_open {
            m.restore(0);
        }
        let targets = [(); 2].into_iter().map(|()| CpuId(random.below(N_CPUS as u64) as u16)).collect();
        match random.below(4) {
            0 => waited.call(targets, |work| call::on_each(m, &targets, work)),
            1 => notify(m, self.shared, random, without(targets, m.cpu())),
            _ => start(m, random, begun, targets),
        }
        if is_open {
            m.mask();
        }
        self.handlers_may_call.set(true);
    }
}

/// Begins a call. Older ones are looked at, or waited for, or left alone as long as there is a free line.
fn start(m: &Cpu, random: &Random, begun: &[Line], targets: Targets) {
    let targets = without(targets, m.cpu());
    if random.below(2) == 0 {
        begun.iter().for_each(|line| line.poll(m));
    }
    let line = begun.iter().find(|line| line.is_idle()).unwrap_or_else(|| {
        let oldest = &begun[random.below(begun.len() as u64) as usize];
        oldest.finish(m);
        oldest
    });
    line.start(targets, |work| call::start(m, &targets, work));
}

fn notify(m: &Cpu, shared: &Shared, random: &Random, targets: Targets) {
    let notice = NOTICES[random.below(NOTICES.len() as u64) as usize];
    for target in targets.iter() {
        // Relaxed: that who hears of it sees this is what the library promises.
        shared.given[notice as usize][usize::from(target.0)].fetch_add(1, Relaxed);
    }
    call::notify(m, &targets, notice);
}

/// As many CPUs as not, or fewer.
fn random_targets(random: &Random) -> Targets {
    let is_few = random.below(2) == 0;
    all().iter().filter(|_| random.below(2) == 0 && !(is_few && random.below(2) == 0)).collect()
}

fn all() -> Targets {
    (0..N_CPUS as u16).map(CpuId).collect()
}

fn all_but(cpu: CpuId) -> Targets {
    without(all(), cpu)
}

fn without(mut targets: Targets, cpu: CpuId) -> Targets {
    targets.remove(cpu);
    targets
}
