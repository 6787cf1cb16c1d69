//! Where an operation takes place: the machine, what its processes share, and one address space with its recorded
//! addresses.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    ops::Range,
};

use rustc_hash::FxHashSet;
use shootdown::{EntryFormat, Frame, Vpn, VpnRange, arch::x86_64::X86_64};
use shootdown_mm::{Access, AddressSpace, Backing, Memory, ObjectId, ObjectPage, Storage, StorageError, Vma};
use shootdown_sim::sequential::{Architecture, Dma, Sequential};

use crate::process::regions::{NoRoom, Regions};

/// Bytes of a recorded page.
pub(crate) const PAGE: u64 = 1 << X86_64::PAGE_SHIFT;
/// Where recorded user addresses end.
pub(crate) const USER_END: u64 = 1 << 47;

/// The files of the recorded machine, of which a recording shows no contents.
#[derive(Debug)]
pub(crate) struct Files;

impl<M> Storage<M> for Files {
    fn read(&mut self, _: &M, _: ObjectPage, _: &Frame) -> Result<(), StorageError> {
        Ok(())
    }

    fn write(&mut self, _: &M, _: ObjectPage, _: &Frame) -> Result<(), StorageError> {
        Ok(())
    }

    fn discard(&mut self, _: &M, _: ObjectId, _: Range<u64>) -> Result<(), StorageError> {
        Ok(())
    }
}

/// An address space, and all that operations on it need.
pub(crate) struct Place<'a, A: Architecture> {
    pub(crate) machine: &'a Sequential<A>,
    pub(crate) memory: &'a Memory<Sequential<A>, Files>,
    pub(crate) segments: &'a Segments,
    pub(crate) space: &'a AddressSpace<Sequential<A>>,
    pub(crate) addresses: &'a Addresses<A>,
}

impl<A: Architecture> Clone for Place<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Architecture> Copy for Place<'_, A> {}

/// The recorded addresses of one address space as pages of the machine.
#[derive(Debug)]
pub(crate) struct Addresses<A> {
    regions: RefCell<Regions>,
    // The recorded page that the heap begins with, once it is known.
    heap: Cell<Option<u64>>,
    architecture: PhantomData<A>,
}

// Derived, these two would ask the same of the architecture.
impl<A: Architecture> Default for Addresses<A> {
    fn default() -> Self {
        Addresses { regions: RefCell::new(Regions::new::<A>()), heap: Cell::new(None), architecture: PhantomData }
    }
}

impl<A> Clone for Addresses<A> {
    fn clone(&self) -> Self {
        Addresses { regions: self.regions.clone(), heap: self.heap.clone(), architecture: PhantomData }
    }
}

impl<A: Architecture> Addresses<A> {
    /// Whether the machine has every page that a recording can name, so that each has its own number.
    const ARE_KEPT: bool = A::REACH.n_pages() >= USER_END / PAGE;

    /// Returns the page that holds this address.
    pub(crate) fn page(&self, address: u64) -> Result<Vpn, NoRoom> {
        let page = address / PAGE;
        Ok(self.place(page, page + 1)?.start)
    }

    /// Returns the pages that hold `length` bytes from `address` on.
    pub(crate) fn pages(&self, address: u64, length: u64) -> Result<VpnRange, NoRoom> {
        self.place(address / PAGE, address.saturating_add(length).div_ceil(PAGE))
    }

    /// Returns the page that a heap ends with, or begins with at the first call, whose last byte is before `address`.
    pub(crate) fn heap_end(&self, address: u64) -> Result<Vpn, NoRoom> {
        let end = address.div_ceil(PAGE);
        let start = self.heap.get().unwrap_or(end);
        self.heap.set(Some(start));
        let heap = self.place(start.min(end), start.max(end))?;
        Ok(if end < start { heap.start } else { heap.end })
    }

    #[inline]
    fn place(&self, start: u64, end: u64) -> Result<VpnRange, NoRoom> {
        if Self::ARE_KEPT {
            return Ok(VpnRange::new(Vpn(start), Vpn(end)));
        }
        let placed = self.regions.borrow_mut().place(start..end).ok_or(NoRoom { address: start * PAGE })?;
        Ok(VpnRange::from_len(Vpn(placed), end.saturating_sub(start)))
    }
}

/// Shared-memory segments, whose size a recording does not show: mapped as far as they have been used.
#[derive(Debug, Default)]
pub(crate) struct Segments(RefCell<FxHashSet<ObjectId>>);

impl Segments {
    pub(crate) fn add(&self, segment: ObjectId) {
        self.0.borrow_mut().insert(segment);
    }
}

impl<A: Architecture> Place<'_, A> {
    /// Lets the device, if there is one, do at `page` what the process has done.
    pub(crate) fn touch(&self, page: Vpn, access: Access) {
        let dma = if access == Access::Write { Dma::Write } else { Dma::Read };
        self.machine.touch(self.space.id(), page, dma);
    }

    /// Maps the page after a segment as part of it; tells whether there was one to grow.
    pub(crate) fn grow_segment(&self, page: Vpn) -> bool {
        let Some((_, vma)) = self.space.vma_at(self.machine, Vpn(page.0.wrapping_sub(1))) else {
            return false;
        };
        let grows = self.is_segment(vma);
        if grows {
            self.space.map(self.machine, self.memory, VpnRange::from_len(page, 1), vma);
        }
        grows
    }

    /// Unmaps the segment at `page`.
    pub(crate) fn detach(&self, page: Vpn) {
        if let Some((range, vma)) = self.space.vma_at(self.machine, page)
            && self.is_segment(vma)
        {
            self.space.unmap(self.machine, self.memory, range);
        }
    }

    fn is_segment(&self, vma: Vma) -> bool {
        matches!(vma.backing, Backing::Object { object, .. } if self.segments.0.borrow().contains(&object))
    }
}
