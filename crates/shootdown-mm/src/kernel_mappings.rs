//! Mappings of the kernel's own, at addresses that it does not care about (`vmalloc`).
//!
//! Behind each mapping is a guard page, at which nothing ever is. What is unmapped waits until there is a lot of it, and is then
//! flushed for at once; or until addresses run out.

use alloc::{collections::BTreeMap, vec::Vec};
use core::cell::RefCell;

use shootdown::{
    Attributes, EntryFormat, Frame, Mutex, Vpn, VpnRange,
    kspace::{FreeRange, LazyRange, MappedRange, Sealed},
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
            KernelMappingError::NoMemory => f.write_str("no memory for a page table of the kernel"),
            KernelMappingError::NotMapped(page) => write!(f, "no kernel mapping begins at page {:#x}", page.0),
        }
    }
}

impl core::error::Error for KernelMappingError {}

/// Where kernel mappings are, and where there may be some.
struct Ranges {
    // By the first page; no two of them follow each other directly.
    free: BTreeMap<Vpn, FreeRange>,
    // By the first page, with their guard pages.
    mapped: BTreeMap<Vpn, MappedRange>,
    lazy: Vec<LazyRange>,
    n_lazy: u64,
}

/// The kernel's own mappings, and the addresses for them.
pub struct KernelMappings<'k, M: Program> {
    kernel: Sealed<'k, M>,
    ranges: Mutex<M, Ranges>,
    most_lazy: u64,
}

impl<'k, M: Program> KernelMappings<'k, M> {
    /// Begins with these addresses, on a machine where so many CPUs take part.
    #[must_use]
    pub fn new(kernel: Sealed<'k, M>, addresses: FreeRange, n_cpus: usize) -> Self {
        let free = BTreeMap::from([(addresses.pages().start, addresses)]);
        let ranges = Ranges { free, mapped: BTreeMap::new(), lazy: Vec::new(), n_lazy: 0 };
        KernelMappings { kernel, ranges: Mutex::new(ranges), most_lazy: most_lazy_pages::<M>(n_cpus) }
    }

    /// Returns how many pages may wait for a flush: 32 MiB for each bit that the number of CPUs takes, since a flush interrupts
    /// all of them (`lazy_max_pages` of Linux).
    #[must_use]
    pub const fn most_lazy(&self) -> u64 {
        self.most_lazy
    }

    /// Maps base frames one after the other, from a page on that is aligned to `alignment` pages; returns their addresses. If
    /// there are no addresses, it makes free what is lazy and tries once more.
    ///
    /// # Context
    /// Takes the lock of the ranges, and the kernel's page-table lock; may flush, as [`flush_kernel`](shootdown::flush_kernel)
    /// does. Not in interrupt handlers.
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
        let n_pages = frames.len() as u64;
        if n_pages == 0 {
            return Err((KernelMappingError::Empty, frames));
        }
        if !alignment.is_power_of_two() {
            return Err((KernelMappingError::Misaligned(alignment), frames));
        }
        let mut ranges = self.ranges.lock(m);
        let mut found = ranges.take(n_pages + 1, alignment);
        if found.is_none() && !ranges.lazy.is_empty() {
            self.purge_locked(m, &mut ranges);
            found = ranges.take(n_pages + 1, alignment);
        }
        let Some(range) = found else {
            return Err((KernelMappingError::NoAddresses { n_pages, alignment }, frames));
        };
        let start = range.pages().start;
        let mut left = frames.into_iter();
        match self.kernel.map(m, range, &mut left, attributes) {
            Ok(mapped) => {
                ranges.mapped.insert(start, mapped);
                Ok(VpnRange::from_len(start, n_pages))
            }
            Err(error) => {
                // Those that were mapped, the one that could not be, and those after it.
                let returned = RefCell::new(Vec::new());
                let keep = |_: &M, frame: Frame| returned.borrow_mut().push(frame);
                ranges.wait(self.kernel.unmap(m, error.pages, &keep));
                let mut frames = returned.into_inner();
                frames.push(error.frame);
                frames.extend(left);
                Err((KernelMappingError::NoMemory, frames))
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
        let mut ranges = self.ranges.lock(m);
        let mapped = ranges.mapped.remove(&page).ok_or(KernelMappingError::NotMapped(page))?;
        let lazy = self.kernel.unmap(m, mapped, &DropReference);
        ranges.wait(lazy);
        if ranges.n_lazy > self.most_lazy {
            self.purge_locked(m, &mut ranges);
        }
        Ok(())
    }

    /// Makes sure that no CPU remembers anything that was unmapped before this is called, and its addresses free: for who is
    /// about to give a frame other attributes elsewhere, and for who is out of memory.
    ///
    /// # Context
    /// As [`map`](Self::map).
    #[doc(alias = "vm_unmap_aliases")]
    pub fn drain(&self, m: &'k M) {
        let mut ranges = self.ranges.lock(m);
        self.purge_locked(m, &mut ranges);
    }

    /// One flush for all that is lazy. Under the lock, so whoever finds nothing lazy knows that nothing is on its way, either.
    fn purge_locked(&self, m: &'k M, ranges: &mut Ranges) {
        let Some(hull) = ranges.lazy.iter().map(LazyRange::pages).reduce(VpnRange::hull) else {
            return;
        };
        let flushed = self.kernel.flush(m, hull);
        ranges.n_lazy = 0;
        for lazy in core::mem::take(&mut ranges.lazy) {
            match lazy.free(m, &flushed) {
                Ok(free) => ranges.give_back(free),
                Err(lazy) => ranges.wait(lazy),
            }
        }
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

    fn wait(&mut self, lazy: LazyRange) {
        self.n_lazy += lazy.pages().n_pages();
        self.lazy.push(lazy);
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
