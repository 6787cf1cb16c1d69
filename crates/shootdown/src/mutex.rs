//! A lock over plain Rust data, for machines whose CPUs share the memory that `&T` lives in.

use core::ops::{Deref, DerefMut};

use crate::{
    lock::{Guard, Locked},
    machine::Machine,
};

/// Marks machines on which one CPU may follow a Rust reference of another.
///
/// Metal, host threads and the live driver are such machines. The graph explorer's is not: there the data would be
/// outside of the state it hashes. Lists and trees behind a [`Mutex`] cannot reach it by mistake.
///
/// # Safety
/// All CPUs that share a value of this machine's library state share one memory, and the machine's lock words order
/// accesses to that memory as the operations of [`core::sync::atomic`] would.
#[expect(unsafe_code, reason = "a false claim is a data race")]
pub unsafe trait OneMemory: Machine {}

/// Plain data that only the holder of the lock may use.
pub struct Mutex<M: Machine, T> {
    lock: Locked<M, ()>,
    // INVARIANT: reached through a `MutexGuard` only, which holds the lock.
    #[expect(clippy::disallowed_types, reason = "the one place where state lives outside of words, see `OneMemory`")]
    data: core::cell::UnsafeCell<T>,
}

// SAFETY:
// - `T: Send`, and the lock lets one CPU at a time reach it.
// - `M: OneMemory` promises that the lock's words order memory.
#[expect(unsafe_code, reason = "the lock's cell")]
unsafe impl<M: OneMemory, T: Send> Sync for Mutex<M, T> {}

/// The lock, held. Dropping it unlocks.
#[must_use = "the lock is held only while this lives"]
pub struct MutexGuard<'l, M: Machine, T> {
    mutex: &'l Mutex<M, T>,
    _guard: Guard<'l, M, ()>,
}

impl<M: OneMemory, T> Mutex<M, T> {
    /// Makes an unlocked lock.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub const fn new(data: T) -> Self {
        Mutex { lock: Locked::new(()), data: core::cell::UnsafeCell::new(data) }
    }

    /// Takes the lock.
    ///
    /// # Context
    /// As [`Locked::lock`].
    #[track_caller]
    pub fn lock<'l>(&'l self, m: &'l M) -> MutexGuard<'l, M, T> {
        MutexGuard { mutex: self, _guard: self.lock.lock(m) }
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Context
    /// As [`Locked::try_lock`].
    #[track_caller]
    pub fn try_lock<'l>(&'l self, m: &'l M) -> Option<MutexGuard<'l, M, T>> {
        self.lock.try_lock(m).map(|guard| MutexGuard { mutex: self, _guard: guard })
    }
}

impl<M: Machine, T> Deref for MutexGuard<'_, M, T> {
    type Target = T;

    #[expect(unsafe_code, reason = "the lock's cell")]
    fn deref(&self) -> &T {
        // SAFETY: the pointer comes from a live cell; this guard holds its lock, so nobody has a `&mut T` but through
        // this guard, which is borrowed.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<M: Machine, T> DerefMut for MutexGuard<'_, M, T> {
    #[expect(unsafe_code, reason = "the lock's cell")]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the pointer comes from a live cell; this guard holds its lock and is borrowed mutably, so nobody else
        // has a reference.
        unsafe { &mut *self.mutex.data.get() }
    }
}
