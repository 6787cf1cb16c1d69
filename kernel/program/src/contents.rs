//! What pages contain when they have been copied, moved, dropped and shared: the same on every kernel.

use core::{ptr, sync::atomic::Ordering::*};

use crate::{
    calls::{self, ANONYMOUS, Errno, PRIVATE, READ_WRITE, SHARED},
    memory::{self, PAGE},
    output::println,
};

const PATTERN: u64 = 0x1234_5678_9abc_def0;
const OTHER: u64 = 0x0fed_cba9_8765_4321;

/// Tells whether all is as it must be.
type Check = fn() -> Result<bool, Errno>;

/// Looks at all of it; returns the exit status.
pub(crate) fn run() -> i32 {
    let checks: [(&str, Check); 5] = [
        ("a private page of an object that is stored to first", || object(false)),
        ("a private page of an object that is loaded first", || object(true)),
        ("a child's page, and its parent's", fork),
        ("a page that has moved", moved),
        ("a page whose contents were dropped", dropped),
    ];
    let mut status = 0;
    for (what, check) in checks {
        if check() != Ok(true) {
            println!("{what} has not what it must have");
            status = 1;
        }
    }
    status
}

fn map(sharing: u64, file: Option<u64>) -> Result<u64, Errno> {
    let flags = sharing | if file.is_none() { ANONYMOUS } else { 0 };
    // SAFETY: anywhere.
    unsafe { calls::map(0, PAGE, READ_WRITE, flags, file.unwrap_or(u64::MAX)) }
}

fn word(page: u64, index: u64) -> *mut u64 {
    ptr::with_exposed_provenance_mut((page + 8 * index) as usize)
}

fn load(page: u64, index: u64) -> u64 {
    // SAFETY: the callers have mapped it, and no Rust value lies there.
    unsafe { word(page, index).read_volatile() }
}

fn store(page: u64, index: u64, value: u64) {
    // SAFETY: as in `load`.
    unsafe { word(page, index).write_volatile(value) }
}

/// A private mapping begins with what the object has, and nobody sees what is stored there.
fn object(loads_first: bool) -> Result<bool, Errno> {
    let file = calls::create_memory()?;
    calls::truncate(file, PAGE)?;
    let [shared, private] = [map(SHARED, Some(file))?, map(PRIVATE, Some(file))?];
    store(shared, 0, PATTERN);
    let begins_alike = !loads_first || load(private, 0) == PATTERN;
    store(private, 1, OTHER);
    let is_a_copy = (load(private, 0), load(private, 1), load(shared, 1)) == (PATTERN, OTHER, 0);
    calls::close(file)?;
    Ok(begins_alike && is_a_copy)
}

/// Each has what was there at the fork, and its own stores.
fn fork() -> Result<bool, Errno> {
    let page = map(PRIVATE, None)?;
    store(page, 0, PATTERN);
    // SAFETY: an atomic.
    let told: &core::sync::atomic::AtomicU64 = unsafe { memory::shared()? };
    // SAFETY: there is one thread.
    let child = unsafe { calls::fork()? };
    if child == 0 {
        store(page, 1, OTHER);
        told.store(load(page, 0), Relaxed);
        calls::exit(0)
    }
    let has_ended = calls::wait(child)? == 0;
    Ok(has_ended && told.load(Relaxed) == PATTERN && (load(page, 0), load(page, 1)) == (PATTERN, 0))
}

fn moved() -> Result<bool, Errno> {
    let [page, target] = [map(PRIVATE, None)?, map(PRIVATE, None)?];
    store(page, 0, PATTERN);
    store(target, 0, OTHER);
    // SAFETY: mapped above, for nothing else.
    unsafe { calls::relocate(page, PAGE, target)? };
    Ok(load(target, 0) == PATTERN)
}

/// Private memory is zeroes then; an object has what it had.
fn dropped() -> Result<bool, Errno> {
    let file = calls::create_memory()?;
    calls::truncate(file, PAGE)?;
    let [anonymous, shared] = [map(PRIVATE, None)?, map(SHARED, Some(file))?];
    for page in [anonymous, shared] {
        store(page, 0, PATTERN);
        // SAFETY: mapped above, for nothing else.
        unsafe { calls::discard(page, PAGE)? };
    }
    Ok((load(anonymous, 0), load(shared, 0)) == (0, PATTERN))
}
