//! Memory for page tables, the same for all crates: physical address and pointer are the same number.

use std::{
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::*},
    },
};

pub(crate) const PAGE_SIZE: usize = 4096;
pub(crate) const N_PAGES: usize = 4096;

#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

static PAGES: [Page; N_PAGES] = [const { Page([const { AtomicU64::new(0) }; 512]) }; N_PAGES];
static POOL: Mutex<Pool> = Mutex::new(Pool { n_touched: 0, returned: Vec::new() });

struct Pool {
    n_touched: usize,
    returned: Vec<usize>,
}

/// Where the pages begin.
pub(crate) fn first() -> usize {
    PAGES.as_ptr().expose_provenance()
}

/// Takes a page, whose contents are what they were.
pub(crate) fn take() -> usize {
    let mut pool = POOL.lock().expect("nothing panics here");
    pool.returned.pop().unwrap_or_else(|| {
        assert!(pool.n_touched < N_PAGES, "there are no more pages");
        pool.n_touched += 1;
        first() + (pool.n_touched - 1) * PAGE_SIZE
    })
}

/// Takes a page and clears it.
pub(crate) fn take_zeroed() -> usize {
    let address = take();
    PAGES[(address - first()) / PAGE_SIZE].0.iter().for_each(|word| word.store(0, Relaxed));
    address
}

/// Gives a page back.
pub(crate) fn give_back(address: usize) {
    POOL.lock().expect("nothing panics here").returned.push(address);
}

/// Returns the pointer for an address.
#[inline]
pub(crate) fn pointer<T>(address: usize) -> *mut T {
    ptr::with_exposed_provenance_mut(address)
}
