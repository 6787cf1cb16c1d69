//! What entries permit, and where they are: what the oracle asks of tables.

use shootdown::{Entry, EntryAt, EntryFormat, Level, Pfn, TableFrame, Vpn};

use super::{architecture::Architecture, frames::Frames};

/// The entry of `level` that translates `page` now; 0 where the walk does not get there.
pub(super) fn read_entry<A: Architecture>(frames: &Frames<A>, root: TableFrame, page: Vpn, target: Level) -> u64 {
    let (mut table, mut level) = (root, A::ROOT);
    loop {
        let raw = frames.entry(EntryAt { table, index: page.index::<A>(level) }).get();
        if level == target {
            return raw;
        }
        match (A::decode(raw, level).table(), level.below()) {
            (Some(next), Some(below)) => (table, level) = (next, below),
            _ => return 0,
        }
    }
}

/// Tells whether an entry of this level lets user mode store to `pfn`.
pub(super) fn lets_write<A: Architecture>(raw: u64, level: Level, pfn: Pfn) -> bool {
    let attributes = A::attributes(raw);
    match A::decode(raw, level) {
        Entry::Leaf(first) => {
            let frames = first.0..first.0 + level.pages::<A>();
            attributes.writable && attributes.user && frames.contains(&pfn.0)
        }
        _ => false,
    }
}

/// Finds a page that can be stored to, and leads to `pfn`, below a table of this level that translates from `base` on.
pub(super) fn find_writable<A: Architecture>(
    frames: &Frames<A>,
    below: (TableFrame, Level, Vpn),
    pfn: Pfn,
) -> Option<Vpn> {
    let (table, level, base) = below;
    frames.entries(table).iter().enumerate().find_map(|(index, entry)| {
        let (raw, page) = (entry.get(), page_of::<A>(base, EntryAt { table, index }, level));
        match (A::decode(raw, level).table(), level.below()) {
            // Alpha's root maps itself.
            (Some(next), Some(lower)) if next != table => find_writable(frames, (next, lower, page), pfn),
            _ => lets_write::<A>(raw, level, pfn).then_some(page),
        }
    })
}

/// Tells whether using `old` does nothing that `now` does not allow: a stricter entry only costs a fault, but a dirty bit
/// that memory lacks would let a store go unnoticed.
pub(super) fn is_still_true<F: EntryFormat>(old: u64, now: u64, level: Level) -> bool {
    let (was, is) = (F::attributes(old), F::attributes(now));
    F::decode(old, level) == F::decode(now, level) && is.permits(was) && (is.dirty || !was.dirty)
}

pub(super) fn page_of<F: EntryFormat>(base: Vpn, at: EntryAt, level: Level) -> Vpn {
    // Kernel addresses have canonical names.
    let first_slot = F::KERNEL.start.index::<F>(F::ROOT);
    let is_kernels = level == F::ROOT && !F::KERNEL.is_empty() && at.index >= first_slot;
    let (start, index) = if is_kernels { (F::KERNEL.start.0, at.index - first_slot) } else { (0, at.index) };
    Vpn(start + base.0 + index as u64 * level.pages::<F>())
}

/// Whether nobody uses the page until it is mapped again: a kernel address that is lazy.
pub(super) fn is_lazy_address<F: EntryFormat>(page: Vpn, level: Level, now: u64) -> bool {
    F::KERNEL.contains(page) && F::decode(now, level) == Entry::Absent
}

pub(super) fn covers<F: EntryFormat>(level: Level, first: Vpn, page: Vpn) -> bool {
    level.span::<F>(first).contains(page)
}
