//! What kernels send: to one CPU, a set with a condition, all; waiting for the answers or not.

use core::fmt;

use crate::{
    call::{Kind, Operation, Work, post, wait_for},
    counters::Counter,
    cpu::{CpuId, CpuSet},
    machine::{Machine, Masked},
};

/// Runs `work` on every CPU of `targets`, this one too if it is in, and returns when all have.
///
/// # Context
/// Any but code that runs for another CPU's call: interrupts masked or not, under locks, in interrupt handlers. Does not
/// sleep. The CPUs run it with interrupts masked; it must not wait or lock.
///
/// # Ordering
/// The targets see what was done before, and what they do is seen after. Pairs: `post/drain`, `answer/wait`.
///
/// # Panics
/// If it is called by what another CPU's call runs here.
#[doc(alias = "smp_call_function_many")]
pub fn on_each<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, work: Work) {
    run_on(m, *targets, Operation::Work(work));
}

/// The same for those CPUs of `targets` that `is_wanted` names.
///
/// Whoever is left out must look for itself, later, at what it was not told; see [`residency`](crate::residency) for how.
///
/// # Context
/// As [`on_each`]. `is_wanted` is called before any request is sent.
#[doc(alias = "smp_call_function_many_cond")]
pub fn on_each_if<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, work: Work, is_wanted: impl Fn(CpuId) -> bool) {
    run_on(m, targets.iter().filter(|cpu| is_wanted(*cpu)).collect(), Operation::Work(work));
}

/// Runs `work` on every CPU that takes part, and on this one, and returns when all have.
///
/// # Context
/// As [`on_each`].
#[doc(alias = "on_each_cpu")]
pub fn on_all<M: Machine>(m: &M, work: Work) {
    run_on_all(m, Operation::Work(work));
}

/// Runs `work` on every CPU that takes part but this one, and returns when all have.
///
/// # Context
/// As [`on_each`].
#[doc(alias = "smp_call_function")]
pub fn on_others<M: Machine>(m: &M, work: Work) {
    run_on(m, others(m), Operation::Work(work));
}

/// Every CPU that takes part but this one.
fn others<M: Machine>(m: &M) -> CpuSet<M::Cpus> {
    let mut others = m.present().load(m);
    others.remove(m.cpu());
    others
}

/// Returns when every CPU of `targets` has taken an interrupt, or served its inbox, after this call began.
///
/// # Context
/// As [`on_each`].
pub fn rendezvous<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>) {
    run_on(m, *targets, Operation::Rendezvous);
}

/// The same for every other CPU that takes part.
///
/// # Context
/// As [`on_each`].
#[doc(alias = "tlb_remove_table_sync_one")]
pub fn rendezvous_all<M: Machine>(m: &M) {
    rendezvous(m, &others(m));
}

/// Makes every CPU that takes part, and this one, fetch instructions anew; returns when all do.
///
/// For code that was changed and is about to run at an address where other code was. Translations are not concerned.
///
/// # Context
/// As [`on_each`].
///
/// # Ordering
/// Every CPU then fetches what was written before. Pairs: `post/drain`.
#[doc(alias = "smp_imb", alias = "sync_core")]
pub fn synchronize_instructions<M: Machine>(m: &M) {
    run_on_all(m, Operation::SynchronizeInstructions);
}

/// Runs an operation on every CPU that takes part, and on this one, and returns when all have.
pub(crate) fn run_on_all<M: Machine>(m: &M, operation: Operation) {
    let mut targets = m.present().load(m);
    targets.insert(m.cpu());
    run_on(m, targets, operation);
}

/// Runs an operation on every CPU of `targets` and returns when all have.
pub(super) fn run_on<M: Machine>(m: &M, mut targets: CpuSet<M::Cpus>, operation: Operation) {
    m.count(Counter::Call, 1);
    let is_wanted_here = targets.contains(m.cpu());
    targets.remove(m.cpu());
    post(m, &targets, Kind::Synchronous, &operation.encode(), 0);
    if is_wanted_here {
        run_here(m, operation);
    }
    wait_for(m, &targets);
}

fn run_here<M: Machine>(m: &M, operation: Operation) {
    let _masked = Masked::new(m);
    m.here().inbox().serving(m, || operation.run(m));
}

/// A call that was begun and that nobody has to wait for.
#[must_use = "without it nobody can tell when the call is done"]
pub struct Started<M: Machine> {
    by: CpuId,
    targets: CpuSet<M::Cpus>,
    number: u64,
}

// By hand, since it is plain data whatever the machine is.
impl<M: Machine> Clone for Started<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Started<M> {}

impl<M: Machine> fmt::Debug for Started<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Started { by, targets, number } = self;
        f.debug_struct("Started").field("by", by).field("targets", targets).field("number", number).finish()
    }
}

/// Begins to run `work` on every CPU of `targets`, which must not include this one, and does not wait for it.
///
/// Waits for this CPU's previous asynchronous call to the same targets, so calls cannot pile up. An interrupt that is lost
/// only delays it: until the target's next interrupt or wait, or until somebody waits for it who finds it overdue.
///
/// # Context
/// As [`on_each`].
pub fn start<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, work: Work) -> Started<M> {
    start_on(m, targets, Operation::Work(work))
}

pub(super) fn start_on<M: Machine>(m: &M, targets: &CpuSet<M::Cpus>, operation: Operation) -> Started<M> {
    m.count(Counter::Call, 1);
    // Masked from the number to the post: a handler in between would post a higher number to the same target, and ours,
    // coming after it, would make that call look as if it were never done.
    let _masked = Masked::new(m);
    let number = m.here().next_call(m);
    post(m, targets, Kind::Asynchronous, &operation.encode(), number);
    Started { by: m.cpu(), targets: *targets, number }
}

impl<M: Machine> Started<M> {
    /// Tells whether every target has run it.
    ///
    /// # Context
    /// Any, on any CPU. Does not wait.
    ///
    /// # Ordering
    /// What the targets did is seen once this has returned `true`. Pairs: `answer/wait`.
    #[must_use]
    pub fn is_done(&self, m: &M) -> bool {
        self.targets.iter().all(|target| m.slot(self.by, target).half(Kind::Asynchronous).is_done(m, self.number))
    }

    /// Returns when every target has run it.
    ///
    /// # Context
    /// As [`on_each`], on any CPU.
    pub fn wait(&self, m: &M) {
        for target in self.targets.iter() {
            m.scope(|m| {
                m.slot(self.by, target).half(Kind::Asynchronous).wait_until_done(m, target, self.number);
            });
        }
    }
}
