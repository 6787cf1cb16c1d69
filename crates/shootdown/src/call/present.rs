//! Which CPUs take part: those that calls to all reach.

use core::sync::atomic::Ordering::*;

use crate::{
    call::serve::drain,
    cpu::{CpuMask, CpuSet},
    fix::Fix,
    machine::{Invalidate, Machine, Masked},
    notify::Audience,
    residency,
    word::Shared,
};

/// The CPUs that take part, and in which epoch they do. The kernel places one, see [`Machine::present`].
pub struct Present<M: Machine> {
    cpus: CpuMask<M>,
    // Counts how often somebody has begun to wait for lockless walks without waiting.
    epoch: Shared<M>,
    // Listeners that hear of kernel addresses.
    audience: Audience<M>,
}

impl<M: Machine> Default for Present<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Present<M> {
    /// Says that no CPU takes part yet.
    pub const fn new() -> Self {
        Present { cpus: CpuMask::new(), epoch: Shared::ZERO, audience: Audience::new() }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.cpus.visit("present", visitor);
        self.epoch.visit("walk.epoch", visitor);
        self.audience.visit(visitor);
    }

    pub(crate) const fn epoch(&self) -> &Shared<M> {
        &self.epoch
    }

    pub(crate) const fn audience(&self) -> &Audience<M> {
        &self.audience
    }

    pub(crate) fn load(&self, m: &M) -> CpuSet<M::Cpus> {
        // ORDER(depart/post), ORDER(arrive/shootdown): whoever relies on it has ordered it after something else.
        self.cpus.load(m, Relaxed)
    }
}

/// Begins to take part: from now on calls to all CPUs reach this one.
///
/// Drops whatever this CPU's TLB still holds from before it last departed.
///
/// # Context
/// On the CPU itself, before it runs anything but the kernel's own code, with interrupts masked or not.
///
/// # Ordering
/// Whoever changes a translation and then looks who takes part either reaches this CPU, or has changed it before this CPU
/// walks. Pairs: `arrive/shootdown`.
pub fn arrive<M: Machine>(m: &M) {
    let _masked = Masked::new(m);
    // ORDER(arrive/shootdown): we take part before our TLB is emptied. Who does not see us yet has changed its entries
    // before that. Needs the total order: store, then the walks that follow.
    m.present().cpus.add(m, m.cpu(), SeqCst);
    m.here().reset(m);
    if m.keeps(Fix::WipeOnArrival) {
        m.invalidate(Invalidate::EveryTag);
        m.complete();
    }
    // What was posted while we were away and has not been taken back is ours: its interrupt has been lost.
    drain(m, m.here().inbox());
}

/// Ceases to take part: lets go of the loaded address space, answers what is outstanding, and is called no more.
///
/// On machines whose CPUs do this, [`Machine::cpus_come_and_go`] says so.
///
/// # Context
/// On the CPU itself, with interrupts masked, and they stay so until it is switched off or arrives again.
///
/// # Ordering
/// Pairs: `depart/post`.
pub fn depart<M: Machine>(m: &M) {
    residency::leave(m);
    // ORDER(depart/post): Relaxed, since the exchange that empties the inbox for the last time releases it. A sender whose
    // request that exchange does not take has changed the inbox after it, and acquired this.
    m.present().cpus.remove(m, m.cpu(), Relaxed);
    if m.keeps(Fix::AnswerOnDeparture) {
        drain(m, m.here().inbox());
    }
}
