//! Pages that are only forked, and count: so that who reads an old copy notices.

use core::{
    hint,
    sync::atomic::{AtomicU64, Ordering::*},
};

use super::Worker;
use crate::{
    access,
    calls::{self, ANONYMOUS, Errno, FIXED, PRIVATE, READ_WRITE},
    memory::{PAGE, add},
};

const N_PAGES: u64 = 4;
const PLACE: u64 = 0x10_00c0_0000;

/// How far each page has counted, as said by who has made it count. In memory that is not copied.
pub(crate) struct Counters([AtomicU64; N_PAGES as usize]);

/// Maps the pages of this process.
pub(crate) fn begin() -> Result<(), Errno> {
    // SAFETY: no Rust value lies there.
    unsafe { calls::map(PLACE, N_PAGES * PAGE, READ_WRITE, PRIVATE | ANONYMOUS | FIXED, u64::MAX) }.map(drop)
}

/// The word of a page that counts.
fn word(page: u64) -> &'static AtomicU64 {
    // SAFETY: mapped for ever, and used as atomics only.
    unsafe { &*core::ptr::with_exposed_provenance((PLACE + page * PAGE) as usize) }
}

/// Lets a page count.
pub(crate) fn count(worker: &mut Worker) {
    let page = worker.random.below(N_PAGES);
    let counted = word(page).fetch_add(1, AcqRel) + 1;
    // Release: who knows that it has counted so far finds it so.
    worker.counters().0[page as usize].fetch_max(counted, AcqRel);
}

/// Looks whether a page has counted as far as it is said to have.
pub(crate) fn look(worker: &mut Worker) {
    let page = worker.random.below(N_PAGES);
    let said = worker.counters().0[page as usize].load(Acquire);
    let address = PLACE + page * PAGE;
    add(&worker.shared.n_accesses, 1);
    match access::load(address) {
        Some(found) if found >= said => {}
        found => worker.complain("has counted less far than was said", address, found.unwrap_or(0)),
    }
}

/// In a child: looks whether its copy stays as it is while its parent's pages count.
pub(crate) fn nothing_changes(worker: &mut Worker) -> bool {
    let read = || core::array::from_fn::<u64, { N_PAGES as usize }, _>(|page| word(page as u64).load(Acquire));
    let before = read();
    for _ in 0..20 + worker.random.below(20) {
        hint::spin_loop();
    }
    let after = read();
    if before != after {
        let page = before.iter().zip(&after).position(|(before, after)| before != after).unwrap_or(0);
        worker.complain("changes under a child that nobody else has", PLACE + page as u64 * PAGE, after[page]);
    }
    // Then it changes by itself, which its parent must not see.
    (0..N_PAGES).for_each(|page| word(page).store(0, Release));
    before == after
}
