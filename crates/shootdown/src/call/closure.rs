//! Calls that run a closure, where all CPUs share the memory it lives in: a thin layer over the words that calls carry.

use crate::{
    call::{
        Operation, Started,
        send::{run_on, start_on},
    },
    cpu::CpuSet,
    machine::Machine,
    mutex::OneMemory,
};

/// A closure as two words: the function that calls it, and where it is.
///
/// # Invariants
/// Made by [`Trampoline::of`] from a closure that lives until the call that carries it is answered, or it is what
/// [`Trampoline::encode`] made of one, on its way back. The function is for the machine that runs the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trampoline {
    function: usize,
    data: usize,
}

impl Trampoline {
    fn of<M: Machine, F: Fn(&M) + Sync>(closure: &F) -> Self {
        let function: fn(&M, usize) = call_at::<M, F>;
        // INVARIANT: both callers keep the closure until the call is answered.
        Trampoline { function: function as usize, data: core::ptr::from_ref(closure).expose_provenance() }
    }

    pub(crate) const fn encode(self) -> [u64; 2] {
        [self.function as u64, self.data as u64]
    }

    pub(crate) const fn decode([function, data]: [u64; 2]) -> Self {
        Trampoline { function: function as usize, data: data as usize }
    }
}

fn call_at<M: Machine, F: Fn(&M) + Sync>(m: &M, data: usize) {
    let closure = core::ptr::with_exposed_provenance::<F>(data);
    // SAFETY:
    // - `data` is the address of an `F`, since `Trampoline::of` makes both words and nothing else makes such an operation.
    // - It is alive: see the type's invariant. It is only shared, and `F: Sync`.
    // - All CPUs have it at this address: closures are sent on machines that are `OneMemory` only.
    #[expect(unsafe_code, reason = "the closure is borrowed for the length of a call on another CPU")]
    let closure = unsafe { &*closure };
    closure(m);
}

/// Calls the closure, on the target.
pub(crate) fn run<M: Machine>(m: &M, trampoline: Trampoline) {
    // SAFETY: by the type's invariant the word was made of a `fn(&M, usize)` for this very `M`; function pointers survive
    // the way through an integer of their size.
    #[expect(unsafe_code, reason = "a slot carries words, and this one is a function's address")]
    let function = unsafe { core::mem::transmute::<usize, fn(&M, usize)>(trampoline.function) };
    function(m, trampoline.data);
}

/// Calls `closure` on every CPU of `targets`, this one too if it is in, and returns when all have.
///
/// # Context
/// As [`on_each`](super::on_each).
///
/// # Panics
/// If this CPU panics before all have, because the closure does or the machine's own loop: that would leave this frame, and
/// other CPUs without their closure. Where panics unwind, this second one aborts.
///
/// ```
/// use shootdown::{CpuSet, Machine, OneMemory, call};
/// fn count<M: OneMemory>(m: &M, targets: &CpuSet<M::Cpus>) -> u64 {
///     let calls = core::sync::atomic::AtomicU64::new(0);
///     call::with(m, targets, &|_: &M| { calls.fetch_add(1, core::sync::atomic::Ordering::Relaxed); });
///     calls.into_inner()
/// }
/// ```
pub fn with<M: OneMemory>(m: &M, targets: &CpuSet<M::Cpus>, closure: &(impl Fn(&M) + Sync)) {
    let lent = Lent;
    run_on(m, *targets, Operation::Closure(Trampoline::of::<M, _>(closure)));
    // `run_on` has returned, so every target has answered.
    core::mem::forget(lent);
}

/// A closure that other CPUs may be about to call, and that ends with the frame it was borrowed in.
struct Lent;

impl Drop for Lent {
    fn drop(&mut self) {
        // Only unwinding comes here.
        panic!("a call is left while other CPUs may run its closure");
    }
}

/// Begins to call `closure` on every CPU of `targets`, which must not include this one, and does not wait for it.
///
/// # Context
/// As [`start`](super::start).
///
/// Nobody says how long it will take, so what the closure uses must live for ever:
/// ```compile_fail,E0716
/// use shootdown::{CpuSet, OneMemory, call};
/// fn leave_something_behind<M: OneMemory>(m: &M, targets: &CpuSet<M::Cpus>) {
///     let on_this_stack = core::sync::atomic::AtomicU64::new(0);
///     let _ = call::start_with(m, targets, &|_: &M| { on_this_stack.load(core::sync::atomic::Ordering::Relaxed); });
/// }
/// ```
pub fn start_with<M: OneMemory>(
    m: &M,
    targets: &CpuSet<M::Cpus>,
    closure: &'static (impl Fn(&M) + Sync),
) -> Started<M> {
    start_on(m, targets, Operation::Closure(Trampoline::of::<M, _>(closure)))
}
