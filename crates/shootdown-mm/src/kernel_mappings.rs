//! Mappings of the kernel's own, at addresses that it does not care about (`vmalloc`).
//!
//! Small ones come from [blocks](shootdown::kspace::Blocks), if there are some; behind each other one is a guard page, at which
//! nothing ever is. What is unmapped waits until there is a lot of it, and is then flushed for at once; or until addresses run
//! out.
//!
//! Of the two locks the one of the flush is taken first. While somebody flushes, others map and unmap; but whoever wants to be
//! sure that something was flushed waits for him, since he may have what it is about.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{cell::RefCell, sync::atomic::Ordering::Relaxed};

use shootdown::{
    Attributes, EntryFormat, Frame, MapErrorKind, Modify, Mutex, MutexGuard, Shared, Vpn, VpnRange,
    kspace::{BlockMapError, Blocks, FreeRange, KernelMapError, LazyRange, MappedRange, Sealed},
    page::DropReference,
};

use crate::address_space::Program;

/// Why something could not be mapped or unmapped. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelMappingError {
    /// There is nothing to map.
    Empty,
    /// An alignment of so many pages is no power of two.
    Misaligned(u64),
    /// There are no so many addresses in a row, aligned as asked for, even after what was lazy is free.
    NoAddresses {
        /// Pages, without the guard page.
        n_pages: u64,
        /// Their alignment.
        alignment: u64,
    },
    /// There was no memory for a page table.
    NoMemory,
    /// A frame does not fit where it would come to lie: larger ones come first, and are not larger than tables can map.
    DoesNotFit(MapErrorKind),
    /// No mapping begins at this page.
    NotMapped(Vpn),
}

impl core::fmt::Display for KernelMappingError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            KernelMappingError::Empty => f.write_str("there is nothing to map"),
            KernelMappingError::Misaligned(n_pages) => write!(f, "an alignment of {n_pages} pages is no power of two"),
            KernelMappingError::NoAddresses { n_pages, alignment } => {
                write!(f, "no {n_pages} kernel pages in a row, aligned to {alignment}, are free")
            }
            KernelMappingError::DoesNotFit(kind) => write!(f, "a frame does not fit into a kernel mapping: {kind}"),
            KernelMappingError::NoMemory => f.write_str("no memory for a page table of the kernel"),
            KernelMappingError::NotMapped(page) => write!(f, "no kernel mapping begins at page {:#x}", page.0),
        }
    }
}

impl core::error::Error for KernelMappingError {}

/// Pages that a mapping from a block has at most.
const MOST_SMALL: u64 = 16;

/// Where kernel mappings are, and where there may be some.
struct Ranges {
    // By the first page; no two of them follow each other directly.
    free: BTreeMap<Vpn, FreeRange>,
    // By the first page, with their guard pages.
    mapped: BTreeMap<Vpn, MappedRange>,
    lazy: Vec<LazyRange>,
}

/// The kernel's own mappings, and the addresses for them.
pub struct KernelMappings<'k, M: Program> {
    kernel: Sealed<'k, M>,
    blocks: Option<Blocks<'k, M>>,
    ranges: Mutex<M, Ranges>,
    // Held by who flushes for lazy pages.
    purging: Mutex<M, ()>,
    // Less than 0 for a moment, where somebody flushes for pages that are still to be counted.
    n_lazy: Shared<M>,
    most_lazy: u64,
}

impl<'k, M: Program> KernelMappings<'k, M> {
    /// Begins with these addresses, on a machine where so many CPUs take part.
    #[must_use]
    pub fn new(kernel: Sealed<'k, M>, addresses: FreeRange, n_cpus: usize) -> Self {
        let free = BTreeMap::from([(addresses.pages().start, addresses)]);
        let ranges = Mutex::new(Ranges { free, mapped: BTreeMap::new(), lazy: Vec::new() });
        let (purging, most_lazy) = (Mutex::new(()), most_lazy_pages::<M>(n_cpus));
        KernelMappings { kernel, blocks: None, ranges, purging, n_lazy: Shared::ZERO, most_lazy }
    }

    /// Takes small mappings, of up to 16 base pages, from `blocks`, which are of the same kernel space. They have no guard pages.
    #[must_use]
    pub fn with_blocks(self, blocks: Blocks<'k, M>) -> Self {
        KernelMappings { blocks: Some(blocks), ..self }
    }

    /// Returns how many pages may wait for a flush: 32 MiB for each bit that the number of CPUs takes, since a flush interrupts
    /// all of them (`lazy_max_pages` of Linux).
    #[must_use]
    pub const fn most_lazy(&self) -> u64 {
        self.most_lazy
    }

    /// Maps frames one after the other, from a page on that is aligned to `alignment` pages and to the first frame; returns
    /// their addresses. Large frames come before smaller ones. If there are no addresses, it makes free what is lazy and tries
    /// once more.
    ///
    /// # Context
    /// Takes the locks of the ranges and of a block, and the kernel's page-table lock; may flush, as
    /// [`flush_kernel`](shootdown::flush_kernel) does. Not in interrupt handlers.
    ///
    /// # Errors
    /// [`KernelMappingError`] and the frames.
    #[doc(alias = "vmap")]
    pub fn map(
        &self,
        m: &'k M,
        frames: Vec<Frame>,
        alignment: u64,
        attributes: Attributes,
    ) -> Result<VpnRange, (KernelMappingError, Vec<Frame>)> {
        let Some(first) = frames.first().map(|frame| frame.level().pages::<M::Format>()) else {
            return Err((KernelMappingError::Empty, frames));
        };
        if !alignment.is_power_of_two() {
            return Err((KernelMappingError::Misaligned(alignment), frames));
        }
        let is_small = alignment == 1 && first == 1 && frames.len() as u64 <= MOST_SMALL;
        match &self.blocks {
            Some(blocks) if is_small => self.map_small(m, blocks, frames, attributes),
            _ => self.map_range(m, frames, alignment.max(first), attributes),
        }
    }

    fn map_small(
        &self,
        m: &'k M,
        blocks: &Blocks<'k, M>,
        frames: Vec<Frame>,
        attributes: Attributes,
    ) -> Result<VpnRange, (KernelMappingError, Vec<Frame>)> {
        let n_pages = frames.len() as u64;
        let mut left = frames.into_iter();
        match blocks.map(m, n_pages, &mut left, attributes) {
            Ok(pages) => Ok(pages),
            Err(BlockMapError::NotMapped { kind, frame, start }) => {
                let returned = Returned::default();
                if let Ok(pages) = blocks.unmap(m, start, &returned.sink()) {
                    self.note_lazy(m, pages.n_pages());
                }
                Err((KernelMappingError::of(kind), returned.and(frame, left)))
            }
            // No block has room.
            Err(_) => self.map_range(m, left.collect(), 1, attributes),
        }
    }

    fn map_range(
        &self,
        m: &'k M,
        frames: Vec<Frame>,
        alignment: u64,
        attributes: Attributes,
    ) -> Result<VpnRange, (KernelMappingError, Vec<Frame>)> {
        let n_pages = frames.iter().map(|frame| frame.level().pages::<M::Format>()).sum();
        // The result of one try, without the lock, which the next one takes again.
        let find = || self.ranges.lock(m).take(n_pages + 1, alignment);
        let found = find().or_else(|| {
            self.drain(m);
            find()
        });
        let Some(range) = found else {
            return Err((KernelMappingError::NoAddresses { n_pages, alignment }, frames));
        };
        let start = range.pages().start;
        let mut left = frames.into_iter();
        match self.kernel.map(m, range, &mut left, attributes) {
            Ok(mapped) => {
                self.ranges.lock(m).mapped.insert(start, mapped);
                Ok(VpnRange::from_len(start, n_pages))
            }
            Err(KernelMapError { kind, frame, pages }) => {
                let returned = Returned::default();
                let lazy = self.kernel.unmap(m, pages, &returned.sink());
                self.wait(m, lazy);
                Err((KernelMappingError::of(kind), returned.and(frame, left)))
            }
        }
    }

    /// Unmaps what begins at `page`, and drops a reference to each frame. The addresses are free when a flush has been made
    /// for them, of which there is one now if too many wait.
    ///
    /// # Context
    /// As [`map`](Self::map).
    ///
    /// # Errors
    /// [`KernelMappingError::NotMapped`], if nothing begins there: it was unmapped before, or never mapped here.
    #[doc(alias = "vunmap")]
    pub fn unmap(&self, m: &'k M, page: Vpn) -> Result<(), KernelMappingError> {
        match &self.blocks {
            Some(blocks) if blocks.pages().contains(page) => {
                let pages = blocks.unmap(m, page, &DropReference).map_err(|_| KernelMappingError::NotMapped(page))?;
                self.note_lazy(m, pages.n_pages());
            }
            _ => {
                let mapped = self.ranges.lock(m).mapped.remove(&page).ok_or(KernelMappingError::NotMapped(page))?;
                let lazy = self.kernel.unmap(m, mapped, &DropReference);
                self.wait(m, lazy);
            }
        }
        if self.n_lazy.load(m, Relaxed) as i64 > self.most_lazy as i64 {
            self.drain(m);
        }
        Ok(())
    }

    /// Makes sure that no CPU remembers anything that was unmapped before this is called, and its addresses free: for who is
    /// about to give a frame other attributes elsewhere.
    ///
    /// # Context
    /// As [`map`](Self::map). Waits for who is at it already, since he may have what is asked for.
    #[doc(alias = "vm_unmap_aliases")]
    pub fn drain(&self, m: &'k M) {
        let purging = self.purging.lock(m);
        let lazy = core::mem::take(&mut self.ranges.lock(m).lazy);
        self.purge(m, lazy, &purging);
    }

    /// The same for who is out of memory, and may be so in the middle of mapping something: does nothing, and says so, where it
    /// would have to wait.
    ///
    /// # Context
    /// As [`map`](Self::map), and below it.
    #[must_use]
    pub fn try_drain(&self, m: &'k M) -> bool {
        let Some(purging) = self.purging.try_lock(m) else { return false };
        let Some(lazy) = self.ranges.try_lock(m).map(|mut ranges| core::mem::take(&mut ranges.lazy)) else {
            return false;
        };
        self.purge(m, lazy, &purging);
        true
    }

    /// One flush for all that is lazy.
    fn purge(&self, m: &'k M, lazy: Vec<LazyRange>, _purging: &MutexGuard<'_, M, ()>) {
        let in_blocks = self.blocks.as_ref().and_then(|blocks| blocks.stale(m));
        let Some(hull) = lazy.iter().map(LazyRange::pages).chain(in_blocks).reduce(VpnRange::hull) else {
            return;
        };
        let flushed = self.kernel.flush(m, hull);
        let mut n_free = self.blocks.as_ref().map_or(0, |blocks| blocks.flushed(m, &flushed));
        let mut ranges = self.ranges.lock(m);
        for lazy in lazy {
            match lazy.free(m, &flushed) {
                Ok(free) => {
                    n_free += free.pages().n_pages();
                    ranges.give_back(free);
                }
                Err(lazy) => ranges.lazy.push(lazy),
            }
        }
        self.n_lazy.update(m, Modify::Add(n_free.wrapping_neg()), Relaxed);
    }

    fn wait(&self, m: &M, lazy: LazyRange) {
        self.note_lazy(m, lazy.pages().n_pages());
        self.ranges.lock(m).lazy.push(lazy);
    }

    fn note_lazy(&self, m: &M, n_pages: u64) {
        self.n_lazy.update(m, Modify::Add(n_pages), Relaxed);
    }
}

impl KernelMappingError {
    fn of(kind: MapErrorKind) -> Self {
        match kind {
            MapErrorKind::NoTable(_) => KernelMappingError::NoMemory,
            kind => KernelMappingError::DoesNotFit(kind),
        }
    }
}

/// Frames that were mapped and are to go back to who wanted them mapped.
#[derive(Default)]
struct Returned(RefCell<Vec<Frame>>);

impl Returned {
    fn sink<M: Program>(&self) -> impl Fn(&M, Frame) {
        |_, frame| self.0.borrow_mut().push(frame)
    }

    /// Those, the one that could not be mapped, and those after it.
    fn and(self, frame: Frame, left: impl Iterator<Item = Frame>) -> Vec<Frame> {
        let mut frames = self.0.into_inner();
        frames.push(frame);
        frames.extend(left);
        frames
    }
}

impl Ranges {
    /// Takes so many free pages in a row, the first of which is aligned: the lowest.
    fn take(&mut self, n_pages: u64, alignment: u64) -> Option<FreeRange> {
        let start_in = |range: &FreeRange| {
            let VpnRange { start, end } = range.pages();
            let aligned = start.0.checked_next_multiple_of(alignment)?;
            (aligned.checked_add(n_pages)? <= end.0).then_some(Vpn(aligned))
        };
        let (key, start) = self.free.iter().find_map(|(key, range)| Some((*key, start_in(range)?)))?;
        let mut range = self.free.remove(&key)?;
        // Not where it begins with the range, or takes all of it.
        range = match range.split(start.0 - key.0) {
            Ok((before, rest)) => {
                self.free.insert(key, before);
                rest
            }
            Err(whole) => whole,
        };
        match range.split(n_pages) {
            Ok((taken, rest)) => {
                self.free.insert(rest.pages().start, rest);
                Some(taken)
            }
            Err(whole) => Some(whole),
        }
    }

    /// Takes free addresses back, and joins them with those before and after.
    fn give_back(&mut self, mut range: FreeRange) {
        let before = self.free.range(..range.pages().start).next_back().map(|(key, before)| (*key, before.pages().end));
        if let Some((key, end)) = before
            && end == range.pages().start
            && let Some(before) = self.free.remove(&key)
        {
            range = join(before, range);
        }
        if let Some(after) = self.free.remove(&range.pages().end) {
            range = join(range, after);
        }
        self.free.insert(range.pages().start, range);
    }
}

fn join(first: FreeRange, second: FreeRange) -> FreeRange {
    match first.join(second) {
        Ok(range) => range,
        Err((first, second)) => unreachable!("{:?} and {:?} follow each other", first.pages(), second.pages()),
    }
}

fn most_lazy_pages<M: Program>(n_cpus: usize) -> u64 {
    let n_bits = u64::from(usize::BITS - n_cpus.leading_zeros());
    n_bits * ((32 << 20) >> M::Format::PAGE_SHIFT)
}
