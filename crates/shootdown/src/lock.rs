//! A spin lock over machine words.
//!
//! Its data are [`Own`](crate::word::Own) words, so the lock needs no unsafe code and the explorer sees everything. A CPU that waits for it
//! serves its own inbox: it may be taken with interrupts masked. It is not fair.

use core::{ops::Deref, sync::atomic::Ordering::*};

use crate::{
    call,
    machine::{Machine, Modify},
    word::Shared,
};

const FREE: u64 = 0;
const HELD: u64 = 1;

/// Words that only the holder of the lock may use.
pub struct Locked<M: Machine, T> {
    state: Shared<M>,
    data: T,
}

/// The lock, held. Dropping it unlocks.
#[must_use = "the lock is held only while this lives"]
pub struct Guard<'l, M: Machine, T> {
    m: &'l M,
    lock: &'l Locked<M, T>,
}

impl<M: Machine, T> Locked<M, T> {
    /// Makes an unlocked lock.
    pub const fn new(data: T) -> Self {
        Locked { state: Shared::ZERO, data }
    }

    /// Takes the lock.
    ///
    /// # Context
    /// Any but an interrupt handler that may have interrupted the holder, and code that runs for another CPU's call. Does
    /// not sleep; serves this CPU's inbox while it waits, so a holder that waits for this CPU is answered.
    ///
    /// # Ordering
    /// Sees everything done under earlier holds. Pairs: `unlock/lock`.
    #[inline]
    #[track_caller]
    pub fn lock<'l>(&'l self, m: &'l M) -> Guard<'l, M, T> {
        let state = &self.state; // the wait below must be `Sync`, which `T` need not be
        if !try_take(state, m) {
            call::wait(m, |m| try_take(state, m).then_some(()));
        }
        Guard { m, lock: self }
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Context
    /// Any, interrupt handlers included. Does not wait.
    ///
    /// # Ordering
    /// As [`lock`](Self::lock).
    #[inline]
    #[track_caller]
    pub fn try_lock<'l>(&'l self, m: &'l M) -> Option<Guard<'l, M, T>> {
        // Not `then_some`: a guard that is made and dropped unlocks.
        try_take(&self.state, m).then(|| Guard { m, lock: self })
    }

    /// Shows the lock's words to `visitor`, then those of the data through `visit_data`.
    pub fn visit(
        &self,
        visitor: &mut dyn FnMut(&'static str, &M::Word),
        visit_data: impl FnOnce(&T, &mut dyn FnMut(&'static str, &M::Word)),
    ) {
        self.state.visit("lock", visitor);
        visit_data(&self.data, visitor);
    }
}

#[inline]
#[track_caller]
fn try_take<M: Machine>(state: &Shared<M>, m: &M) -> bool {
    // ORDER(unlock/lock): what the last holder wrote before its release is seen after this acquire.
    state.modify(m, Modify::CompareExchange { old: FREE, new: HELD }, Acquire) == FREE
}

impl<'l, M: Machine, T> Guard<'l, M, T> {
    /// Returns the machine the lock was taken on.
    #[inline]
    #[must_use]
    pub fn machine(&self) -> &'l M {
        self.m
    }

    /// Tells whether this guard holds `lock`.
    #[inline]
    #[must_use]
    pub fn holds(&self, lock: &Locked<M, T>) -> bool {
        core::ptr::eq(self.lock, lock)
    }
}

impl<M: Machine, T> Deref for Guard<'_, M, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.lock.data
    }
}

impl<M: Machine, T> Drop for Guard<'_, M, T> {
    #[inline]
    fn drop(&mut self) {
        // ORDER(unlock/lock): everything done under the lock is visible to whoever takes it next.
        self.lock.state.store(self.m, FREE, Release);
    }
}
