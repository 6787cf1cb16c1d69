//! Others who remember translations: devices that translate through a process's tables, guests that have copies of them.
//!
//! Whoever keeps translations outside of CPUs is a *listener*, and there are two kinds. A [`SecondaryTlb`] is told in the flush
//! itself, when the entries are changed and before anything is freed; it must not sleep, since that may be under any lock. A
//! [`RangeListener`] is told before a range changes and when that is over, and may sleep; in between it keeps nothing of the
//! range, and a [`FillTicket`] tells it whether what it has looked up meanwhile is good. A listener is one of the two.
//!
//! Nobody who changes tables calls a listener: [`Space::flush`], [`flush_kernel`](crate::flush_kernel), [`Leaf`](crate::Leaf),
//! [`Gather`](crate::Gather), [`Reclaim`](crate::Reclaim) and [`Space::retire`] do, so no caller can forget it. A machine without
//! listeners says so ([`Machine::has_listeners`]), and has nothing of this.
//!
//! ```
//! use shootdown::{Machine, Space, notify::{Event, Registration, SecondaryTlb}};
//! struct Iommu;
//! impl<M: Machine> SecondaryTlb<M> for Iommu {
//!     fn hear(&self, _: &M, event: Event) {
//!         match event {
//!             Event::Stricter { space, stale } => { /* drop `stale` of the domain of `space`, and wait until it is done */ }
//!             Event::Looser { space, pages } => { /* the same, for what it remembers to be stricter than it is now */ }
//!             Event::Kernel { stale } => { /* the same, of all domains */ }
//!             Event::Ended { space } => { /* let the device use this domain no more, and wait until it does not */ }
//!         }
//!     }
//! }
//! /// The IOMMU's number is the one by which `Machine::listener` knows it.
//! fn use_process<M: Machine>(m: &M, number: u32, space: &Space<M>) -> Registration {
//!     let iommu = Registration::new(m, number);
//!     iommu.attach(m, space).expect("it is alive");
//!     // From here on the device may use the tables of `space`.
//!     iommu
//! }
//! ```

mod audience;
mod range;
mod syncs;

pub(crate) use audience::Audience;
pub(crate) use range::{Changes, begin, end};
pub use range::{FillTicket, MaySleep, RangeListener, WouldSleep};
pub use syncs::{DeviceQueue, Syncs};

use crate::{
    addr::{SpaceId, VpnRange},
    fix::Fix,
    machine::Machine,
    policy::Policy,
    residency::Space,
    stale::Stale,
};

/// Listeners a machine can have.
pub const MAX_LISTENERS: u32 = u64::BITS;

/// What a listener is.
pub enum Listener<'m, M: Machine> {
    /// It is told in flushes.
    Secondary(&'m dyn SecondaryTlb<M>),
    /// It is told of ranges.
    Range(&'m dyn RangeListener<M>),
}

impl<M: Machine> Clone for Listener<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Listener<'_, M> {}

/// A TLB of something else than a CPU.
#[doc(alias = "arch_invalidate_secondary_tlbs")]
pub trait SecondaryTlb<M: Machine>: Sync {
    /// Does what the event asks for, and returns when it is done: not when it is queued.
    ///
    /// # Context
    /// In flushes: under any lock, on any CPU, with interrupts masked or not. Must not sleep, and must not flush or change
    /// translations. May be called on several CPUs at a time.
    fn hear(&self, m: &M, event: Event);
}

/// What a [`SecondaryTlb`] hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Translations of an address space are gone, or permit less; where the strength is more than
    /// [`Leaf`](crate::Strength::Leaf), tables are freed next, so pointers to them must go, too.
    Stricter {
        /// The address space.
        space: SpaceId,
        /// What must be forgotten.
        stale: Stale,
    },
    /// Translations permit more than they did. A CPU that remembers less faults, and looks again; a device may fault for ever.
    Looser {
        /// The address space.
        space: SpaceId,
        /// The pages.
        pages: VpnRange,
    },
    /// Translations of kernel addresses, which are in all address spaces, are gone, or permit less.
    Kernel {
        /// What must be forgotten.
        stale: Stale,
    },
    /// The address space comes to its end. Nothing may use it after this is heard, and nothing more is told of it: the listener is
    /// no longer attached.
    Ended {
        /// The address space.
        space: SpaceId,
    },
}

/// An address space has come to its end, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl core::fmt::Display for Ended {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the address space has come to its end")
    }
}

impl core::error::Error for Ended {}

/// A listener that hears of kernel addresses, and of every address space that it is attached to.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a listener that is not unregistered goes on to hear of kernel addresses"]
pub struct Registration {
    number: u32,
}

impl Registration {
    /// Registers the listener that [`Machine::listener`] knows by this number: from now on it hears of kernel addresses.
    ///
    /// # Context
    /// Any. Does not sleep. Once for each listener.
    ///
    /// # Ordering
    /// What its device walks after this returned was there, or it is told. Pairs: `attach/tell`.
    ///
    /// # Panics
    /// If the machine has no such listener, or says that it has none.
    #[doc(alias = "iommu_sva_bind_device")]
    pub fn new<M: Machine>(m: &M, number: u32) -> Self {
        assert!(m.has_listeners(), "a listener is registered on a machine that has said that there are none");
        assert!(number < MAX_LISTENERS && m.listener(number).is_some(), "there is no listener {number}");
        m.present().audience().add(m, number);
        Registration { number }
    }

    /// Lets the listener hear of `space`: its device may use the address space's tables when this has returned.
    ///
    /// # Context
    /// Any. Does not sleep.
    ///
    /// # Ordering
    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// [`Ended`]; it is not attached.
    pub fn attach<M: Machine>(&self, m: &M, space: &Space<M>) -> Result<(), Ended> {
        assert!(!M::Policy::CLEARING_FLUSHES, "where clearing flushes there is no flush to hear of");
        space.audience.add(m, self.number);
        // ORDER(attach/tell): who ends it says so before he looks who listens.
        if space.is_retired(m) {
            space.audience.remove(m, self.number);
            return Err(Ended);
        }
        Ok(())
    }

    /// Lets the listener hear of `space` no more: when this returns it is not being told, and will not be.
    ///
    /// # Context
    /// When its device uses that address space no more. As [`call::on_each`](crate::call::on_each): waits for flushes that are
    /// telling listeners just now, so not from within one.
    ///
    /// # Ordering
    /// Pairs: `attach/tell`.
    pub fn detach<M: Machine>(&self, m: &M, space: &Space<M>) {
        space.audience.remove(m, self.number);
    }

    /// Ends the registration: when this returns the listener is not being told anything, and will not be.
    ///
    /// # Context
    /// As [`detach`](Self::detach), of every address space first.
    ///
    /// # Ordering
    /// As [`detach`](Self::detach).
    pub fn unregister<M: Machine>(self, m: &M) {
        m.present().audience().remove(m, self.number);
    }
}

impl<M: Machine> Space<M> {
    /// Tells the secondary TLBs of this address space.
    #[inline]
    pub(crate) fn tell(&self, m: &M, event: Event) {
        if m.has_listeners() {
            self.audience.tell(m, event);
        }
    }
}

/// Makes all secondary TLBs forget `stale` translations of kernel addresses, after a fence.
#[inline]
pub(crate) fn tell_of_kernel<M: Machine>(m: &M, stale: Stale) {
    if m.has_listeners() && m.keeps(Fix::TellDevicesOfKernel) {
        m.present().audience().tell(m, Event::Kernel { stale });
    }
}
