//! The two kinds of library state that more than one CPU may touch.

use core::sync::atomic::Ordering;

use crate::machine::{At, Machine, Modify};

/// One machine word of library state: an `AtomicU64` on real machines, an index into plain data in the explorer.
///
/// Words are born zero, so library structures are `const` and can live in `.bss`.
pub trait Word: Sized + Sync + 'static {
    /// A word at birth; reads as 0.
    const ZERO: Self;
}

/// A word that any CPU may read or change at any time.
///
/// Every access is a scheduling point of the explorer.
#[repr(transparent)]
pub struct Shared<M: Machine>(M::Word);

impl<M: Machine> Word for Shared<M> {
    const ZERO: Self = Shared(M::Word::ZERO);
}

impl<M: Machine> Shared<M> {
    /// A word that reads as 0.
    pub const ZERO: Self = Shared(M::Word::ZERO);

    /// Reads the word.
    #[inline]
    #[track_caller]
    pub fn load(&self, m: &M, order: Ordering) -> u64 {
        m.load(At::Word(&self.0), order)
    }

    /// Writes the word.
    #[inline]
    #[track_caller]
    pub fn store(&self, m: &M, value: u64, order: Ordering) {
        m.store(At::Word(&self.0), value, order);
    }

    /// Changes the word in one step and returns what it was.
    #[inline]
    #[track_caller]
    pub fn modify(&self, m: &M, modify: Modify, order: Ordering) -> u64 {
        m.modify(At::Word(&self.0), modify, order)
    }

    /// Changes the word in one step where nobody asks what it was.
    #[inline]
    #[track_caller]
    pub fn update(&self, m: &M, modify: Modify, order: Ordering) {
        m.update(At::Word(&self.0), modify, order);
    }

    /// Shows the word to `visitor` under `name`.
    pub fn visit(&self, name: &'static str, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        visitor(name, &self.0);
    }
}

/// A word with one owner at a time: whoever holds the lock over it, the CPU it belongs to with interrupts masked, or
/// whoever it was handed to by a release and an acquire.
///
/// Accesses are no scheduling points of the explorer: nobody can see the difference.
#[repr(transparent)]
pub struct Own<M: Machine>(M::Word);

impl<M: Machine> Own<M> {
    /// A word that reads as 0.
    pub const ZERO: Self = Own(M::Word::ZERO);

    /// Reads the word. Only its owner may.
    #[inline]
    #[track_caller]
    pub fn get(&self, m: &M) -> u64 {
        m.own_get(&self.0)
    }

    /// Writes the word. Only its owner may.
    #[inline]
    #[track_caller]
    pub fn set(&self, m: &M, value: u64) {
        m.own_set(&self.0, value);
    }

    /// Shows the word to `visitor` under `name`.
    pub fn visit(&self, name: &'static str, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        visitor(name, &self.0);
    }
}

impl<M: Machine> Default for Shared<M> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl<M: Machine> Default for Own<M> {
    fn default() -> Self {
        Self::ZERO
    }
}
