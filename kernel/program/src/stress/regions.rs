//! Regions of memory, and what each is: said by who changes it, when the call has returned.

use core::sync::atomic::{AtomicU64, Ordering::*};

use super::{LARGE_BYTES, SMALL_BYTES, Worker};
use crate::{
    access,
    calls::{self, ANONYMOUS, FIXED, PRIVATE, READ, READ_WRITE},
    memory::{GIB, PAGE, add},
};

pub(crate) const N_REGIONS: usize = 5;
/// The last one has large pages, of a whole table, which processes share.
const LARGE: usize = N_REGIONS - 1;
/// Where each is: two neighbours, and others that share fewer tables with them. Each has its own part of QEMU's TLB, which
/// finds translations by the lowest bits of the page, so that nothing is forgotten by accident.
const PLACES: [u64; N_REGIONS] = [0x10_0040_0000, 0x10_0063_0000, 0x10_4086_0000, 0x90_0089_0000, 0x100_0000_0000];

/// What is said of a region: one of these, with a number above it that is another one after each change.
const UNMAPPED: u64 = 0;
const READ_ONLY: u64 = 1;
const WRITABLE: u64 = 2;
/// Somebody is about to change it.
const CHANGING: u64 = 3;
const KINDS: u64 = 4;

/// The regions of a process.
pub(crate) struct Regions([AtomicU64; N_REGIONS]);

/// A region that is being changed by this thread.
struct Change<'r> {
    word: &'r AtomicU64,
    was: u64,
}

impl Change<'_> {
    const fn kind(&self) -> u64 {
        self.was % KINDS
    }

    /// Says what the region is now.
    fn end(self, kind: u64) {
        // Release: what was done to it has been done.
        self.word.store((self.was / KINDS + 1) * KINDS + kind, Release);
    }
}

impl Regions {
    /// Begins to change a region, if nobody else does.
    fn begin(&self, region: usize) -> Option<Change<'_>> {
        let word = &self.0[region];
        let was = word.load(Relaxed);
        let is_free = was % KINDS != CHANGING;
        let taken = is_free && word.compare_exchange(was, was / KINDS * KINDS + CHANGING, Acquire, Relaxed).is_ok();
        taken.then_some(Change { word, was })
    }

    pub(crate) fn map(&self, worker: &mut Worker, region: usize) {
        let Some(change) = self.begin(region) else { return };
        if change.kind() != UNMAPPED {
            let kind = change.kind();
            return change.end(kind);
        }
        let mapped = if region == LARGE {
            worker.map_large(PLACES[region], READ_WRITE)
        } else {
            // SAFETY: no Rust value lies there.
            unsafe { calls::map(PLACES[region], SMALL_BYTES, READ_WRITE, PRIVATE | ANONYMOUS | FIXED, u64::MAX) }
        };
        if mapped.is_err() {
            worker.complain("cannot be mapped", PLACES[region], 0);
        }
        change.end(if mapped.is_ok() { WRITABLE } else { UNMAPPED });
    }

    pub(crate) fn unmap(&self, worker: &mut Worker, region: usize) {
        self.change(worker, region, UNMAPPED, |at, n_bytes| {
            // SAFETY: no Rust value lies there.
            unsafe { calls::unmap(at, n_bytes) }.is_ok()
        });
    }

    pub(crate) fn forbid_stores(&self, worker: &mut Worker, region: usize) {
        self.change(worker, region, READ_ONLY, |at, n_bytes| {
            // SAFETY: no Rust value lies there.
            unsafe { calls::protect(at, n_bytes, READ) }.is_ok()
        });
    }

    pub(crate) fn permit_stores(&self, worker: &mut Worker, region: usize) {
        self.change(worker, region, WRITABLE, |at, n_bytes| {
            // SAFETY: no Rust value lies there.
            unsafe { calls::protect(at, n_bytes, READ_WRITE) }.is_ok()
        });
    }

    /// Drops what some of the pages contain. Nobody need know.
    pub(crate) fn discard(&self, worker: &mut Worker, region: usize) {
        if region == LARGE {
            return;
        }
        let first = worker.random.below(SMALL_BYTES / PAGE);
        let n_pages = 1 + worker.random.below(SMALL_BYTES / PAGE - first);
        // SAFETY: no Rust value lies there. If it is not mapped, nothing happens.
        unsafe { calls::discard(PLACES[region] + first * PAGE, n_pages * PAGE) }.unwrap_or_default();
    }

    /// Moves a region's pages to another one, where none are.
    pub(crate) fn relocate(&self, worker: &mut Worker, from: usize, to: usize) {
        if from == to || from == LARGE || to == LARGE {
            return;
        }
        let Some(source) = self.begin(from) else { return };
        let Some(target) = self.begin(to) else {
            let kind = source.kind();
            return source.end(kind);
        };
        let (kind, there) = (source.kind(), target.kind());
        if kind == UNMAPPED || there != UNMAPPED {
            source.end(kind);
            return target.end(there);
        }
        // SAFETY: no Rust value lies at either.
        let moved = unsafe { calls::relocate(PLACES[from], SMALL_BYTES, PLACES[to]) };
        if moved.is_err() {
            worker.complain("cannot be moved", PLACES[from], 0);
        }
        source.end(UNMAPPED);
        target.end(kind);
    }

    fn change(&self, worker: &Worker, region: usize, to: u64, how: impl FnOnce(u64, u64) -> bool) {
        let Some(change) = self.begin(region) else { return };
        if change.kind() == UNMAPPED {
            return change.end(UNMAPPED);
        }
        let n_bytes = if region == LARGE { GIB } else { SMALL_BYTES };
        if !how(PLACES[region], n_bytes) {
            worker.complain("cannot be changed", PLACES[region], to);
        }
        change.end(to);
    }

    /// Uses some pages of a region, whatever it is, and looks whether that was right.
    pub(crate) fn access(&self, worker: &mut Worker, region: usize) {
        for _ in 0..12 {
            let (offset, mark) = if region == LARGE {
                let offset = worker.random.below(LARGE_BYTES / PAGE) * PAGE;
                (offset, mark_of(LARGE as u64, offset))
            } else {
                let offset = worker.random.below(SMALL_BYTES / PAGE) * PAGE;
                // Wherever its pages are moved to.
                (offset, mark_of(0x10 + worker.process as u64, offset))
            };
            let address = PLACES[region] + offset + 8 * worker.random.below(2);
            self.access_one(worker, region, address, mark);
        }
    }

    fn access_one(&self, worker: &mut Worker, region: usize, address: u64, mark: u64) {
        let before = self.0[region].load(Acquire);
        let stores = worker.random.below(2) == 0;
        let found = if stores { access::store(address, mark).then_some(mark) } else { access::load(address) };
        let after = self.0[region].load(Acquire);
        add(&worker.shared.n_accesses, 1);
        if let Some(found) = found.filter(|found| *found != 0 && *found != mark) {
            worker.complain("finds what is another's", address, found);
        }
        if before != after {
            return;
        }
        match (before % KINDS, found) {
            (UNMAPPED, Some(found)) => worker.complain("is used after it was unmapped", address, found),
            (READ_ONLY, Some(found)) if stores => {
                worker.complain("is stored to after that was forbidden", address, found)
            }
            (READ_ONLY, None) if !stores => worker.complain("is not there and must be", address, before),
            (WRITABLE, None) => worker.complain("is not there and must be", address, before),
            _ => {}
        }
    }
}

/// What is stored to a page.
const fn mark_of(whose: u64, offset: u64) -> u64 {
    whose << 48 | 1 << 47 | offset
}
