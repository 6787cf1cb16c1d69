//! Write-back: what was stored to pages of objects goes to storage, and the next store is noticed again.

use core::ops::Range;

use shootdown::{Attributes, Frame, Gather, VpnRange, page};

use crate::{
    address_space::{AddressSpace, Program, space_of},
    areas::Place,
    memory::{Memory, pages_of},
    storage::{ObjectId, ObjectPage, Storage, StorageError},
    vma::{Backing, Sharing},
};

impl<M: Program, S: Storage<M>> Memory<M, S> {
    /// Writes the dirty ones of these pages of `object` to storage, and returns how many they were. Every store that was
    /// made before the call, through whichever mapping, is in storage then (`fsync`). Objects without storage have none.
    ///
    /// One flush for each dirty page and mapping of it that was stored through.
    ///
    /// # Context
    /// Task; takes the locks of the storage, of the reverse map, and page-table locks, and calls [`Storage::write`].
    ///
    /// # Errors
    /// The first [`StorageError`]. Pages that could not be written are still dirty; the others are written.
    #[doc(alias = "filemap_write_and_wait_range")]
    pub fn write_back(&self, m: &M, object: ObjectId, pages: Range<u64>) -> Result<u64, StorageError> {
        let (mut n_written, mut result) = (0, Ok(()));
        let mut left = pages;
        while object.is_stored() && !left.is_empty() {
            // Who is about to write one of them has taken its mark already: so the lock first, and then the look.
            let mut storage = self.storage.lock(m);
            let Some((page, frame)) = self.next_dirty(m, object, &left) else {
                break;
            };
            left.start = page.index + 1;
            let written = self.write_page(m, &mut storage, page, &frame);
            page::drop_reference(m, frame);
            n_written += u64::from(written.is_ok());
            result = result.and(written);
        }
        result.map(|()| n_written)
    }

    /// Returns the first page of these that is dirty, with a reference to it.
    fn next_dirty(&self, m: &M, object: ObjectId, pages: &Range<u64>) -> Option<(ObjectPage, Frame)> {
        let objects = self.objects.lock(m);
        let mut pages = objects.pages.range(pages_of(object, pages));
        let (page, frame) = pages.find(|(_, frame)| page::is_dirty(m, frame))?;
        Some((*page, page::share(m, frame)))
    }

    fn write_page(&self, m: &M, storage: &mut S, page: ObjectPage, frame: &Frame) -> Result<(), StorageError> {
        // First of all: a store that comes when a translation was made clean marks the page again.
        page::take_dirty(m, frame);
        if page::is_mapped(m, frame) {
            self.make_clean(m, page, frame);
        }
        let written = storage.write(m, page, frame);
        if written.is_err() {
            page::mark_dirty(m, frame.pfn());
        }
        written
    }

    /// Makes every translation of a page clean and read-only. When it returns, no CPU can store to it without a fault.
    #[doc(alias = "folio_mkclean")]
    fn make_clean(&self, m: &M, page: ObjectPage, frame: &Frame) {
        let map = self.areas.lock(m);
        for Place { space, page, sharing } in map.places::<M::Format>(page) {
            // Through a private mapping nobody stores to an object's page.
            if sharing == Sharing::Shared {
                make_clean_at(m, space_of(m, space), page, frame);
            }
        }
    }
}

/// Flushes before the page-table lock is released: who unmaps the page next finds nothing to flush.
fn make_clean_at<M: Program>(m: &M, space: &shootdown::Space<M>, page: shootdown::Vpn, frame: &Frame) {
    let mut gather = Gather::new(m, space, &page::DropReference);
    let tables = space.lock(m);
    if let Some(leaf) = tables.find(page).filter(|leaf| leaf.frame() == frame.pfn()) {
        let clean = Attributes { writable: false, dirty: false, ..leaf.attributes() };
        gather.restrict(leaf, clean);
    }
    drop(tables);
    gather.finish();
}

impl<M: Program> AddressSpace<M> {
    /// Writes the dirty pages of objects that are shared in `range` to storage, and returns how many they were (`msync` with
    /// `MS_SYNC`). As [`Memory::write_back`] does, whoever stored to them.
    ///
    /// # Context
    /// As [`Memory::write_back`]; takes the layout.
    ///
    /// # Errors
    /// As [`Memory::write_back`].
    pub fn clean<S: Storage<M>>(&self, m: &M, memory: &Memory<M, S>, range: VpnRange) -> Result<u64, StorageError> {
        let layout = self.layout.lock(m);
        let (mut n_written, mut result) = (0, Ok(()));
        for (area, vma) in layout.areas.overlapping(range.start.0..range.end.0) {
            let Backing::Object { object, origin } = vma.backing else {
                continue;
            };
            if vma.sharing == Sharing::Shared {
                let n_pages = vma.level().pages::<M::Format>();
                let (start, end) = (area.start.max(range.start.0), area.end.min(range.end.0));
                let first = start.wrapping_sub(origin.0) / n_pages;
                let past_last = end.wrapping_sub(origin.0).div_ceil(n_pages);
                match memory.write_back(m, object, first..past_last) {
                    Ok(n) => n_written += n,
                    Err(error) => result = result.and(Err(error)),
                }
            }
        }
        result.map(|()| n_written)
    }
}
