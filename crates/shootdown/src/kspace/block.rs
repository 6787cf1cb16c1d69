//! Addresses for small mappings: in blocks, from which each CPU takes a few pages at a time without asking for the kernel's
//! whole account of addresses.
//!
//! A block has up to 64 *units* of one page or several, which are free, mapped, or *dirty*: unmapped, and perhaps remembered by
//! some CPU. A dirty unit is free again when a flush is complete that was begun after it was unmapped. What is dirty is noted in
//! each block, and looked for in each block, whether it has room or not: an index of the blocks that have some is good for
//! finding room, and for nothing else.

use core::sync::atomic::Ordering::*;

use super::{FreeRange, Sealed, address::Flushed};
use crate::{
    addr::{Vpn, VpnRange},
    fix::Fix,
    format::Attributes,
    frame::{Frame, FrameSink},
    lock::Locked,
    machine::Machine,
    table::{MapError, MapErrorKind},
    word::{Own, Shared},
};

/// Units a block has at most: one word has a bit for each.
const MAX_UNITS: u64 = 64;

/// The account of one block. The kernel places as many as it likes, and gives them to one [`Blocks`].
pub struct Block<M: Machine> {
    units: Locked<M, Units<M>>,
    // Units that are not free: a copy, for those who look for room without the lock.
    used: Shared<M>,
}

/// Bits, one for each unit.
struct Units<M: Machine> {
    mapped: Own<M>,
    // Those of them that a mapping begins with.
    first: Own<M>,
    dirty: Own<M>,
    // How many flushes of kernel addresses had begun when something here was last unmapped.
    since: Own<M>,
}

/// Which block a CPU takes addresses from. The kernel places one for each CPU, or fewer.
pub struct Current<M: Machine> {
    // Relative to where the CPU begins.
    block: Shared<M>,
}

/// Kernel addresses for small mappings. There are no guard pages: who goes beyond the end finds somebody else's, as in Linux.
pub struct Blocks<'k, M: Machine> {
    kernel: Sealed<'k, M>,
    blocks: &'k [Block<M>],
    current: &'k [Current<M>],
    pages: VpnRange,
    units_of_block: u64,
    pages_of_unit: u64,
}

/// Why addresses cannot be divided into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlocksError {
    /// There are no blocks, or no CPU to take from them.
    None,
    /// So many pages do not make so many blocks of the same size, each of which has whole units.
    Uneven {
        /// Pages there are.
        n_pages: u64,
        /// Blocks that are to be made of them.
        n_blocks: u64,
    },
}

impl core::fmt::Display for BlocksError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BlocksError::None => f.write_str("there are no blocks, or there is no place for a CPU's current one"),
            BlocksError::Uneven { n_pages, n_blocks } => {
                write!(f, "{n_pages} pages are not {n_blocks} blocks of up to {MAX_UNITS} equal units each")
            }
        }
    }
}

impl core::error::Error for BlocksError {}

/// Why nothing was mapped.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockMapError {
    /// No block has so many units in a row, or there were no pages to map. Perhaps after a [flush](Blocks::drain), perhaps never.
    NoRoom {
        /// Pages that were asked for.
        n_pages: u64,
    },
    /// A frame could not be mapped; those before it were, and are to be [unmapped](Blocks::unmap).
    NotMapped {
        /// What was in the way.
        kind: MapErrorKind,
        /// The frame.
        frame: Frame,
        /// Where the first of them is.
        start: Vpn,
    },
}

impl core::fmt::Display for BlockMapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BlockMapError::NoRoom { n_pages } => write!(f, "no block of kernel addresses has room for {n_pages} pages"),
            BlockMapError::NotMapped { kind, frame, .. } => {
                write!(f, "frame {:#x} is not mapped for the kernel: {kind}", frame.pfn().0)
            }
        }
    }
}

impl core::error::Error for BlockMapError {}

/// No small mapping begins at this page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInBlocks(pub Vpn);

impl core::fmt::Display for NotInBlocks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no small kernel mapping begins at page {:#x}", self.0.0)
    }
}

impl core::error::Error for NotInBlocks {}

impl<M: Machine> Block<M> {
    /// Makes the account of a block, all of which is free.
    #[must_use]
    pub const fn new() -> Self {
        let units = Units { mapped: Own::ZERO, first: Own::ZERO, dirty: Own::ZERO, since: Own::ZERO };
        Block { units: Locked::new(units), used: Shared::ZERO }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.units.visit(visitor, |units, visitor| {
            units.mapped.visit("block.mapped", visitor);
            units.first.visit("block.first", visitor);
            units.dirty.visit("block.dirty", visitor);
            units.since.visit("block.since", visitor);
        });
        self.used.visit("block.used", visitor);
    }
}

impl<M: Machine> Default for Block<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Current<M> {
    /// Makes one that begins where its CPU does.
    #[must_use]
    pub const fn new() -> Self {
        Current { block: Shared::ZERO }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.block.visit("block.current", visitor);
    }
}

impl<M: Machine> Default for Current<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// So many units of a block, that begin with one.
#[derive(Clone, Copy)]
struct Run {
    block: usize,
    first: u32,
    n: u64,
}

impl Run {
    const fn bits(self) -> u64 {
        lowest(self.n) << self.first
    }
}

/// So many bits, the lowest ones.
const fn lowest(n: u64) -> u64 {
    if n >= MAX_UNITS { u64::MAX } else { (1 << n) - 1 }
}

/// The lowest bit of `free` that so many of them in a row begin with.
fn first_run(free: u64, n: u64) -> Option<u32> {
    if !(1..=MAX_UNITS).contains(&n) {
        return None;
    }
    let begins = (1..n).fold(free, |begins, _| begins & (begins >> 1));
    (begins != 0).then_some(begins.trailing_zeros())
}

impl<'k, M: Machine> Blocks<'k, M> {
    /// Divides `addresses` into blocks of equal size, each of up to 64 equal units. Neither `blocks` nor `current` have been
    /// given to another one.
    ///
    /// # Errors
    /// [`BlocksError`] and the addresses.
    pub fn new(
        kernel: Sealed<'k, M>,
        addresses: FreeRange,
        blocks: &'k [Block<M>],
        current: &'k [Current<M>],
    ) -> Result<Self, (BlocksError, FreeRange)> {
        if blocks.is_empty() || current.is_empty() {
            return Err((BlocksError::None, addresses));
        }
        let pages = addresses.pages();
        let (n_pages, n_blocks) = (pages.n_pages(), blocks.len() as u64);
        let pages_of_block = n_pages / n_blocks;
        let units_of_block = pages_of_block.min(MAX_UNITS);
        let is_even =
            n_pages.is_multiple_of(n_blocks) && units_of_block > 0 && pages_of_block.is_multiple_of(units_of_block);
        if !is_even {
            return Err((BlocksError::Uneven { n_pages, n_blocks }, addresses));
        }
        Ok(Blocks { kernel, blocks, current, pages, units_of_block, pages_of_unit: pages_of_block / units_of_block })
    }

    /// Returns all pages of the blocks.
    #[must_use]
    pub const fn pages(&self) -> VpnRange {
        self.pages
    }

    /// Maps frames one after the other at so many pages, or fewer of them; returns the pages. All else as [`Sealed::map`].
    ///
    /// # Context
    /// As [`Sealed::map`]; takes the lock of a block. Not in interrupt handlers.
    ///
    /// # Ordering
    /// As [`Sealed::map`]. What CPUs remember of these addresses is forgotten: pairs `unlock/lock`, `lazy/flush`.
    ///
    /// # Errors
    /// [`BlockMapError`]. Frames after the one that could not be mapped are not taken.
    ///
    /// # Panics
    /// If the frames are more than the pages.
    #[doc(alias = "vm_map_ram")]
    pub fn map(
        &self,
        m: &'k M,
        n_pages: u64,
        frames: impl IntoIterator<Item = Frame>,
        attributes: Attributes,
    ) -> Result<VpnRange, BlockMapError> {
        let run = self.take(m, n_pages.div_ceil(self.pages_of_unit)).ok_or(BlockMapError::NoRoom { n_pages })?;
        let pages = VpnRange::from_len(self.pages_of(run).start, n_pages);
        match self.kernel.map_pages(m, pages, frames, attributes) {
            Ok(()) => Ok(pages),
            Err(MapError { kind, frame }) => Err(BlockMapError::NotMapped { kind, frame, start: pages.start }),
        }
    }

    /// Unmaps what begins at `page`, and gives the frames to `sink` at once. Returns the pages that wait for a flush now. All
    /// else as [`Sealed::unmap`].
    ///
    /// # Context
    /// As [`Sealed::unmap`]; takes the lock of a block. Not in interrupt handlers.
    ///
    /// # Errors
    /// [`NotInBlocks`]: it was unmapped before, or is not a page that [`map`](Self::map) has returned.
    #[doc(alias = "vm_unmap_ram")]
    pub fn unmap(&self, m: &'k M, page: Vpn, sink: &impl FrameSink<M>) -> Result<VpnRange, NotInBlocks> {
        let (index, unit) = self.unit_at(page).ok_or(NotInBlocks(page))?;
        let block = &self.blocks[index];
        let units = block.units.lock(m);
        let run = units.mapping_at(m, index, unit).ok_or(NotInBlocks(page))?;
        let pages = self.pages_of(run);
        units.since.set(m, self.kernel.unmap_pages(m, pages, sink));
        units.first.set(m, units.first.get(m) & !(1 << unit));
        units.mapped.set(m, units.mapped.get(m) & !run.bits());
        units.dirty.set(m, units.dirty.get(m) | run.bits());
        units.show(m, &block.used);
        Ok(pages)
    }

    /// Returns the pages that a flush must cover for nothing to be dirty that is now.
    ///
    /// # Context
    /// Takes the locks of blocks, one at a time. Not in interrupt handlers.
    #[must_use]
    pub fn stale(&self, m: &M) -> Option<VpnRange> {
        let stale = (0..self.blocks.len()).filter_map(|index| {
            let block = &self.blocks[index];
            let used = block.used.load(m, Relaxed);
            let is_full = used == lowest(self.units_of_block);
            if used == 0 || (is_full && !m.keeps(Fix::LookInFullBlocks)) {
                return None;
            }
            let units = block.units.lock(m);
            let pages = self.dirty_pages(index, units.dirty.get(m));
            if !m.keeps(Fix::CleanAfterFlush) {
                units.clean(m, &block.used);
            }
            pages
        });
        stale.reduce(VpnRange::hull)
    }

    /// Notes that a flush is complete: what it was for, and was unmapped before it began, is free again. Returns how many pages
    /// that are.
    ///
    /// # Context
    /// As [`stale`](Self::stale).
    pub fn flushed(&self, m: &M, flushed: &Flushed) -> u64 {
        let mut n_units = 0;
        for (index, block) in self.blocks.iter().enumerate() {
            if block.used.load(m, Relaxed) == 0 {
                continue;
            }
            let units = block.units.lock(m);
            let (since, dirty) = (units.since.get(m), units.dirty.get(m));
            if self.dirty_pages(index, dirty).is_some_and(|pages| flushed.has_reached(pages, since)) {
                units.clean(m, &block.used);
                n_units += u64::from(dirty.count_ones());
            }
        }
        n_units * self.pages_of_unit
    }

    /// Makes sure that no CPU remembers anything that was unmapped in blocks before this is called. Somebody else who is about
    /// to do the same is no reason not to.
    ///
    /// # Context
    /// As [`flush_kernel`](crate::flush_kernel); takes the locks of blocks, one at a time.
    ///
    /// # Ordering
    /// As [`Sealed::flush`].
    #[doc(alias = "vm_unmap_aliases")]
    pub fn drain(&self, m: &M) {
        if let Some(pages) = self.stale(m) {
            self.flushed(m, &self.kernel.flush(m, pages));
        }
    }

    /// Takes so many free units in a row, of the CPU's current block, or of the next one that has them.
    fn take(&self, m: &M, n: u64) -> Option<Run> {
        let (n_blocks, cpu) = (self.blocks.len(), usize::from(m.cpu().0) % self.current.len());
        let (current, first) = (&self.current[cpu].block, cpu * n_blocks / self.current.len());
        let was = current.load(m, Relaxed) as usize;
        // All of them, the current one first.
        (was..was + n_blocks).find_map(|offset| {
            let index = (first + offset) % n_blocks;
            let block = &self.blocks[index];
            let seems_full = first_run(self.free(block.used.load(m, Relaxed)), n).is_none();
            if seems_full && m.keeps(Fix::FlushBeforeReuse) {
                return None;
            }
            let units = block.units.lock(m);
            let run = Run { block: index, first: first_run(self.free(units.used(m)), n)?, n };
            units.mapped.set(m, units.mapped.get(m) | run.bits());
            units.first.set(m, units.first.get(m) | 1 << run.first);
            units.show(m, &block.used);
            if offset != was {
                current.store(m, (offset % n_blocks) as u64, Relaxed);
            }
            Some(run)
        })
    }

    const fn free(&self, used: u64) -> u64 {
        !used & lowest(self.units_of_block)
    }

    fn pages_of(&self, run: Run) -> VpnRange {
        let first_unit = run.block as u64 * self.units_of_block + u64::from(run.first);
        let start = Vpn(self.pages.start.0 + first_unit * self.pages_of_unit);
        VpnRange::from_len(start, run.n * self.pages_of_unit)
    }

    /// The block and the unit that begin at `page`.
    fn unit_at(&self, page: Vpn) -> Option<(usize, u32)> {
        if !self.pages.contains(page) {
            return None;
        }
        let offset = page.0 - self.pages.start.0;
        let unit = offset / self.pages_of_unit;
        let is_first = offset.is_multiple_of(self.pages_of_unit);
        is_first.then_some(((unit / self.units_of_block) as usize, (unit % self.units_of_block) as u32))
    }

    /// The hull of these units.
    fn dirty_pages(&self, block: usize, dirty: u64) -> Option<VpnRange> {
        let end = u64::from(u64::BITS - dirty.leading_zeros());
        let first = dirty.trailing_zeros();
        (dirty != 0).then(|| self.pages_of(Run { block, first, n: end - u64::from(first) }))
    }
}

impl<M: Machine> Units<M> {
    /// Units that nobody may take.
    fn used(&self, m: &M) -> u64 {
        let dirty = if m.keeps(Fix::FlushBeforeReuse) { self.dirty.get(m) } else { 0 };
        self.mapped.get(m) | dirty
    }

    fn show(&self, m: &M, used: &Shared<M>) {
        used.store(m, self.mapped.get(m) | self.dirty.get(m), Relaxed);
    }

    fn clean(&self, m: &M, used: &Shared<M>) {
        self.dirty.set(m, 0);
        self.show(m, used);
    }

    /// The mapping that begins with this unit.
    fn mapping_at(&self, m: &M, block: usize, unit: u32) -> Option<Run> {
        let (first, mapped) = (self.first.get(m), self.mapped.get(m));
        if first & 1 << unit == 0 {
            return None;
        }
        // It ends where the next one begins, or nothing is mapped.
        let ends = (first | !mapped) & !lowest(u64::from(unit) + 1);
        Some(Run { block, first: unit, n: u64::from(ends.trailing_zeros() - unit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_run_is_found() {
        assert_eq!(first_run(0b0111_0110, 1), Some(1));
        assert_eq!(first_run(0b0111_0110, 3), Some(4));
        assert_eq!(first_run(0b0111_0110, 4), None);
        assert_eq!(first_run(u64::MAX, 64), Some(0));
        assert_eq!((first_run(u64::MAX, 65), first_run(u64::MAX, u64::MAX), first_run(1, 0)), (None, None, None));
        assert_eq!((lowest(0), lowest(3), lowest(64)), (0, 7, u64::MAX));
    }
}
