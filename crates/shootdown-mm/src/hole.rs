//! Pages of objects that go while they are mapped: truncation, hole punching, and drivers that take their frames back.
//!
//! Who looks for the mappings of a page finds those whose flush is not complete (see [`areas`](crate::areas)), and whoever maps a
//! page looks it up in the object under the page-table lock he maps it under. So when the page is out of the object, and every
//! place was looked at, nobody has it and nobody will.

use alloc::vec::Vec;
use core::ops::Range;

use shootdown::{Frame, Reclaim, Vpn, page, reclaim::MAX_PAGES};

use crate::{
    address_space::Program,
    memory::{Memory, pages_of},
    reclaim::{TakenAway, unhook_everywhere},
    storage::{ObjectId, ObjectPage, Storage, StorageError},
};

/// Why pages could not be taken out of an object. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoleError {
    /// Storage could not forget them.
    Storage(StorageError),
    /// It is mapped here with pages larger than base pages, whose tables others may have.
    Large(Vpn),
}

impl core::fmt::Display for HoleError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            HoleError::Storage(error) => error.fmt(f),
            HoleError::Large(page) => write!(f, "the object is mapped with large pages, at {:#x}", page.0),
        }
    }
}

impl core::error::Error for HoleError {}

/// A page that is out of its object: who faults there finds another one, or none.
type Removed = (ObjectPage, Frame);

impl<M: Program, S: Storage<M>> Memory<M, S> {
    /// Takes these pages of `object` out of memory, and away from whoever maps them; storage forgets them. What was stored to them
    /// is lost; they read as zeroes from then on. Copies of private mappings stay. `first..u64::MAX` truncates.
    ///
    /// One flush for each 32 translations and each address space that they are of.
    ///
    /// # Context
    /// As [`write_back`](Self::write_back); calls [`Storage::discard`]. [Range listeners](shootdown::notify::RangeListener) of
    /// address spaces that map it must not have to sleep.
    ///
    /// # Errors
    /// [`HoleError`].
    #[doc(alias("truncate_inode_pages_range", "unmap_mapping_range"))]
    pub fn punch_hole(&self, m: &M, object: ObjectId, pages: Range<u64>) -> Result<(), HoleError> {
        self.refuse_large_pages(m, object)?;
        // Nobody reads one of them in, or writes one out, until all are gone.
        let mut storage = self.storage.lock(m);
        if object.is_stored() {
            storage.discard(m, object, pages.clone()).map_err(HoleError::Storage)?;
        }
        self.cut_out(m, object, &pages, |frame| page::drop_reference(m, frame));
        Ok(())
    }

    /// Refuses an object that is mapped with large pages.
    fn refuse_large_pages(&self, m: &M, object: ObjectId) -> Result<(), HoleError> {
        self.areas.lock(m).large_area(object).map_or(Ok(()), |page| Err(HoleError::Large(page)))
    }
}

impl<M: Program, S> Memory<M, S> {
    /// Lends a frame of a driver's to a driver's object, as page `index` of it.
    ///
    /// # Context
    /// Task.
    ///
    /// # Errors
    /// The frame, if the object has that page, or is none of a driver.
    #[doc(alias = "vmf_insert_pfn")]
    pub fn lend(&self, m: &M, object: ObjectId, index: u64, frame: Frame) -> Result<(), Frame> {
        let mut objects = self.objects.lock(m);
        let place = ObjectPage { object, index };
        if !object.is_of_driver() || objects.pages.contains_key(&place) {
            return Err(frame);
        }
        page::adopt(m, &frame);
        objects.pages.insert(place, frame);
        Ok(())
    }

    /// Takes what was lent of these pages back: when it returns nobody maps the frames, no TLB has them, and who faults there has
    /// an error. Who has pinned one, still has it ([`page::is_last`]).
    ///
    /// # Context
    /// As [`punch_hole`](Self::punch_hole).
    #[doc(alias = "unmap_mapping_range")]
    #[must_use = "the frames are the driver's again"]
    pub fn revoke(&self, m: &M, object: ObjectId, pages: Range<u64>) -> Vec<Frame> {
        let mut revoked = Vec::new();
        self.cut_out(m, object, &pages, |frame| revoked.push(frame));
        revoked
    }

    /// Takes these pages out of the object and away from whoever maps them, some at a time, and then gives `each` the object's
    /// reference.
    fn cut_out(&self, m: &M, object: ObjectId, pages: &Range<u64>, mut each: impl FnMut(Frame)) {
        loop {
            let removed = self.remove(m, object, pages);
            if removed.is_empty() {
                return;
            }
            self.take_away_everywhere(m, &removed);
            removed.into_iter().for_each(|(_, frame)| each(frame));
        }
    }

    /// Takes the first few of these pages out of the object, which gives up its references.
    fn remove(&self, m: &M, object: ObjectId, pages: &Range<u64>) -> Vec<Removed> {
        let mut objects = self.objects.lock(m);
        let first: Vec<ObjectPage> =
            objects.pages.range(pages_of(object, pages)).map(|(page, _)| *page).take(MAX_PAGES).collect();
        first.into_iter().filter_map(|page| Some((page, objects.pages.remove(&page)?))).collect()
    }

    /// Takes pages away from whoever maps them, and flushes.
    fn take_away_everywhere(&self, m: &M, removed: &[Removed]) {
        // Until all is flushed: an address space that is found here must not go away while it is owed a flush.
        let map = self.areas.lock(m);
        let mut reclaim = Reclaim::new(m, &TakenAway);
        for (page, frame) in removed {
            page::take_dirty(m, frame);
            // Every place, whatever the number of mappings says: who is about to map it may not be counted yet.
            unhook_everywhere(m, &map, &mut reclaim, *page, frame, |unhooked| {
                assert!(unhooked.is_some(), "a listener would have to sleep, under the lock of the reverse map");
            });
        }
        reclaim.finish();
    }
}
