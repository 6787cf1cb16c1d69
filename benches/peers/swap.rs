//! The least that unmapping can cost where hardware sets bits in entries: each one swapped out, in a row, unseen.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::*},
};

use crate::measure::{Pages, Peer};

pub(crate) struct Entries(Box<[AtomicU64]>);

impl Entries {
    pub(crate) fn new() -> Self {
        Entries((0..1 << 18).map(|_| AtomicU64::new(0)).collect())
    }

    fn entry(&self, page: u64) -> &AtomicU64 {
        &self.0[page as usize % self.0.len()]
    }

    fn entries(&self, pages: Pages) -> &[AtomicU64] {
        let first = pages.first as usize % self.0.len();
        &self.0[first..][..pages.n_pages as usize]
    }
}

impl Peer for Entries {
    fn map(&mut self, pages: Pages) {
        for (entry, frame) in self.entries(pages).iter().zip(pages.first_frame()..) {
            entry.store(frame << 12 | 1, Release);
        }
    }

    fn unmap(&mut self, pages: Pages) {
        for entry in self.entries(pages) {
            black_box(entry.swap(0, AcqRel));
        }
    }

    fn find(&self, page: u64) -> Option<u64> {
        let entry = self.entry(page).load(Relaxed);
        (entry != 0).then_some(entry >> 12)
    }
}
