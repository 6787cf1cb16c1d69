//! What address spaces of one kernel share: the zero page, and the pages of objects (files, shared memory).

use alloc::collections::BTreeMap;

use shootdown::{Frame, Frames, Level, Mutex, OneMemory, page};

use crate::OutOfMemory;

/// Names an object: a file, or shared memory without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// Objects and their pages.
#[derive(Debug, Default)]
struct Objects {
    // Each holds one reference to its frame.
    pages: BTreeMap<(ObjectId, u64), Frame>,
    next: u64,
    zero: Option<Frame>,
}

/// The shared memory of a kernel.
pub struct Memory<M: OneMemory> {
    objects: Mutex<M, Objects>,
}

impl<M: Frames + OneMemory> Default for Memory<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Frames + OneMemory> Memory<M> {
    /// Makes a memory without objects.
    #[must_use]
    pub const fn new() -> Self {
        Memory { objects: Mutex::new(Objects { pages: BTreeMap::new(), next: 0, zero: None }) }
    }

    /// Makes an empty object.
    pub fn new_object(&self, m: &M) -> ObjectId {
        let mut objects = self.objects.lock(m);
        let id = objects.next;
        objects.next += 1;
        ObjectId(id)
    }

    /// Takes a reference to page `index` of `object`, which is made if it is not there.
    pub(crate) fn object_page(&self, m: &M, object: ObjectId, index: u64, level: Level) -> Result<Frame, OutOfMemory> {
        let mut objects = self.objects.lock(m);
        if let Some(frame) = objects.pages.get(&(object, index)) {
            return Ok(page::share(m, frame));
        }
        let frame = page::allocate(m, level)?;
        let reference = page::share(m, &frame);
        objects.pages.insert((object, index), frame);
        Ok(reference)
    }

    /// Takes a reference to the page of zeroes. The memory holds one too, so nobody has it exclusively.
    pub(crate) fn zero_page(&self, m: &M) -> Result<Frame, OutOfMemory> {
        let mut objects = self.objects.lock(m);
        if objects.zero.is_none() {
            objects.zero = Some(page::allocate(m, Level::LEAF)?);
        }
        match &objects.zero {
            Some(frame) => Ok(page::share(m, frame)),
            None => Err(OutOfMemory),
        }
    }

    /// Lets go of all pages of `object`. Those that are mapped live on until they are unmapped.
    pub fn drop_object(&self, m: &M, object: ObjectId) {
        loop {
            let mut objects = self.objects.lock(m);
            let Some(key) = objects.pages.range((object, 0)..=(object, u64::MAX)).next().map(|(key, _)| *key) else {
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
