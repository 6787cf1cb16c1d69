//! Waiting for a word of memory to change.

use alloc::vec::Vec;

use shootdown::{EntryFormat as _, Mutex, Vpn};
use shootdown_mm::{Backing, ObjectId, Sharing};

use super::{
    errors::Errno,
    process::Process,
    scheduler,
    thread::{self, Thread},
    transfer,
};
use crate::machine::{Format, Metal};

/// Which word: where it is mapped may differ from process to process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Address in a process.
    Private(u32, u64),
    /// Offset in an object.
    Shared(ObjectId, u64),
}

static WAITING: Mutex<Metal, Vec<(Key, Thread)>> = Mutex::new(Vec::new());

/// Sleeps until somebody [wakes](wake) who waits for this word, if it has this value.
///
/// # Errors
/// [`Errno::AGAIN`] if it has another one.
pub(crate) fn wait(m: &Metal, process: &Process, address: u64, value: u32) -> Result<i64, Errno> {
    let key = key(m, process, address)?;
    let current = thread::current();
    let mut waiting = WAITING.lock(m);
    // Under the lock: who changes the word wakes afterwards.
    let mut bytes = [0; 4];
    transfer::read(m, process, address, &mut bytes)?;
    if u32::from_le_bytes(bytes) != value {
        return Err(Errno::AGAIN);
    }
    waiting.push((key, current));
    scheduler::prepare_to_sleep();
    drop(waiting);
    scheduler::sleep(m);
    // Still there if it is the process's end that woke it.
    WAITING.lock(m).retain(|(_, thread)| *thread != current);
    Ok(0)
}

/// Wakes up to so many who wait for this word; returns how many.
pub(crate) fn wake(m: &Metal, process: &Process, address: u64, most: u64) -> Result<i64, Errno> {
    let key = key(m, process, address)?;
    let mut n_woken = 0;
    WAITING.lock(m).retain(|(other, thread)| {
        let wakes = *other == key && n_woken < most;
        if wakes {
            n_woken += 1;
            scheduler::wake(m, *thread);
        }
        !wakes
    });
    Ok(n_woken as i64)
}

fn key(m: &Metal, process: &Process, address: u64) -> Result<Key, Errno> {
    if !address.is_multiple_of(4) {
        return Err(Errno::INVALID);
    }
    let page = Vpn(address >> Format::PAGE_SHIFT);
    let (_, vma) = process.space.vma_at(m, page).ok_or(Errno::FAULT)?;
    Ok(match vma.backing {
        Backing::Object { object, origin } if vma.sharing == Sharing::Shared => {
            Key::Shared(object, address - (origin.0 << Format::PAGE_SHIFT))
        }
        _ => Key::Private(process.number(), address),
    })
}
