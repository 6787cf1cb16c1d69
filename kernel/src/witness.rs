//! Who owns each frame of data, written into the frame itself, and what was seen that must not be.
//!
//! Every access looks whether it found what belongs where it went. A frame that is free says so; so a translation that
//! is used after its page is gone shows in what it reads, and what it writes shows in the frame.

use core::sync::atomic::{AtomicU64, Ordering::*};

use shootdown::{Pfn, SpaceId, Vpn};

use crate::{access, cpu, machine::Metal, memory};

/// The word that says whose the frame is.
const OWNER: u64 = 0;
/// The word that programs store to: the owner's mark, or nothing.
const CONTENTS: u64 = 1;

const FREE: u64 = 0xf4ee_f4ee_f4ee_f4ee;
/// In a mark: nobody may store.
const READ_ONLY: u64 = 1 << 62;

static N_ACCESSES: AtomicU64 = AtomicU64::new(0);
/// In the test that runs, and in all until now.
static N_STALE: AtomicU64 = AtomicU64::new(0);
static N_STALE_IN_ALL: AtomicU64 = AtomicU64::new(0);
/// The first of them: the page with the CPU above it, and what was found.
static FIRST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
const PAGE_BITS: u32 = 36;

/// What the frame of a page has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

impl Mark {
    pub(crate) const fn of(space: SpaceId, page: Vpn) -> Mark {
        Mark(1 << 63 | (space.0 as u64) << PAGE_BITS | page.0)
    }
}

/// Forgets what was seen, and what was stored late to frames that nobody has now.
pub(crate) fn begin() {
    N_STALE.store(0, Relaxed);
    for frame in memory::DATA.frames() {
        memory::words(frame)[CONTENTS as usize].store(0, Relaxed);
    }
}

/// How often something stale was used, and if it was: by which CPU first, at which page, and what was there.
pub(crate) fn stale() -> Option<(u64, u64, Vpn, u64)> {
    let (place, found) = (FIRST[0].load(Relaxed), FIRST[1].load(Relaxed));
    let n_stale = N_STALE.load(Relaxed);
    (n_stale > 0).then_some((n_stale, place >> PAGE_BITS, Vpn(place & ((1 << PAGE_BITS) - 1)), found))
}

/// How many accesses found a page, and looked at it, in all; and how many of them were stale.
pub(crate) fn counts() -> (u64, u64) {
    (N_ACCESSES.load(Relaxed), N_STALE_IN_ALL.load(Relaxed))
}

fn note_stale(page: Vpn, found: u64) {
    N_STALE_IN_ALL.fetch_add(1, Relaxed);
    if N_STALE.fetch_add(1, Relaxed) == 0 {
        FIRST[0].store(u64::from(cpu::number().0) << PAGE_BITS | page.0, Relaxed);
        FIRST[1].store(found, Relaxed);
    }
}

/// Takes a frame of data and marks it.
pub(crate) fn take_frame(mark: Mark) -> Option<Pfn> {
    let frame = memory::DATA.take()?;
    let words = memory::words(frame);
    let contents = words[CONTENTS as usize].swap(0, Relaxed);
    // Zero if it was never used.
    if contents != FREE && contents != 0 {
        note_stale(Vpn(mark.0 & ((1 << PAGE_BITS) - 1)), contents);
    }
    words[OWNER as usize].store(mark.0, Relaxed);
    Some(frame)
}

/// Says in a frame that it is free.
pub(crate) fn mark_free(frame: Pfn) {
    let words = memory::words(frame);
    [OWNER, CONTENTS].into_iter().for_each(|index| words[index as usize].store(FREE, Relaxed));
}

/// Looks whether a frame of programs still says so, or was never used.
pub(crate) fn look_at_free(frame: Pfn) {
    for word in [OWNER, CONTENTS].map(|index| memory::words(frame)[index as usize].load(Relaxed)) {
        if word != FREE && word != 0 {
            note_stale(Vpn(frame.0), word);
        }
    }
}

/// Marks a frame free and gives it back.
pub(crate) fn give_frame_back(_: &Metal, frame: shootdown::Frame) {
    give_back(frame.pfn());
}

/// The same for a frame that was never mapped.
pub(crate) fn give_back(frame: Pfn) {
    mark_free(frame);
    memory::DATA.give_back(frame);
}

/// Says of a mapped frame that nobody may store to it, or that all may.
pub(crate) fn set_read_only(frame: Pfn, is_read_only: bool) {
    let owner = &memory::words(frame)[OWNER as usize];
    if is_read_only {
        owner.fetch_or(READ_ONLY, Relaxed);
    } else {
        owner.fetch_and(!READ_ONLY, Relaxed);
    }
}

/// Loads from `page` of `space`, which is loaded, and looks whether it is its frame; tells whether there was one.
pub(crate) fn load(space: SpaceId, page: Vpn) -> bool {
    let mark = Mark::of(space, page);
    let Some(owner) = access::load(page, OWNER) else {
        return false;
    };
    N_ACCESSES.fetch_add(1, Relaxed);
    if owner & !READ_ONLY != mark.0 {
        note_stale(page, owner);
    }
    true
}

/// Stores to `page` of `space`, which is loaded, and looks whether that was permitted by then; tells whether it went
/// well.
pub(crate) fn store(space: SpaceId, page: Vpn) -> bool {
    let mark = Mark::of(space, page);
    // Until interrupts are open again nobody's flush can end, so what the frame says is what it said when we stored.
    let was = cpu::mask_interrupts();
    let stored = access::store(page, CONTENTS, mark.0);
    if stored && let Some(owner) = access::load(page, OWNER).filter(|owner| *owner != mark.0) {
        note_stale(page, owner);
    }
    cpu::restore_interrupts(was);
    N_ACCESSES.fetch_add(u64::from(stored), Relaxed);
    stored
}

/// Tells whether a program has stored to a frame since it was taken.
pub(crate) fn was_stored_to(frame: Pfn) -> bool {
    memory::words(frame)[CONTENTS as usize].load(Relaxed) != 0
}

/// Looks whether anybody else has stored to `page` of `space`, which is loaded.
pub(crate) fn check_contents(space: SpaceId, page: Vpn) {
    // Free only if it is not mapped any more, which `load` finds.
    let permitted = [0, Mark::of(space, page).0, FREE];
    if let Some(contents) = access::load(page, CONTENTS).filter(|contents| !permitted.contains(contents)) {
        note_stale(page, contents);
    }
}
