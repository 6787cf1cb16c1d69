//! A shootdown: every CPU that may hold a stale translation drops it before this returns.
//!
//! Owns the request and both of its ends, the issuer's and the target's. Which CPUs may be left alone is decided in
//! [`residency`](crate::residency) and nowhere else.

use core::sync::atomic::Ordering::*;

use crate::{
    addr::{SpaceId, Vpn},
    call::{self, Kind, N_WORDS, Operation},
    counters::Counter,
    cpu::CpuSet,
    fix::Fix,
    machine::{Invalidate, Machine, Masked, Modify, Strength},
    policy::Policy,
    residency::{Space, Trim},
    stale::Stale,
    tag::Tagging,
};

/// What a target is asked to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) space: SpaceId,
    /// The generation that a CPU has reached when it has done this.
    pub(crate) generation: u64,
    pub(crate) stale: Stale,
}

impl Request {
    pub(crate) fn encode(self) -> [u64; N_WORDS] {
        let [what, start, end] = self.stale.encode();
        [u64::from(self.space.0) << 16 | what, self.generation, start, end, 0]
    }

    pub(crate) fn decode([what, generation, start, end, _]: [u64; N_WORDS]) -> Option<Request> {
        let stale = Stale::decode([what, start, end])?;
        Some(Request { space: SpaceId((what >> 16) as u32), generation, stale })
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
    /// `edit/generation`, `activate/shootdown`, `lazy/shootdown`.
    pub fn flush(&self, m: &M, stale: Stale) {
        m.scope(|m| {
            m.count(Counter::Flush, 1);
            // ORDER(edit/generation): a CPU that reads this generation walks tables as they are now.
            // ORDER(activate/shootdown): bumped before the residency mask is read; a CPU that comes sets its bit before
            // it reads the generation. One of us sees the other. Needs the total order: store, then load, on both sides.
            // ORDER(lazy/shootdown): the same with the lazy mark, see `must_interrupt`.
            let generation = self.generation.modify(m, Modify::Add(1), SeqCst) + 1;
            let request = Request { space: self.id(), generation, stale };
            let targets = self.targets(m, &request);
            call::post(m, &targets, Kind::Synchronous, Operation::Flush(request), 0);
            if flush_here(m, request) {
                m.count(Counter::FlushLocal, 1);
            }
            call::wait_for(m, &targets);
        });
    }

    /// The other CPUs that must hear of `request`.
    fn targets(&self, m: &M, request: &Request) -> CpuSet<M::Cpus> {
        if !m.keeps(Fix::FlushRemote) {
            return CpuSet::EMPTY;
        }
        let here = m.cpu();
        // ORDER(activate/shootdown): see `flush`.
        let resident = self.cpus.load(m, SeqCst);
        let mut targets = CpuSet::EMPTY;
        let mut trim = None;
        for cpu in resident.iter().filter(|cpu| *cpu != here) {
            let trim = *trim.get_or_insert_with(|| if m.trims(self.id()) { Trim::Now } else { Trim::NotNow });
            match self.must_interrupt(m, cpu, request, trim) {
                Ok(()) => targets.insert(cpu),
                Err(skip) => m.count(skip.counter(), 1),
            }
        }
        targets
    }
}

/// Does on this CPU what `request` asks; tells whether there was anything to invalidate.
pub(crate) fn flush_here<M: Machine>(m: &M, request: Request) -> bool {
    m.scope(|m| {
        let _masked = Masked::new(m);
        let here = m.per_cpu(m.cpu());
        // Where nobody uses the address space we let it go, so that nobody needs to interrupt us for it again.
        if !here.has_loaded(m, request.space) {
            here.forget(m, request.space);
            return false;
        }
        if here.is_lazy(m) {
            here.leave(m);
            here.forget(m, request.space);
            return false;
        }
        let seen = here.seen(m, request.space);
        if seen >= request.generation {
            m.count(Counter::SkippedGeneration, 1);
            return false;
        }
        // Single invalidations are enough only if nothing else was missed in between.
        let is_next = seen + 1 == request.generation || !m.keeps(Fix::DropAllWhenBehind);
        if is_cheaper_singly::<M>(request.stale) && is_next {
            invalidate_pages(m, request.stale);
            here.set_seen(m, request.space, request.generation);
        } else {
            let space = m.space(request.space).expect("a loaded address space is one");
            // ORDER(edit/generation): read before the invalidation, so that what comes after is asked for again.
            let now = space.generation.load(m, Acquire);
            here.drop_all(m, space);
            m.count(Counter::FlushEverything, 1);
            here.set_seen(m, request.space, now);
        }
        true
    })
}

/// Makes every CPU that takes part forget `stale` translations of kernel addresses, which all address spaces share;
/// returns when all have.
///
/// # Context
/// As [`Space::flush`].
///
/// # Ordering
/// As [`Space::flush`], for the entries that all address spaces share. A CPU that arrives meanwhile empties its TLB.
/// Pairs: `arrive/shootdown`.
#[doc(alias = "flush_tlb_kernel_range")]
pub fn flush_kernel<M: Machine>(m: &M, stale: Stale) {
    m.count(Counter::Flush, 1);
    // ORDER(arrive/shootdown): whoever has changed the entries does not look who takes part before they are changed for
    // everybody. Needs the total order: store, then load, on both sides. And our own walker, which does not look into the
    // store buffer, finds them changed when we invalidate.
    m.fence(SeqCst);
    call::run_on_all(m, Operation::FlushKernel(stale));
}

/// Does on this CPU what [`flush_kernel`] asks. Interrupts are masked.
pub(crate) fn flush_kernel_here<M: Machine>(m: &M, stale: Stale) {
    // Single invalidations name pages of the loaded tag only.
    if m.tagging() != Tagging::Numbered && is_cheaper_singly::<M>(stale) {
        invalidate_pages(m, stale);
        m.per_cpu(m.cpu()).forget_other_tags(m);
    } else {
        m.invalidate(Invalidate::EveryTag);
        m.complete();
    }
}

/// Past the ceiling, dropping everything is cheaper. What a CPU may skip does not depend on it.
fn is_cheaper_singly<M: Machine>(stale: Stale) -> bool {
    stale.strength != Strength::Full && stale.n_invalidations::<M::Format>() <= M::Policy::FLUSH_CEILING
}

fn invalidate_pages<M: Machine>(m: &M, stale: Stale) {
    let (level, hint) = (stale.levels.lowest(), stale.hint());
    let stride = level.pages::<M::Format>();
    let mut page = stale.range.start.align_down::<M::Format>(level);
    while page < stale.range.end {
        m.invalidate(match stale.strength {
            Strength::Leaf => Invalidate::Leaf(page, hint),
            Strength::Walk | Strength::Full => Invalidate::Walk(page, hint),
        });
        page = Vpn(page.0.saturating_add(stride));
    }
    m.complete();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Level, VpnRange};

    #[test]
    fn a_request_survives_the_slot() {
        let range = VpnRange::new(Vpn(0x7_f88d_e25e), Vpn(0x7_f88d_e261));
        for stale in [Stale::leaves(range, Level(1)), Stale::table(range.start, Level(3)), Stale::EVERYTHING] {
            let request = Request { space: SpaceId(u32::MAX), generation: 77, stale };
            assert_eq!(Request::decode(request.encode()), Some(request));
        }
        assert_eq!(Request::decode([0; N_WORDS]), None);
    }
}
