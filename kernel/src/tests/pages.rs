//! Address spaces and pages for tests.

use core::sync::atomic::Ordering::*;

use shootdown::{
    Attributes, EntryFormat as _, Frame, Gather, Level, Machine as _, Pfn, Space, SpaceId, Vpn, VpnRange, residency,
};

use super::Outcome;
use crate::{
    jobs,
    machine::{Format, Metal},
    memory, places,
    witness::{self, Mark},
};

/// All pages that an address space can have.
pub(super) const USER: VpnRange = Format::REACH;
/// A page for tests that need one.
pub(super) const PAGE: Vpn = Vpn(0x7_f88d_e25e);

/// Runs `body` with an address space, and takes that down again.
pub(super) fn with_space(m: &Metal, body: impl FnOnce(&'static Space<Metal>) -> Outcome) -> Outcome {
    let space = create(m, SpaceId(0));
    let outcome = body(space);
    leave_everywhere(m);
    unmap(m, space, USER, USER);
    space.destroy(m);
    outcome
}

/// Brings an address space to life, also where memory is refused at random.
pub(super) fn create(m: &Metal, id: SpaceId) -> &'static Space<Metal> {
    let space = &places::SPACES[id.0 as usize];
    for _ in 0..1000 {
        if space.create(m).is_ok() {
            return space;
        }
    }
    panic!("there is no memory for a root table");
}

/// Makes every CPU let go of the address space it has loaded.
pub(super) fn leave_everywhere(m: &Metal) {
    jobs::on_every_cpu(m, &|m| residency::leave(m));
}

/// Maps a new frame at `page`; tells whether there was memory, and place for it.
pub(super) fn map(m: &Metal, space: &Space<Metal>, page: Vpn, attributes: Attributes) -> bool {
    let Some(frame) = witness::take_frame(Mark::of(space.id(), page)) else {
        return false;
    };
    // SAFETY: the frame was just taken, so the only reference is ours, and every frame is aligned to the lowest level.
    let frame = unsafe { Frame::claim(frame, Level::LEAF) };
    let mapped = space.lock(m).map(page, frame, attributes);
    mapped.map_err(|error| witness::give_back(error.frame.pfn())).is_ok()
}

/// Takes the pages of `range` out, and the tables that are empty then and translate nothing outside of `limits`.
/// Dawdles where somebody else might find what has gone.
pub(super) fn unmap(m: &Metal, space: &Space<Metal>, range: VpnRange, limits: VpnRange) {
    let mut gather = Gather::new(m, space, &witness::give_frame_back);
    let mut tables = space.lock(m);
    for leaf in tables.leaves(range) {
        gather.unhook(leaf);
    }
    gather.unhook_tables(&mut tables, range, limits);
    drop(tables);
    jobs::dawdle();
    gather.finish();
}

/// Makes the entry of `page` lead to another frame behind the library's back, and returns the one it led to.
pub(super) fn replace_entry(m: &Metal, space: &Space<Metal>, page: Vpn, frame: Pfn) -> Option<Pfn> {
    let tables = space.lock(m);
    let leaf = tables.find(page)?;
    let entry = &memory::words(leaf.at().table.0)[leaf.at().index];
    let bits = entry.load(Relaxed) & !(leaf.frame().0 << 12);
    entry.store(bits | frame.0 << 12, Relaxed);
    Some(leaf.frame())
}

/// Tells whether this is the first CPU, which directs a test.
pub(super) fn directs(m: &Metal) -> bool {
    m.cpu().0 == 0
}
