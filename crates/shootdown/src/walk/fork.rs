//! Forks and pins: who shares a page that he finds unpinned says so before he looks, since nothing else shows a pin that comes
//! too late.

use core::sync::atomic::Ordering::*;

use super::Refused;
use crate::{
    fix::Fix,
    machine::{Machine, Modify},
    residency::Space,
    word::Shared,
};

/// How often forks of an address space have begun and ended, as a sequence: odd during one.
pub(crate) struct ForkCount<M: Machine> {
    sequence: Shared<M>,
}

impl<M: Machine> ForkCount<M> {
    pub(crate) const fn new() -> Self {
        ForkCount { sequence: Shared::ZERO }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.sequence.visit("space.forks", visitor);
    }

    pub(super) fn before_pinning(&self, m: &M) -> Result<u64, Refused> {
        // ORDER(pin/fork): the entries are read after this.
        let sequence = self.sequence.load(m, Acquire);
        if sequence.is_multiple_of(2) || !m.keeps(Fix::SayWhenForking) {
            Ok(sequence)
        } else {
            Err(Refused::BeingForked)
        }
    }

    pub(super) fn is_after(&self, m: &M, was: u64) -> bool {
        if !m.keeps(Fix::SayWhenForking) {
            return true;
        }
        // ORDER(pin/fork): pinned before this is read; who forks has said so before he looks for pins. One of us sees the
        // other. Needs the total order: store, then load, on both sides.
        m.fence(SeqCst);
        self.sequence.load(m, Relaxed) == was
    }
}

/// A fork under way, or anything else that shares pages which it finds unpinned and makes them read-only: no lockless walk
/// pins one meanwhile. Ends when it is dropped.
#[doc(alias = "write_protect_seq")]
#[must_use = "pages may be shared only while this lives"]
pub struct Forking<'a, M: Machine> {
    m: &'a M,
    space: &'a Space<M>,
}

impl<'a, M: Machine> Forking<'a, M> {
    /// Begins.
    ///
    /// # Context
    /// Under a lock that keeps others from doing the same to this address space.
    ///
    /// # Ordering
    /// Pairs: `pin/fork`.
    pub fn begin(m: &'a M, space: &'a Space<M>) -> Self {
        space.forks.sequence.update(m, Modify::Add(1), Relaxed);
        // ORDER(pin/fork): said before pins are looked for, see `ForkCount::is_after`.
        m.fence(SeqCst);
        Forking { m, space }
    }
}

impl<M: Machine> Drop for Forking<'_, M> {
    fn drop(&mut self) {
        // ORDER(pin/fork): entries are read-only, and flushed, before walks may pin again.
        self.space.forks.sequence.update(self.m, Modify::Add(1), Release);
    }
}
