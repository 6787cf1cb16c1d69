//! Addresses of kernel space: free, mapped, lazy, and free again after a flush.

use core::sync::atomic::Ordering::*;

use super::Sealed;
use crate::{
    addr::{Level, Vpn, VpnRange},
    counters::Counter,
    fix::Fix,
    flush::flush_kernel,
    format::{Attributes, EntryFormat},
    frame::{Frame, FrameRun, FrameSink},
    gather::release_run,
    machine::{Machine, Modify, Strength},
    stale::{LevelSet, Stale},
    table::MapErrorKind,
};

/// Pages of kernel space that nothing is mapped at and that no CPU remembers anything of. Whoever has it may map them; nobody
/// else has the same pages.
#[must_use = "addresses that are dropped are never used again"]
#[derive(Debug, PartialEq, Eq)]
pub struct FreeRange {
    pages: VpnRange,
}

impl FreeRange {
    /// Declares that these addresses are free, for a kernel that has kept account of them by their numbers.
    ///
    /// # Safety
    /// They come from a `FreeRange` of this kernel space, which nobody has any more.
    #[expect(unsafe_code, reason = "nobody can check that no CPU remembers them")]
    pub const unsafe fn claim(pages: VpnRange) -> Self {
        FreeRange { pages }
    }

    pub(super) const fn new(pages: VpnRange) -> Self {
        FreeRange { pages }
    }

    /// Returns the pages.
    #[must_use]
    pub const fn pages(&self) -> VpnRange {
        self.pages
    }

    /// Takes the first so many pages off.
    ///
    /// # Errors
    /// The range, if it has not so many, or not one more: neither part is ever empty.
    pub fn split(self, n_pages: u64) -> Result<(FreeRange, FreeRange), FreeRange> {
        let VpnRange { start, end } = self.pages;
        if n_pages == 0 || n_pages >= self.pages.n_pages() {
            return Err(self);
        }
        let middle = Vpn(start.0 + n_pages);
        Ok((FreeRange::new(VpnRange::new(start, middle)), FreeRange::new(VpnRange::new(middle, end))))
    }

    /// Makes one of two that follow each other.
    ///
    /// # Errors
    /// Both, if they do not.
    pub fn join(self, next: FreeRange) -> Result<FreeRange, (FreeRange, FreeRange)> {
        if self.pages.end != next.pages.start {
            return Err((self, next));
        }
        Ok(FreeRange::new(VpnRange::new(self.pages.start, next.pages.end)))
    }
}

/// Pages of kernel space that something may be mapped at.
#[must_use = "what is mapped stays so until it is unmapped"]
#[derive(Debug, PartialEq, Eq)]
pub struct MappedRange {
    pages: VpnRange,
}

impl MappedRange {
    /// Declares that these addresses are mapped, for a kernel that has kept account of them by their numbers.
    ///
    /// # Safety
    /// They come from a `MappedRange` of this kernel space, which nobody has any more.
    #[expect(unsafe_code, reason = "nobody can check that they are not in use")]
    pub const unsafe fn claim(pages: VpnRange) -> Self {
        MappedRange { pages }
    }

    /// Returns the pages.
    #[must_use]
    pub const fn pages(&self) -> VpnRange {
        self.pages
    }
}

/// Pages of kernel space that nothing is mapped at, and that CPUs may remember something of.
#[must_use = "addresses that are dropped are never used again"]
#[derive(Debug, PartialEq, Eq)]
pub struct LazyRange {
    pages: VpnRange,
    // How many flushes had begun when it was unmapped.
    since: u64,
}

impl LazyRange {
    /// Returns the pages.
    #[must_use]
    pub const fn pages(&self) -> VpnRange {
        self.pages
    }

    /// Makes the addresses free, since a flush for them has been made.
    ///
    /// # Errors
    /// The range, if the flush was begun before it was unmapped, or was not for all of it.
    pub fn free<M: Machine>(self, m: &M, flushed: &Flushed) -> Result<FreeRange, LazyRange> {
        let is_flushed = flushed.number > self.since && flushed.pages.covers(self.pages);
        if is_flushed || !m.keeps(Fix::FlushBeforeReuse) { Ok(FreeRange::new(self.pages)) } else { Err(self) }
    }
}

/// A flush of kernel addresses that is complete.
#[derive(Clone, Copy, Debug)]
pub struct Flushed {
    pages: VpnRange,
    number: u64,
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
    /// Maps frames one after the other from the first page of `range` on. What they do not fill is a hole, which catches who
    /// goes beyond the end.
    ///
    /// When it returns every CPU can use them that is told of them by a release.
    ///
    /// # Context
    /// Takes the lock of the kernel's page tables. Does not sleep.
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
        let FreeRange { pages } = range;
        let mut tables = self.lock(m);
        let mut page = pages.start;
        for frame in frames {
            let end = page.0 + frame.level().pages::<M::Format>();
            assert!(end <= pages.end.0, "more frames than the {} pages have room for", pages.n_pages());
            if let Err(error) = tables.map(page, frame, attributes) {
                return Err(KernelMapError { kind: error.kind, frame: error.frame, pages: MappedRange { pages } });
            }
            page = Vpn(end);
        }
        drop(tables);
        if m.keeps(Fix::FenceAfterKernelMap) {
            // ORDER(map/walk): this CPU's walker does not look into its store buffer, and has no fault to look again after.
            m.fence(SeqCst);
        }
        m.count(Counter::KernelMapped, 1);
        Ok(MappedRange { pages })
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
        let MappedRange { pages } = range;
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
        LazyRange { pages, since: self.kernel.flushes.load(m, Relaxed) }
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
        flush_kernel(
            m,
            Stale { range: pages, levels: every_leaf_level::<M>(), executable: true, strength: Strength::Leaf },
        );
        Flushed { pages, number }
    }
}

/// What is mapped is not looked at: so no level may be spared.
fn every_leaf_level<M: Machine>() -> LevelSet {
    (1..=M::Format::HIGHEST_LEAF.0).fold(LevelSet::default(), |levels, level| levels.union(LevelSet::of(Level(level))))
}
