//! Addresses of kernel space: free, mapped, lazy, and free again after a flush.

use crate::{
    addr::{Vpn, VpnRange},
    fix::Fix,
    machine::Machine,
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

    pub(super) const fn new(pages: VpnRange) -> Self {
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
    pub(super) const fn new(pages: VpnRange, since: u64) -> Self {
        LazyRange { pages, since }
    }

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
        let is_flushed = flushed.has_reached(self.pages, self.since);
        if is_flushed || !m.keeps(Fix::FlushBeforeReuse) { Ok(FreeRange::new(self.pages)) } else { Err(self) }
    }
}

/// A flush of kernel addresses that is complete.
#[derive(Clone, Copy, Debug)]
pub struct Flushed {
    pages: VpnRange,
    number: u64,
}

impl Flushed {
    pub(super) const fn new(pages: VpnRange, number: u64) -> Self {
        Flushed { pages, number }
    }

    /// Tells whether it was for these pages, and has begun when more than so many flushes had.
    pub(super) const fn has_reached(&self, pages: VpnRange, since: u64) -> bool {
        self.number > since && self.pages.covers(pages)
    }
}
