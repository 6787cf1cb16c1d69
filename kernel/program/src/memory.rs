//! Memory that is mapped for a while, which Rust knows nothing of.

use core::{
    ptr,
    sync::atomic::{AtomicU64, Ordering::*},
};

use crate::calls::{self, ANONYMOUS, Errno, READ_WRITE, SHARED};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const LARGE_PAGE: u64 = 2 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// Stores to a word that is mapped.
pub(crate) fn touch(address: u64) {
    // SAFETY: the callers have mapped it, for stores, and no Rust value lies there.
    unsafe { ptr::with_exposed_provenance_mut::<u64>(address as usize).write_volatile(address) }
}

/// A value for all processes that are forked from now on.
///
/// # Safety
/// Zeroes are a value of `T`, which is changed through shared references only.
pub(crate) unsafe fn shared<T>() -> Result<&'static T, Errno> {
    // SAFETY: anywhere.
    let address = unsafe { calls::map(0, size_of::<T>() as u64, READ_WRITE, SHARED | ANONYMOUS, u64::MAX)? };
    // SAFETY: mapped for ever, of zeroes, aligned to a page.
    Ok(unsafe { &*ptr::with_exposed_provenance(address as usize) })
}

/// Adds to a counter that many have.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
