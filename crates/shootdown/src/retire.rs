//! The end of an address space's life: nobody uses it any more, and nobody will.

use core::sync::atomic::Ordering::*;

use crate::{
    call,
    cpu::{CpuId, CpuSet},
    fix::Fix,
    machine::Machine,
    notify::Event,
    residency::Space,
};

/// The witness that an address space has had its last user.
///
/// CPUs may have it loaded lazily, with all that their TLBs remember of it; none will use that.
pub struct Retired<'s, M: Machine> {
    space: &'s Space<M>,
}

impl<'s, M: Machine> Retired<'s, M> {
    /// Returns the address space.
    #[must_use]
    pub const fn space(&self) -> &'s Space<M> {
        self.space
    }
}

/// An address space is in use: it cannot be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// A CPU that uses it, or may be about to.
    pub cpu: CpuId,
}

impl core::fmt::Display for InUse {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CPU {} uses the address space", self.cpu.0)
    }
}

impl core::error::Error for InUse {}

impl<M: Machine> Space<M> {
    /// Says that nobody will use the address space any more: no CPU may switch to it again, or come back to it from lazy
    /// mode. [`Gather::exiting`](crate::Gather::exiting) wants the witness.
    ///
    /// # Context
    /// Where [`call::rendezvous`] may be called; this CPU must have left the address space, or have gone lazy. Does not sleep, if
    /// no listener does: they are told that the address space has ended.
    ///
    /// # Ordering
    /// No CPU uses a translation of it after this, and nobody who [listens](crate::notify). Pairs: `retire/activate`,
    /// `attach/tell`.
    ///
    /// # Errors
    /// [`InUse`] if a CPU uses it, which then is still as it was.
    ///
    /// # Panics
    /// If a CPU begins to use it at this very moment.
    pub fn retire(&self, m: &M) -> Result<Retired<'_, M>, InUse> {
        let asks = m.keeps(Fix::AskForUsers);
        if let Some(cpu) = self.user_who_stays(m).filter(|_| asks) {
            return Err(InUse { cpu });
        }
        // ORDER(retire/activate): said before we look again; who activates shows it before it looks. One of us sees the
        // other. Needs the total order: store, then load, on both sides.
        self.retired.store(m, 1, SeqCst);
        if let Some(cpu) = self.user_who_stays(m).filter(|_| asks) {
            panic!("CPU {} begins to use an address space that is being retired", cpu.0);
        }
        // An exiting gather tells no TLB of pages: whoever may still use them must not.
        self.end_listening(m);
        Ok(Retired { space: self })
    }

    /// Returns a CPU that uses translations of this address space, or may be about to. One that comes from lazy mode and goes
    /// to another address space shows that it is awake before it shows that it has left; it does both with interrupts masked,
    /// so when it has been met it is here or there.
    fn user_who_stays(&self, m: &M) -> Option<CpuId> {
        let mut met = CpuSet::<M::Cpus>::EMPTY;
        loop {
            let cpu = self.user(m)?;
            if cpu == m.cpu() || met.contains(cpu) || !m.keeps(Fix::MeetLeavers) {
                return Some(cpu);
            }
            met.insert(cpu);
            call::rendezvous(m, &[cpu].into_iter().collect());
        }
    }

    /// Tells listeners of an address space that counts as retired that it has ended; from then on nobody is told of it.
    pub(crate) fn end_listening(&self, m: &M) {
        if m.has_listeners() && m.keeps(Fix::EndDevices) {
            self.tell(m, Event::Ended { space: self.id() });
            self.audience.ranges(m, |listener| listener.ended(m, self));
            self.audience.clear(m);
        }
    }
}
