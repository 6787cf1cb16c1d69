//! Storage that looks over everybody's shoulder.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
};

use shootdown::{Frame, Pfn};
use shootdown_mm::{ObjectId, ObjectPage, Storage, StorageError};
use shootdown_sim::sequential::{Architecture, Sequential, Writer};

/// What a failing disk says.
pub(crate) const BROKEN: StorageError = StorageError(5);

/// What survives a crash, and what a test wants to know. A page is the number of the last store to it; 0 for zeroes.
#[derive(Default)]
pub(crate) struct Platter {
    pages: RefCell<BTreeMap<ObjectPage, u64>>,
    // What is in memory: frames have no contents of their own.
    frames: RefCell<BTreeMap<Pfn, u64>>,
    is_broken: Cell<bool>,
    n_reads: Cell<u64>,
    n_writes: Cell<u64>,
    writers: RefCell<Vec<Writer>>,
}

impl Platter {
    pub(crate) fn page(&self, page: ObjectPage) -> u64 {
        self.pages.borrow().get(&page).copied().unwrap_or(0)
    }

    /// Stores to a frame.
    pub(crate) fn store(&self, frame: Pfn, number: u64) {
        self.frames.borrow_mut().insert(frame, number);
    }

    /// Loads from a frame, which says what somebody left there.
    pub(crate) fn load(&self, frame: Pfn) -> u64 {
        self.frames.borrow().get(&frame).copied().unwrap_or(0)
    }

    /// Forgets what was in memory.
    pub(crate) fn crash(&self) {
        self.frames.borrow_mut().clear();
    }

    pub(crate) fn break_down(&self, is_broken: bool) {
        self.is_broken.set(is_broken);
    }

    /// Pages read and written until now.
    pub(crate) fn n_transfers(&self) -> (u64, u64) {
        (self.n_reads.get(), self.n_writes.get())
    }

    /// Those who could store to a page while it was written out.
    pub(crate) fn take_writers(&self) -> Vec<Writer> {
        self.writers.take()
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.is_broken.get() { Err(BROKEN) } else { Ok(()) }
    }
}

/// The part of the machine that reads and writes a [`Platter`].
#[derive(Clone, Default)]
pub(crate) struct Disk(pub(crate) Rc<Platter>);

impl<A: Architecture> Storage<Sequential<A>> for Disk {
    fn read(&mut self, _: &Sequential<A>, page: ObjectPage, frame: &Frame) -> Result<(), StorageError> {
        self.0.check()?;
        self.0.n_reads.set(self.0.n_reads.get() + 1);
        self.0.store(frame.pfn(), self.0.page(page));
        Ok(())
    }

    fn write(&mut self, m: &Sequential<A>, page: ObjectPage, frame: &Frame) -> Result<(), StorageError> {
        self.0.writers.borrow_mut().extend(m.writer_of(frame.pfn()));
        self.0.check()?;
        self.0.n_writes.set(self.0.n_writes.get() + 1);
        self.0.pages.borrow_mut().insert(page, self.0.load(frame.pfn()));
        Ok(())
    }

    fn discard(&mut self, _: &Sequential<A>, object: ObjectId, pages: Range<u64>) -> Result<(), StorageError> {
        self.0.check()?;
        self.0.pages.borrow_mut().retain(|page, _| page.object != object || !pages.contains(&page.index));
        Ok(())
    }
}
