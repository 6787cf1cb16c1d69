//! The one way to wait.

use crate::{
    call::serve,
    counters::Counter,
    cpu::{CpuId, CpuSet},
    fix::Fix,
    machine::{Machine, Small},
};

/// Whom a CPU waits for, see [`Machine::is_overdue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// This CPU's answer to a call.
    Answer(CpuId),
    /// Anything else: a lock, or what the kernel itself waits for.
    Other,
}

/// Waits until `ready` returns something; serves this CPU's inbox between attempts. The only wait in the library.
///
/// # Context
/// Any but code that runs for another CPU's call: also with interrupts masked, under locks and in interrupt handlers,
/// except that whatever makes `ready` true must not wait for the caller in another way. Does not sleep. `ready` must leave
/// nothing behind when it returns `None`.
///
/// # Panics
/// If it serves the inbox within what another CPU's call runs here.
///
/// ```compile_fail,E0277
/// fn count<M: shootdown::Machine>(m: &M) {
///     let tries = core::cell::Cell::new(0); // state outside of words: the explorer could not see it
///     shootdown::call::wait(m, |_| { tries.set(tries.get() + 1); (tries.get() > 9).then_some(()) });
/// }
/// ```
#[inline]
#[track_caller]
pub fn wait<M: Machine, R: Small>(m: &M, ready: impl Fn(&M) -> Option<R> + Sync) -> R {
    wait_for_whom(m, Waiting::Other, ready)
}

/// The same, and says whom for.
#[inline]
#[track_caller]
pub(crate) fn wait_for_whom<M: Machine, R: Small>(
    m: &M,
    waiting: Waiting,
    ready: impl Fn(&M) -> Option<R> + Sync,
) -> R {
    m.spin(|m| {
        ready(m).or_else(|| {
            after_a_failed_round(m, waiting);
            None
        })
    })
}

fn after_a_failed_round<M: Machine>(m: &M, waiting: Waiting) {
    m.count(Counter::WaitRound, 1);
    if m.keeps(Fix::ServeWhileWaiting) {
        serve(m);
    }
    // The interrupt that the target should have taken may have been lost; what it should have found is still there.
    if let (true, Waiting::Answer(target)) = (m.is_overdue(waiting), waiting)
        && m.keeps(Fix::KickAgain)
    {
        m.count(Counter::KickAgain, 1);
        m.kick(&CpuSet::only(target));
    }
}
