//! Mapping and unmapping for the kernel, and the flush that makes addresses free again.

use core::sync::atomic::Ordering::*;

use super::{FreeRange, Sealed, address::Flushed, address::LazyRange, address::MappedRange};
use crate::{
    addr::{Level, Vpn, VpnRange},
    counters::Counter,
    fix::Fix,
    flush::flush_kernel,
    format::{Attributes, EntryFormat},
    frame::{Frame, FrameRun, FrameSink},
    gather::release_run,
    machine::{Invalidate, Machine, Modify, Strength},
    stale::{Hint, LevelSet, Stale},
    table::{MapError, MapErrorKind},
    walk::Walking,
};

/// Whether CPUs may remember that nothing is mapped somewhere, and what is done about it for kernel addresses, where nobody
/// expects a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// They do not: x86 (SDM 3A §4.10.2.3, rev 75), arm64 (Arm ARM DDI 0487, D8.17), Alpha.
    Forgotten,
    /// They may, as on RISC-V without Svvptc, and whoever has a fault in the kernel [looks again](Sealed::look_again).
    LookedAtAgain,
    /// They may, and the handler of a fault cannot run everywhere, as where stacks are mapped so: whoever maps tells every CPU.
    Told,
}

/// Something could not be mapped. What comes before it was.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelMapError {
    /// What was in the way.
    pub kind: MapErrorKind,
    /// The frame that was to be mapped.
    pub frame: Frame,
    /// The addresses, of which a part is mapped.
    pub pages: MappedRange,
}

impl core::fmt::Display for KernelMapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "frame {:#x} is not mapped for the kernel: {}", self.frame.pfn().0, self.kind)
    }
}

impl core::error::Error for KernelMapError {}

impl<'k, M: Machine> Sealed<'k, M> {
    /// Maps frames one after the other from the first page of `range` on, small ones and large ones, each at a page that is
    /// aligned to it. What they do not fill is a hole, which catches who goes beyond the end.
    ///
    /// Where a large frame comes to where there are tables of smaller ones, which lead nowhere since the range is free, those
    /// are taken out: their entries cleared, every CPU's walk caches told, walks in them ended.
    ///
    /// When it returns every CPU can use them that is told of them by a release; where CPUs remember absence, as
    /// [`Machine::absence`] says.
    ///
    /// # Context
    /// Takes the lock of the kernel's page tables. Does not sleep. May flush, as [`flush_kernel`] does, with large frames or where
    /// absence is [told](Absence::Told).
    ///
    /// # Ordering
    /// Pairs: `map/walk`.
    ///
    /// # Errors
    /// [`KernelMapError`] with the frame that could not be mapped, and the addresses, which are to be unmapped. Frames after
    /// that one are not taken: who passes `&mut frames` still has them.
    ///
    /// # Panics
    /// If the frames are more than the range has room for.
    #[doc(alias = "vmap")]
    pub fn map(
        &self,
        m: &'k M,
        range: FreeRange,
        frames: impl IntoIterator<Item = Frame>,
        attributes: Attributes,
    ) -> Result<MappedRange, KernelMapError> {
        let pages = range.pages();
        match self.map_pages(m, pages, frames, attributes) {
            Ok(()) => Ok(MappedRange::new(pages)),
            Err(MapError { kind, frame }) => Err(KernelMapError { kind, frame, pages: MappedRange::new(pages) }),
        }
    }

    /// The same for pages that the caller has from a free range.
    pub(super) fn map_pages(
        &self,
        m: &'k M,
        pages: VpnRange,
        frames: impl IntoIterator<Item = Frame>,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let mut tables = self.lock(m);
        let (mut frames, mut next, mut again) = (frames.into_iter(), pages.start, None);
        loop {
            let start = next;
            let counted = again.take().into_iter().chain(&mut frames).inspect(|frame: &Frame| {
                next = Vpn(next.0 + frame.level().pages::<M::Format>());
                assert!(next <= pages.end, "more frames than the {} pages have room for", pages.n_pages());
            });
            let Err(error) = tables.map_each(start, counted, attributes) else { break };
            next = Vpn(next.0 - error.frame.level().pages::<M::Format>());
            let is_in_the_way = matches!(error.kind, MapErrorKind::Occupied(level) if level > Level::LEAF);
            let left = VpnRange::new(next, pages.end);
            if !is_in_the_way || !self.take_out_tables(&mut tables, left, error.frame.level()) {
                return Err(error);
            }
            again = Some(error.frame);
        }
        drop(tables);
        self.make_known(m, pages);
        m.count(Counter::KernelMapped, 1);
        Ok(())
    }

    /// Sees to it that CPUs find what was mapped.
    fn make_known(&self, m: &M, pages: VpnRange) {
        if m.absence() == Absence::Told && m.keeps(Fix::TellOfKernelMap) {
            // For CPUs that remember that nothing was there, at whatever level.
            flush_kernel(m, Stale { strength: Strength::Walk, ..every_leaf::<M::Format>(pages) });
        } else if m.keeps(Fix::FenceAfterKernelMap) {
            // ORDER(map/walk): this CPU's walker does not look into its store buffer, and has no fault to look again after.
            m.fence(SeqCst);
        }
    }

    /// For the handler of a fault in the kernel, where CPUs [remember absence](Absence::LookedAtAgain): makes this CPU forget
    /// that nothing was at `page`, if something is there by now. Tells whether to try again; if not, the fault is a real one.
    ///
    /// # Context
    /// In the handler; takes no lock. Not in the middle of a walk.
    ///
    /// # Ordering
    /// Who was told of the page by a release finds it. Pairs: `map/walk`.
    ///
    /// # Panics
    /// If the machine says that [nobody walks](Machine::walkers).
    #[doc(alias = "flush_tlb_fix_spurious_fault")]
    #[must_use]
    pub fn look_again(&self, m: &M, page: Vpn) -> bool {
        let walking = Walking::begin(m);
        let Some(found) = walking.find_in_kernel(self, page).filter(|_| m.keeps(Fix::LookAgainAtFault)) else {
            return false;
        };
        m.invalidate(Invalidate::Walk(page, Hint::at(found.level)));
        m.complete();
        true
    }

    /// Takes out what is mapped in `range`, and gives the frames to `sink` at once: nobody uses the addresses any more, and
    /// nobody may until they are free. No CPU is told. A CPU may read there on its own, as long as it remembers the pages.
    ///
    /// Who gives a frame other attributes elsewhere, as one that is not cached, or takes rights to it away, [flushes](Self::flush)
    /// before that.
    ///
    /// # Context
    /// Takes the lock of the kernel's page tables; the sink is called under it. Does not sleep.
    #[doc(alias = "vunmap")]
    pub fn unmap(&self, m: &'k M, range: MappedRange, sink: &impl FrameSink<M>) -> LazyRange {
        LazyRange::new(range.pages(), self.unmap_pages(m, range.pages(), sink))
    }

    /// The same; returns how many flushes had begun when all was cleared.
    pub(super) fn unmap_pages(&self, m: &'k M, pages: VpnRange, sink: &impl FrameSink<M>) -> u64 {
        let tables = self.lock(m);
        for leaf in tables.leaves(pages) {
            tables.clear(leaf.at(), leaf.raw());
            tables.entries_removed(leaf.at().table, 1);
            release_run(m, sink, FrameRun::regain(leaf.frame(), 1, leaf.level()));
        }
        drop(tables);
        // ORDER(lazy/flush): cleared before it is asked how many flushes have begun; who flushes counts his before he does. A
        // flush with a higher number comes after the entries were cleared. Needs the total order: store, then load.
        m.fence(SeqCst);
        self.kernel.flushes.load(m, Relaxed)
    }

    /// Makes every CPU forget what it remembers of `pages`, which are, or contain, all lazy ranges that are to be freed with
    /// it: one flush for as many as there are.
    ///
    /// # Context
    /// As [`flush_kernel`].
    ///
    /// # Ordering
    /// Pairs: `lazy/flush`, and those of [`flush_kernel`].
    #[doc(alias = "purge_vmap_area_lazy")]
    pub fn flush(&self, m: &M, pages: VpnRange) -> Flushed {
        // ORDER(lazy/flush): counted before the flush, see `unmap`.
        let number = self.kernel.flushes.modify(m, Modify::Add(1), SeqCst) + 1;
        flush_kernel(m, every_leaf::<M::Format>(pages));
        Flushed::new(pages, number)
    }
}

/// What is mapped in `pages` is not looked at: so no level may be spared.
fn every_leaf<F: EntryFormat>(pages: VpnRange) -> Stale {
    let levels =
        (1..=F::HIGHEST_LEAF.0).fold(LevelSet::default(), |levels, level| levels.union(LevelSet::of(Level(level))));
    Stale { range: pages, levels, executable: true, strength: Strength::Leaf }
}
