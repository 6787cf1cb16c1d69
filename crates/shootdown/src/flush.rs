//! A shootdown: every CPU that may hold a stale translation drops it before this returns.
//!
//! Owns the request and both of its ends, the issuer's and the target's. Which CPUs may be left alone is decided in
//! [`residency`](crate::residency) and nowhere else. Where the machine broadcasts there is no request, and no CPU is left
//! alone.

use core::sync::atomic::Ordering::*;

use crate::{
    addr::SpaceId,
    call::{self, Kind, Operation, Words},
    counters::Counter,
    cpu::CpuSet,
    fix::Fix,
    invalidations::Invalidations,
    machine::{Invalidate, Machine, Masked, Modify, Strength},
    notify::{self, Event},
    residency::{PerCpu, Space, Trim},
    stale::Stale,
    tag::Tagging,
    walk::WalksEnded,
};

/// What a target is asked to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) space: SpaceId,
    /// The generation that a CPU has reached when it has done this.
    pub(crate) generation: u64,
    pub(crate) invalidations: Invalidations,
}

impl Request {
    #[inline]
    pub(crate) fn encode(self) -> Words {
        let [what, first, n_pages, stride_pages] = self.invalidations.encode();
        [u64::from(self.space.0) << 16 | what, self.generation, first, n_pages, stride_pages]
    }

    #[inline]
    pub(crate) fn decode([what, generation, first, n_pages, stride_pages]: Words) -> Option<Request> {
        let invalidations = Invalidations::decode([what, first, n_pages, stride_pages])?;
        Some(Request { space: SpaceId((what >> 16) as u32), generation, invalidations })
    }
}

impl<M: Machine> Space<M> {
    /// Makes every CPU that may remember `stale` translations of this address space forget them; returns when all have.
    ///
    /// # Context
    /// Any, also with interrupts masked and under locks that no interrupt handler takes. Does not sleep.
    ///
    /// # Ordering
    /// Whatever was changed in the tables before is seen by every walk that begins after this returned. Pairs:
    /// `edit/generation`, `activate/shootdown`, `lazy/shootdown`; where the machine broadcasts, `edit/broadcast`.
    ///
    /// Where it has interrupted every CPU that may walk the tables of this address space it is also the proof that walks
    /// which take no lock have ended.
    pub fn flush(&self, m: &M, stale: Stale) -> Option<WalksEnded> {
        let walks_ended = if m.broadcasts() {
            self.flush_by_broadcast(m, stale);
            // Nobody was interrupted.
            (!m.keeps(Fix::ProveByInterrupt)).then(WalksEnded::new)
        } else {
            Some(self.flush_by_interrupts(m, stale))
        };
        self.tell_stricter(m, stale);
        walks_ended
    }

    /// Makes secondary TLBs forget `stale` translations, after a fence.
    #[inline]
    pub(crate) fn tell_stricter(&self, m: &M, stale: Stale) {
        if m.has_listeners() && m.keeps(Fix::TellDevices) {
            self.tell(m, Event::Stricter { space: self.id(), stale });
        }
    }

    /// The same, where each CPU that may remember anything does it by itself, and lets go of the address space if nobody
    /// uses it there.
    #[inline]
    pub(crate) fn flush_by_interrupts(&self, m: &M, stale: Stale) -> WalksEnded {
        m.scope(|m| {
            m.count(Counter::Flush, 1);
            // ORDER(edit/generation): a CPU that reads this generation walks tables as they are now.
            // ORDER(activate/shootdown): bumped before the residency mask is read; a CPU that comes sets its bit before
            // it reads the generation. One of us sees the other. Needs the total order: store, then load, on both sides.
            // ORDER(lazy/shootdown): the same with the lazy mark, see `must_interrupt`.
            let generation = self.generation.modify(m, Modify::Add(1), SeqCst) + 1;
            let request = Request { space: self.id(), generation, invalidations: Invalidations::of::<M>(stale) };
            let targets = self.targets(m, stale.strength);
            call::post(m, &targets, Kind::Synchronous, &request.encode(), 0);
            if flush_here(m, request) {
                m.count(Counter::FlushLocal, 1);
            }
            call::wait_for(m, &targets);
        });
        // Who walks has the address space loaded, is not lazy, and answers when he has come to the end.
        WalksEnded::new()
    }

    /// The same, where hardware reaches every CPU.
    ///
    /// Residency, lazy mode and the generation are about CPUs that are left out and find out later. None is left out here:
    /// what a CPU remembered of the address space is gone, whether it uses it, is lazy, or has loaded something else by
    /// now; what it remembers from here on, as one that switches to the address space meanwhile does, it has read in the
    /// tables as they are. So nothing of these is looked at, and the generation stands still.
    fn flush_by_broadcast(&self, m: &M, stale: Stale) {
        m.scope(|m| {
            m.count(Counter::Flush, 1);
            self.begin_broadcast(m, stale);
            complete_broadcasts(m);
        });
    }

    /// Begins to make every CPU forget `stale` translations, by hardware; [`complete_broadcasts`], on this CPU, returns when
    /// all have.
    pub(crate) fn begin_broadcast(&self, m: &M, stale: Stale) {
        assert!(m.tagging() == Tagging::Untagged, "a machine that broadcasts hands out tags by itself");
        m.scope(|m| {
            m.count(Counter::Broadcast, 1);
            // ORDER(edit/broadcast): the entries are changed for every walker before anything is dropped; otherwise one
            // fills its TLB with what was there once more, and nobody drops that.
            m.fence(SeqCst);
            Invalidations::of::<M>(stale).broadcast(m, Some(self.id()));
        });
    }

    /// The other CPUs that must hear of a request.
    #[inline]
    fn targets(&self, m: &M, strength: Strength) -> CpuSet<M::Cpus> {
        if !m.keeps(Fix::FlushRemote) {
            return CpuSet::EMPTY;
        }
        // ORDER(activate/shootdown): see `flush`.
        let mut resident = self.cpus.load(m, SeqCst);
        resident.remove(m.cpu());
        let mut targets = resident;
        if resident.is_empty() {
            return targets;
        }
        let trim = if m.trims(self.id()) { Trim::Now } else { Trim::NotNow };
        for cpu in resident.iter() {
            if let Err(skip) = self.must_interrupt(m, cpu, strength, trim) {
                targets.remove(cpu);
                m.count(skip.counter(), 1);
            }
        }
        targets
    }
}

/// Returns when whatever this CPU has begun to broadcast has reached every CPU. What others have begun may be under way
/// still.
pub(crate) fn complete_broadcasts<M: Machine>(m: &M) {
    if m.keeps(Fix::WaitForAcks) {
        m.complete();
    }
}

/// Does on this CPU what `request` asks; tells whether there was anything to invalidate.
fn flush_here<M: Machine>(m: &M, request: Request) -> bool {
    let _masked = Masked::new(m);
    flush_masked(m, request)
}

/// The same, with interrupts masked.
#[inline(always)]
pub(crate) fn flush_masked<M: Machine>(m: &M, request: Request) -> bool {
    m.scope(|m| {
        let here = m.here();
        // Where nobody uses the address space we let it go, so that nobody needs to interrupt us for it again.
        if !here.has_loaded(m, request.space) {
            here.forget(m, request.space);
            return false;
        }
        if here.is_lazy(m) {
            let_go(m, here, request.space);
            return false;
        }
        let seen_word = here.seen(m, request.space);
        let seen = seen_word.get(m);
        if seen >= request.generation {
            m.count(Counter::SkippedGeneration, 1);
            return false;
        }
        // Single invalidations are enough only if nothing else was missed in between.
        let is_behind = seen + 1 != request.generation && m.keeps(Fix::DropAllWhenBehind);
        if is_behind || request.invalidations.is_everything() {
            drop_everything(m, here, request.space);
            return true;
        }
        request.invalidations.singly(m);
        seen_word.set(m, request.generation);
        true
    })
}

// This and the next one apart, so that what is left, a few invalidations, is short enough to be part of what asks for it.
#[inline(never)]
fn let_go<M: Machine>(m: &M, here: &PerCpu<M>, space: SpaceId) {
    here.leave(m);
    here.forget(m, space);
}

/// Drops all of an address space that is loaded.
#[inline(never)]
fn drop_everything<M: Machine>(m: &M, here: &PerCpu<M>, space: SpaceId) {
    let space = m.space(space).expect("a loaded address space is one");
    // ORDER(edit/generation): read before the invalidation, so that what comes after is asked for again.
    let now = space.generation.load(m, Acquire);
    here.drop_all(m, space);
    m.count(Counter::FlushEverything, 1);
    // Not where it was before: the tag may be another one.
    here.seen(m, space.id()).set(m, now);
}

/// Makes every CPU that takes part forget `stale` translations of kernel addresses, which all address spaces share;
/// returns when all have.
///
/// # Context
/// As [`Space::flush`].
///
/// # Ordering
/// As [`Space::flush`], for the entries that all address spaces share. A CPU that arrives meanwhile empties its TLB.
/// Pairs: `arrive/shootdown`; where the machine broadcasts, `edit/broadcast`.
///
/// Where every CPU was interrupted it is also the proof that lockless walks have ended.
#[doc(alias = "flush_tlb_kernel_range")]
pub fn flush_kernel<M: Machine>(m: &M, stale: Stale) -> Option<WalksEnded> {
    m.count(Counter::Flush, 1);
    // ORDER(arrive/shootdown): whoever has changed the entries does not look who takes part before they are changed for
    // everybody. Needs the total order: store, then load, on both sides. And our own walker, which does not look into the
    // store buffer, finds them changed when we invalidate.
    // ORDER(edit/broadcast): so do all walkers.
    m.fence(SeqCst);
    notify::tell_of_kernel(m, stale);
    let invalidations = Invalidations::of::<M>(stale);
    if m.broadcasts() {
        m.count(Counter::Broadcast, 1);
        // Also what CPUs remember under tags that are not loaded: a page that all address spaces share is dropped in all.
        m.scope(|m| invalidations.broadcast(m, None));
        complete_broadcasts(m);
        return (!m.keeps(Fix::ProveByInterrupt)).then(WalksEnded::new);
    }
    call::run_on_all(m, Operation::FlushKernel(invalidations));
    Some(WalksEnded::new())
}

/// Does on this CPU what [`flush_kernel`] asks. Interrupts are masked.
pub(crate) fn flush_kernel_here<M: Machine>(m: &M, invalidations: Invalidations) {
    // Single invalidations name pages of the loaded tag only.
    if invalidations.is_everything() || m.tagging() == Tagging::Numbered {
        m.invalidate(Invalidate::EveryTag);
        m.complete();
    } else {
        invalidations.singly(m);
        m.here().forget_other_tags(m);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::N_WORDS;

    #[test]
    fn a_request_survives_the_slot() {
        let request = Request { space: SpaceId(u32::MAX), generation: 77, invalidations: Invalidations::EVERYTHING };
        assert_eq!(Request::decode(request.encode()), Some(request));
        assert_eq!(Request::decode([0; N_WORDS]), None);
    }
}
