//! What address spaces of one kernel share: the zero page, and the pages of objects (files, shared memory).

use alloc::collections::BTreeMap;
use core::ops::Range;

use shootdown::{Frame, Frames, Level, Mutex, OneMemory, page};

use crate::{
    OutOfMemory,
    areas::Areas,
    fault::FaultError,
    storage::{NoStorage, ObjectId, ObjectPage, Storage},
};

/// Objects and their pages.
#[derive(Debug)]
pub(crate) struct Objects {
    // Each holds one reference to its frame.
    pub(crate) pages: BTreeMap<ObjectPage, Frame>,
    // Where reclaim goes on.
    pub(crate) hand: ObjectPage,
    next: u64,
    zero: Option<Frame>,
}

/// The shared memory of a kernel, and the [`Storage`] behind it.
pub struct Memory<M: OneMemory, S = NoStorage> {
    // Held as long as one page is read in, or some are written out. So nobody reads what is about to be written, and who
    // finds a page clean knows that it was written.
    pub(crate) storage: Mutex<M, S>,
    pub(crate) areas: Areas<M>,
    pub(crate) objects: Mutex<M, Objects>,
}

impl<M: Frames + OneMemory> Default for Memory<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Frames + OneMemory> Memory<M> {
    /// Makes a memory without objects, and without storage.
    #[must_use]
    pub const fn new() -> Self {
        Memory::with_storage(NoStorage)
    }
}

/// Why a page of an object is not to be had at once.
pub(crate) enum Missing {
    /// There is no memory.
    Memory,
    /// It must be read first.
    Contents(ObjectPage, Level),
    /// The driver has not lent it.
    NotLent,
}

impl From<OutOfMemory> for Missing {
    fn from(_: OutOfMemory) -> Self {
        Missing::Memory
    }
}

impl<M: Frames + OneMemory, S> Memory<M, S> {
    /// Makes a memory without objects. What objects with storage contain is in `storage`.
    #[must_use]
    pub const fn with_storage(storage: S) -> Self {
        let hand = ObjectPage { object: ObjectId::FIRST_STORED, index: 0 };
        Memory {
            storage: Mutex::new(storage),
            areas: Areas::new(),
            objects: Mutex::new(Objects { pages: BTreeMap::new(), hand, next: 0, zero: None }),
        }
    }

    /// Makes an object without storage: its pages begin as zeroes and stay in memory.
    pub fn new_object(&self, m: &M) -> ObjectId {
        ObjectId(self.next_number(m))
    }

    /// Makes an object whose contents are in storage.
    pub fn new_stored_object(&self, m: &M) -> ObjectId {
        ObjectId::stored(self.next_number(m))
    }

    /// Makes an object whose pages a driver [lends](Self::lend).
    pub fn new_driver_object(&self, m: &M) -> ObjectId {
        ObjectId::of_driver(self.next_number(m))
    }

    fn next_number(&self, m: &M) -> u64 {
        let mut objects = self.objects.lock(m);
        let number = objects.next;
        objects.next += 1;
        number
    }

    /// Takes a reference to a page of an object. It is made if it is not there, or must be [read](Self::read_in).
    pub(crate) fn object_page(&self, m: &M, page: ObjectPage, level: Level) -> Result<Frame, Missing> {
        let mut objects = self.objects.lock(m);
        if let Some(frame) = objects.pages.get(&page) {
            return Ok(page::share(m, frame));
        }
        if page.object.is_stored() {
            return Err(Missing::Contents(page, level));
        }
        if page.object.is_of_driver() {
            return Err(Missing::NotLent);
        }
        let frame = page::allocate_zeroed(m, level).map_err(OutOfMemory::from)?;
        page::adopt(m, &frame);
        let reference = page::share(m, &frame);
        objects.pages.insert(page, frame);
        Ok(reference)
    }

    /// Takes a reference to the page of zeroes. The memory holds one too, so nobody has it exclusively.
    pub(crate) fn zero_page(&self, m: &M) -> Result<Frame, OutOfMemory> {
        let mut objects = self.objects.lock(m);
        if objects.zero.is_none() {
            objects.zero = Some(page::allocate_zeroed(m, Level::LEAF)?);
        }
        match &objects.zero {
            Some(frame) => Ok(page::share(m, frame)),
            None => Err(OutOfMemory),
        }
    }

    /// Lets go of all pages of `object`. Those that are mapped live on until they are unmapped; what was stored to them is
    /// never written out.
    pub fn drop_object(&self, m: &M, object: ObjectId) {
        loop {
            let mut objects = self.objects.lock(m);
            let Some(key) = objects.pages.range(all_of(object)).next().map(|(key, _)| *key) else {
                return;
            };
            let frame = objects.pages.remove(&key);
            drop(objects);
            if let Some(frame) = frame {
                page::drop_reference(m, frame);
            }
        }
    }
}

impl<M: Frames + OneMemory, S: Storage<M>> Memory<M, S> {
    /// Makes sure that a page of an object with storage is in memory, for now.
    ///
    /// # Context
    /// As [`Storage::read`]'s caller: no page-table lock is held.
    pub(crate) fn read_in(&self, m: &M, page: ObjectPage, level: Level) -> Result<(), FaultError> {
        let mut storage = self.storage.lock(m);
        if self.objects.lock(m).pages.contains_key(&page) {
            return Ok(());
        }
        let frame = page::allocate(m, level).map_err(OutOfMemory::from)?;
        page::adopt(m, &frame);
        if let Err(error) = storage.read(m, page, &frame) {
            page::drop_reference(m, frame);
            return Err(FaultError::Storage(error));
        }
        self.objects.lock(m).pages.insert(page, frame);
        Ok(())
    }
}

fn all_of(object: ObjectId) -> core::ops::RangeInclusive<ObjectPage> {
    ObjectPage { object, index: 0 }..=ObjectPage { object, index: u64::MAX }
}

/// These pages of an object.
pub(crate) const fn pages_of(object: ObjectId, pages: &Range<u64>) -> Range<ObjectPage> {
    ObjectPage { object, index: pages.start }..ObjectPage { object, index: pages.end }
}
