//! Reading and writing a program's memory: its pages are found without a lock and pinned, as `get_user_pages_fast` does it.

use core::sync::atomic::{AtomicU8, Ordering::*};

use shootdown::{
    EntryFormat as _, Vpn,
    page::References,
    walk::{self, Pinned, Purpose},
};
use shootdown_mm::Access;

use super::{
    errors::Errno,
    process::{MEMORY, Process},
};
use crate::{
    cpu,
    machine::{Format, Metal},
    memory, places,
};

/// Copies from a program, of the process whose thread runs.
pub(crate) fn read(m: &Metal, process: &Process, address: u64, to: &mut [u8]) -> Result<(), Errno> {
    let mut to = to.iter_mut();
    with_bytes(m, process, (address, to.len()), Purpose::Read, |from| {
        to.by_ref().zip(from).for_each(|(to, from)| *to = from.load(Relaxed));
    })
}

/// Copies to a program, likewise.
pub(crate) fn write(m: &Metal, process: &Process, address: u64, from: &[u8]) -> Result<(), Errno> {
    let mut from = from.iter();
    with_bytes(m, process, (address, from.len()), Purpose::Write, |to| {
        to.iter().zip(from.by_ref()).for_each(|(to, from)| to.store(*from, Relaxed));
    })
}

/// Shows the bytes at an address, a page at a time.
fn with_bytes(
    m: &Metal,
    process: &Process,
    (address, length): (u64, usize),
    purpose: Purpose,
    mut each: impl FnMut(&[AtomicU8]),
) -> Result<(), Errno> {
    const PAGE: u64 = 1 << Format::PAGE_SHIFT;
    let end = address.checked_add(length as u64).filter(|end| *end < 1 << 47).ok_or(Errno::FAULT)?;
    let mut at = address;
    while at < end {
        let page = Vpn(at / PAGE);
        let n_bytes = (PAGE - at % PAGE).min(end - at);
        let pinned = pin(m, process, page, purpose)?;
        let frame = pinned.frame.0 + (page.0 - pinned.page.0);
        let bytes = memory::direct_map(frame * PAGE + at % PAGE);
        // SAFETY: part of a frame of the pools, which is memory that all use as atomics, and is pinned for now. The address is
        // within a page, so the bytes are too.
        each(unsafe { core::slice::from_raw_parts(bytes.cast::<AtomicU8>(), n_bytes as usize) });
        pinned.unpin(m, &References);
        at += n_bytes;
    }
    Ok(())
}

/// Pins a page, which may have to be brought in first.
fn pin(m: &Metal, process: &Process, page: Vpn, purpose: Purpose) -> Result<Pinned, Errno> {
    let access = match purpose {
        Purpose::Read => Access::Read,
        Purpose::Write => Access::Write,
    };
    let space = &places::SPACES[process.space_id().0 as usize];
    loop {
        if let Ok(pinned) = walk::pin(m, space, page, purpose, &References) {
            return Ok(pinned);
        }
        process.space.fault(m, &MEMORY, page, access)?;
        cpu::pause();
    }
}
