//! Seeing walks ended: by waiting for it, which is a proof, or later.

use core::sync::atomic::Ordering::*;

use super::{Walkers, Walking};
use crate::{
    call,
    counters::Counter,
    cpu::CpuSet,
    fix::Fix,
    machine::{Machine, Modify},
    residency::Space,
};

/// The proof that lockless walks have ended which had begun before something was cleared: all of them, if it comes from
/// [`quiesce`]; those of one address space, if it comes from [`Space::flush`].
///
/// Whoever wants to put something else into a table, and not only to free it, needs that before he goes on: to wait for it
/// later, as with [`Machine::defer`], is no proof.
#[derive(Clone, Copy, Debug)]
pub struct WalksEnded(());

impl WalksEnded {
    /// For those who have seen to it.
    pub(crate) const fn new() -> Self {
        WalksEnded(())
    }
}

/// Returns when every lockless walk has ended that had begun on another CPU when it was called: none of them has a pointer
/// that was cleared before.
///
/// # Context
/// As [`call::on_each`]; not in the middle of a walk.
///
/// # Ordering
/// Pairs: `walk/quiesce`.
#[doc(alias = "tlb_remove_table_sync_one")]
pub fn quiesce<M: Machine>(m: &M) -> WalksEnded {
    quiesce_on(m, &others(m))
}

/// The proof that a flush has given, or else one that is waited for: of who is about to free tables that it was for.
pub(crate) fn end_walks<M: Machine>(m: &M, by_flush: Option<WalksEnded>) -> WalksEnded {
    by_flush.unwrap_or_else(|| if m.keeps(Fix::QuiesceBeforeFree) { quiesce(m) } else { WalksEnded::new() })
}

fn others<M: Machine>(m: &M) -> CpuSet<M::Cpus> {
    let mut others = m.present().load(m);
    others.remove(m.cpu());
    others
}

/// The same by interrupting every other CPU, whoever the machine says walks: for tables that wait for any walker that masks
/// interrupts.
pub(crate) fn quiesce_all<M: Machine>(m: &M) -> WalksEnded {
    interrupt(m, &others(m));
    WalksEnded::new()
}

/// The same for CPUs that may have one address space loaded, and for no walk in another one.
pub(crate) fn quiesce_space<M: Machine>(m: &M, space: &Space<M>) -> WalksEnded {
    let mut resident = space.cpus.load(m, SeqCst);
    resident.remove(m.cpu());
    quiesce_on(m, &resident)
}

fn quiesce_on<M: Machine>(m: &M, cpus: &CpuSet<M::Cpus>) -> WalksEnded {
    match m.walkers() {
        Walkers::None => {}
        Walkers::Unannounced => interrupt(m, cpus),
        Walkers::Announced => {
            // ORDER(walk/quiesce): entries are cleared before anybody is asked whether he walks, see `Walking::begin`. A flush
            // in between has done the same; not everybody comes from one.
            m.fence(SeqCst);
            interrupt(m, &announced(m, cpus));
        }
    }
    WalksEnded::new()
}

fn interrupt<M: Machine>(m: &M, cpus: &CpuSet<M::Cpus>) {
    m.count(Counter::Quiescence, 1);
    m.count(Counter::QuiescenceRequest, cpus.len() as u64);
    call::rendezvous(m, cpus);
}

/// Those that show a walk.
fn announced<M: Machine>(m: &M, cpus: &CpuSet<M::Cpus>) -> CpuSet<M::Cpus> {
    // ORDER(walk/quiesce): who does not show it any more has read his last entry.
    cpus.iter().filter(|cpu| m.per_cpu(*cpu).walking().load(m, Acquire) != 0).collect()
}

/// The time that walks take which may have begun by now, for those who do not wait for it: an epoch.
///
/// It interrupts nobody, on machines whose walks are [announced](Walkers::Announced): whoever has taken something out lets
/// this begin, goes on with something else, and looks now and then whether it is over. It is no [`WalksEnded`], since it says
/// nothing when it is made.
///
/// ```
/// use shootdown::{Machine, walk::Grace};
/// /// Frees what can be freed by now, oldest first.
/// fn free_some<M: Machine, T>(m: &M, waiting: &mut std::collections::VecDeque<(Grace, T)>, free: impl Fn(T)) {
///     while waiting.front().is_some_and(|(grace, _)| grace.has_passed(m)) {
///         waiting.pop_front().into_iter().for_each(|(_, thing)| free(thing));
///     }
/// }
/// ```
#[doc(alias = "get_state_synchronize_rcu")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    epoch: u64,
}

impl Grace {
    /// Begins: walks that begin from now on find nothing of what was cleared before.
    ///
    /// # Context
    /// Any. Does not sleep or wait.
    ///
    /// # Ordering
    /// Pairs: `walk/quiesce`.
    ///
    /// # Panics
    /// If walks are not announced: then nobody could tell when it is over.
    #[doc(alias = "start_poll_synchronize_rcu")]
    #[must_use]
    pub fn begin<M: Machine>(m: &M) -> Grace {
        assert!(m.walkers() == Walkers::Announced, "walks that nobody shows cannot be waited for without an interrupt");
        m.count(Counter::QuiescenceDeferred, 1);
        // ORDER(walk/quiesce): entries are cleared before anybody is asked whether he walks, see `Walking::begin`.
        m.fence(SeqCst);
        // ORDER(walk/quiesce): who reads the new epoch walks tables as they are now.
        Grace { epoch: m.present().epoch().modify(m, Modify::Add(1), Release) }
    }

    /// Tells whether all walks have ended that had begun when it began.
    ///
    /// # Context
    /// Any, but not in the middle of a walk.
    #[doc(alias = "poll_state_synchronize_rcu")]
    #[must_use]
    pub fn has_passed<M: Machine>(self, m: &M) -> bool {
        m.present().load(m).iter().all(|cpu| {
            // ORDER(walk/quiesce): who does not show it any more, or shows a later one, has read his last entry.
            let shown = m.per_cpu(cpu).walking().load(m, Acquire);
            Walking::<M>::epoch_of(shown).is_none_or(|epoch| epoch > self.epoch)
        })
    }
}
