//! An account of calls: who has asked whom for what, and what was done. Nothing may be lost, done twice, or done late.
//!
//! A sender makes its calls on *lines*, one after the other on each, with numbers that rise. A target writes down the
//! last number it was asked for on each line to it. So the sender sees, when its call is over, whether each target has
//! done it; and until its next call on that line nothing may change.
//!
//! A call may miss a target that was away for a moment while the call was being sent, and no other one. Each CPU counts how
//! often it has gone and come back, so the sender knows.
#![expect(clippy::disallowed_types, reason = "the account is of the test, not of the library")]

use std::{
    array,
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::{
    CpuId, CpuSet, Machine,
    call::{Started, Work},
};

use super::{Geometry, host::N_CPUS, machine::Cpu};

pub(crate) type Targets = CpuSet<Geometry>;

/// Lines from each CPU to each other.
pub(crate) const N_LINES: usize = 7;

/// What all CPUs write down.
#[derive(Default)]
pub(crate) struct Ledger {
    // For each sender, line and target.
    last_done: [[[AtomicU64; N_CPUS]; N_LINES]; N_CPUS],
    // For each sender and line: the number of its newest call, for work that carries none.
    newest: [[AtomicU64; N_LINES]; N_CPUS],
    // Odd while the CPU is away.
    journeys: [AtomicU64; N_CPUS],
    pub(crate) tally: Tally,
}

/// What came of all calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Work done, each piece on one CPU.
    pub(crate) n_done: AtomicU64,
    /// Work not done by CPUs that were away.
    pub(crate) n_missed: AtomicU64,
    /// Work not done by CPUs that were there.
    pub(crate) n_lost: AtomicU64,
    /// Work done again, or on a CPU that nobody had asked, or after its call was over.
    pub(crate) n_surplus: AtomicU64,
}

fn add(counter: &AtomicU64, times: u64) {
    counter.fetch_add(times, Relaxed);
}

impl Ledger {
    /// Writes down, on the target, that a call was done.
    pub(crate) fn note(&self, sender: CpuId, line: usize, target: CpuId, number: u64) {
        let last = &self.last_done[usize::from(sender.0)][line][usize::from(target.0)];
        // Relaxed: that the sender sees it is what the library promises.
        if last.load(Relaxed) >= number {
            add(&self.tally.n_surplus, 1);
        }
        last.store(number, Relaxed);
    }

    /// Does what [`Line::work`] asks for.
    pub(crate) fn do_work(&self, target: CpuId, work: Work) {
        let [sender, number, ..] = work.arguments;
        self.note(CpuId(sender as u16), work.number as usize, target, number);
    }

    /// Says that `cpu` goes away, or is back.
    pub(crate) fn travel(&self, cpu: CpuId) {
        // ORDER(travel): before the library hears of it on the way out, after it on the way back.
        self.journeys[usize::from(cpu.0)].fetch_add(1, SeqCst);
    }

    pub(crate) fn is_away(&self, cpu: CpuId) -> bool {
        self.journeys[usize::from(cpu.0)].load(SeqCst) % 2 == 1
    }

    fn journeys(&self) -> [u64; N_CPUS] {
        // ORDER(travel): who has seen a CPU absent sees that it went away before.
        self.journeys.each_ref().map(|journeys| journeys.load(SeqCst))
    }
}

/// One sender's calls of one sort, one after the other.
pub(crate) struct Line {
    ledger: &'static Ledger,
    sender: CpuId,
    index: usize,
    number: Cell<u64>,
    // What each target had done when the last call was over.
    seen: [Cell<u64>; N_CPUS],
    under_way: Cell<Option<(Sent, Started<Cpu>)>>,
}

/// A call that all targets have been asked for.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    targets: Targets,
    may_miss: Targets,
}

impl Line {
    pub(crate) fn new(ledger: &'static Ledger, sender: CpuId, index: usize) -> Self {
        let (number, under_way) = (Cell::new(0), Cell::new(None));
        Line { ledger, sender, index, number, seen: array::from_fn(|_| Cell::new(0)), under_way }
    }

    /// Returns the work that the present call asks for.
    pub(crate) fn work(&self) -> Work {
        Work { number: self.index as u32, arguments: [u64::from(self.sender.0), self.number.get(), 0, 0] }
    }

    /// Returns a closure that does the same as [`Line::work`] for whatever call is the present one.
    pub(crate) fn closure(&self) -> impl Fn(&Cpu) + Sync + use<> {
        let &Line { ledger, sender, index, .. } = self;
        move |m| ledger.note(sender, index, m.cpu(), ledger.newest[usize::from(sender.0)][index].load(Relaxed))
    }

    /// Begins a call to `targets`; `send` returns when it was sent.
    fn send<R>(&self, targets: Targets, send: impl FnOnce(Work) -> R) -> (Sent, R) {
        self.look_for_surplus();
        self.number.set(self.number.get() + 1);
        self.ledger.newest[usize::from(self.sender.0)][self.index].store(self.number.get(), Relaxed);
        let before = self.ledger.journeys();
        let result = send(self.work());
        let after = self.ledger.journeys();
        let was_away = |cpu: &CpuId| {
            let index = usize::from(cpu.0);
            before[index] % 2 == 1 || before[index] != after[index]
        };
        // A CPU calls itself wherever it is.
        let may_miss = targets.iter().filter(|cpu| *cpu != self.sender && was_away(cpu)).collect();
        (Sent { targets, may_miss }, result)
    }

    /// Makes a call that is over when `send` returns.
    pub(crate) fn call(&self, targets: Targets, send: impl FnOnce(Work)) {
        let (sent, ()) = self.send(targets, send);
        self.settle(sent);
    }

    /// Begins a call.
    pub(crate) fn start(&self, targets: Targets, send: impl FnOnce(Work) -> Started<Cpu>) {
        debug_assert!(self.is_idle(), "the line's last call is still under way");
        self.under_way.set(Some(self.send(targets, send)));
    }

    pub(crate) fn is_idle(&self) -> bool {
        let under_way = self.under_way.take();
        let is_idle = under_way.is_none();
        self.under_way.set(under_way);
        is_idle
    }

    /// Waits until the call that was begun is over, if there is one.
    pub(crate) fn finish(&self, m: &Cpu) {
        if let Some((sent, started)) = self.under_way.take() {
            started.wait(m);
            self.settle(sent);
        }
    }

    /// Looks whether the call that was begun is over.
    pub(crate) fn poll(&self, m: &Cpu) {
        if let Some((sent, started)) = self.under_way.take() {
            if started.is_done(m) {
                self.settle(sent);
            } else {
                self.under_way.set(Some((sent, started)));
            }
        }
    }

    /// Compares what was done with what was asked for.
    fn settle(&self, sent: Sent) {
        let tally = &self.ledger.tally;
        for cpu in sent.targets.iter() {
            let (seen, done) = self.look(cpu);
            if done == self.number.get() {
                add(&tally.n_done, 1);
                seen.set(done);
            } else if sent.may_miss.contains(cpu) {
                add(&tally.n_missed, 1);
            } else {
                add(&tally.n_lost, 1);
            }
        }
        self.look_for_surplus();
    }

    /// Checks that nothing was done that no call asked for, and nothing since its call was over.
    pub(crate) fn look_for_surplus(&self) {
        for cpu in (0..N_CPUS as u16).map(CpuId) {
            let (seen, done) = self.look(cpu);
            if done != seen.get() {
                add(&self.ledger.tally.n_surplus, 1);
                seen.set(done);
            }
        }
    }

    fn look(&self, cpu: CpuId) -> (&Cell<u64>, u64) {
        let index = usize::from(cpu.0);
        let done = self.ledger.last_done[usize::from(self.sender.0)][self.index][index].load(Relaxed);
        (&self.seen[index], done)
    }
}
