//! Gathers of one address space that are under way at the same time.
//!
//! An entry that is absent is gone from TLBs only when the gather that cleared it has flushed. Each says that it is live
//! before it changes the first entry, and until its last flush; who finishes meanwhile flushes everything.

use core::sync::atomic::Ordering::*;

use super::Gather;
use crate::{
    counters::Counter,
    fix::Fix,
    frame::FrameSink,
    machine::{Machine, Modify, Strength},
    reclaim::Debt,
    residency::Space,
    stale::Stale,
};

/// Lets other gathers know, before an entry is changed, that the flush of this one is still to come.
#[inline]
pub(super) fn become_live<M: Machine>(m: &M, space: &Space<M>, is_live: &mut bool) {
    if !*is_live {
        *is_live = true;
        // ORDER(unlock/lock): said under the page-table lock; whoever finds the changed entry has taken the lock since.
        space.gathers.update(m, Modify::Add(1), Relaxed);
    }
}

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    #[inline]
    pub(super) fn become_live(&mut self) {
        become_live(self.m, self.space, &mut self.is_live);
    }

    /// Its flush is complete.
    pub(super) fn stop_being_live(&mut self) {
        if self.is_live {
            self.is_live = false;
            // ORDER(gather/gather): after the flush.
            self.space.gathers.update(self.m, Modify::Add(1_u64.wrapping_neg()), Release);
        }
    }

    /// Tells whether another gather has changed entries that it has not flushed. What this one did not find because of it
    /// may still be in TLBs.
    fn has_company(&self) -> bool {
        // ORDER(gather/gather): who is not live any more has flushed.
        self.space.gathers.load(self.m, Acquire) > u64::from(self.is_live)
    }

    /// Tells whether an entry as it is now may be somebody else's change whose flush is still to come.
    pub(super) fn must_ask_for_others(&self) -> bool {
        self.m.keeps(Fix::AskWhatIsPending) && (self.has_company() || !self.space.reclaimed.debt(self.m).is_paid)
    }

    /// The step before [`LookForDebtLast`](Fix::LookForDebtLast): pays what reclaim owes now, and does not look again.
    #[cold]
    pub(super) fn pay_now(&mut self) {
        let debt = self.space.reclaimed.debt(self.m);
        if !debt.is_paid {
            self.record(Stale::EVERYTHING);
            self.flush_translations();
            self.space.reclaimed.pay(self.m, &debt);
        }
    }

    /// Flushes everything next if another gather is under way, or reclaim owes a flush; tells whether that will be paid.
    ///
    /// Where the machine broadcasts, reclaim has begun what it owes, and on which CPU nobody knows: to complete is not
    /// enough.
    pub(super) fn flush_for_others(&mut self, debt: &Debt) -> bool {
        let is_owed = !debt.is_paid && self.m.keeps(Fix::PayForReclaim) && self.m.keeps(Fix::LookForDebtLast);
        // As if it were this CPU that has begun it.
        let only_completes = is_owed && self.m.broadcasts() && !self.m.keeps(Fix::BroadcastForReclaim);
        if only_completes {
            self.m.complete();
        }
        let has_company = self.has_company() && self.m.keeps(Fix::FlushForOthers);
        if !has_company && (!is_owed || only_completes) {
            return is_owed;
        }
        self.m.count(Counter::FlushForced, 1);
        match &mut self.stale {
            // As if nothing but pages had been unhooked.
            Some(stale) if !self.m.keeps(Fix::KeepTablesInMind) => stale.strength = Strength::Leaf,
            _ => self.record(Stale::EVERYTHING),
        }
        is_owed
    }
}
