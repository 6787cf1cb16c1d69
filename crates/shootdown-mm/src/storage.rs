//! Where objects' contents are while they are not in memory: files on a disk, for example.

use core::ops::Range;

use shootdown::Frame;

/// A page of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPage {
    /// The object.
    pub object: ObjectId,
    /// Which page of it, in pages of the size that it is mapped with.
    pub index: u64,
}

/// Names an object: a file, or shared memory without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

impl ObjectId {
    /// What is set in the ids of objects that have storage, so that these come last.
    const STORED: u64 = 1 << 63;

    /// What is set in the ids of objects whose pages a driver lends.
    const DRIVER: u64 = 1 << 62;

    /// Makes the id of the `number`th object, whose pages a driver lends.
    pub(crate) const fn of_driver(number: u64) -> ObjectId {
        ObjectId(number | Self::DRIVER)
    }

    /// Tells whether a driver lends its pages.
    #[must_use]
    pub const fn is_of_driver(self) -> bool {
        self.0 & (Self::DRIVER | Self::STORED) == Self::DRIVER
    }

    /// The first id that an object with storage can have.
    pub(crate) const FIRST_STORED: ObjectId = ObjectId(Self::STORED);

    /// Makes the id of an object that is the `number`th, with storage or without.
    pub(crate) const fn stored(number: u64) -> ObjectId {
        ObjectId(number | Self::STORED)
    }

    /// Tells whether [`Storage`] has its contents. Pages of others stay in memory.
    #[must_use]
    pub const fn is_stored(self) -> bool {
        self.0 & Self::STORED != 0
    }
}

/// Storage could not do what it was asked to; the number is the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageError(pub i32);

impl core::fmt::Display for StorageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "storage failed with {}", self.0)
    }
}

impl core::error::Error for StorageError {}

/// Where the contents of objects come from and go to. A [`Memory`](crate::Memory) asks for one page at a time.
///
/// # Context
/// Called under locks of this crate, though not under a page-table lock: it must not sleep, and calls nothing of this crate.
pub trait Storage<M> {
    /// Fills `frame` with the contents of `page`: zeroes if it was never written.
    ///
    /// # Errors
    /// [`StorageError`], which goes to who faulted.
    fn read(&mut self, m: &M, page: ObjectPage, frame: &Frame) -> Result<(), StorageError>;

    /// Keeps the contents of `frame` as those of `page`. No CPU can store to it until somebody is told again that he may.
    ///
    /// # Errors
    /// [`StorageError`], which goes to who asked for the page to be written; the page counts as dirty again.
    fn write(&mut self, m: &M, page: ObjectPage, frame: &Frame) -> Result<(), StorageError>;

    /// Forgets the contents of these pages: they are zeroes from now on.
    ///
    /// # Errors
    /// [`StorageError`], if none of them was forgotten.
    fn discard(&mut self, m: &M, object: ObjectId, pages: Range<u64>) -> Result<(), StorageError>;
}

/// No storage: for kernels whose objects are all shared memory. Objects that should have some cannot be used.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStorage;

impl<M> Storage<M> for NoStorage {
    fn read(&mut self, _: &M, _: ObjectPage, _: &Frame) -> Result<(), StorageError> {
        Err(StorageError(0))
    }

    fn write(&mut self, _: &M, _: ObjectPage, _: &Frame) -> Result<(), StorageError> {
        Err(StorageError(0))
    }

    fn discard(&mut self, _: &M, _: ObjectId, _: Range<u64>) -> Result<(), StorageError> {
        Err(StorageError(0))
    }
}
