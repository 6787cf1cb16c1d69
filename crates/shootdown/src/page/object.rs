//! Pages that objects have: how many translations map each, and whether it differs from what was last written out.
//!
//! Who writes a page back takes the mark off *first*, then makes every translation clean and read-only, and then writes. A
//! store that comes meanwhile needs a fault, which marks the page again. If nobody maps the page there is nothing to make
//! clean: so a translation counts as long as any TLB may have it ([`Rmap::Delayed`](crate::Rmap::Delayed)).

use core::sync::atomic::Ordering::*;

use super::Frames;
use crate::{addr::Pfn, frame::Frame, machine::Modify};

/// No object has the frame, or had it while somebody still maps it.
pub(super) const NO_OBJECT: u64 = 0;

// Otherwise a mark, and above it one more than the number of translations.
const DIRTY: u64 = 1;
const ONE: u64 = 2;

/// Says that an object has the frame, which nobody else has yet: clean, and mapped nowhere.
pub fn adopt<M: Frames>(m: &M, frame: &Frame) {
    m.page(frame.pfn()).mappings.store(m, ONE, Relaxed);
}

/// Tells whether an object has the frame, or had it while somebody still maps it.
#[must_use]
pub fn is_adopted<M: Frames>(m: &M, frame: Pfn) -> bool {
    // Changes before anybody else knows of the frame, and when nobody does any more.
    m.page(frame).mappings.load(m, Relaxed) != NO_OBJECT
}

/// Counts one more translation of an object's frame, which the caller is about to make.
pub fn count_mapping<M: Frames>(m: &M, frame: Pfn) {
    // Whoever clears a mark that is set afterwards sees this, too: it is the same word.
    m.page(frame).mappings.update(m, Modify::Add(ONE), Relaxed);
}

/// Takes translations out of the count, one of each of `count` frames of an object that follow each other. No TLB has them
/// any more, or no store can be made through any of them.
pub fn uncount_mappings<M: Frames>(m: &M, first: Pfn, count: u64) {
    for index in 0..count {
        // ORDER(remove/look): after the flush, if there was anything to flush.
        m.page(Pfn(first.0 + index)).mappings.update(m, Modify::Add(ONE.wrapping_neg()), Release);
    }
}

/// Tells whether a translation of an object's frame is in some table or in some TLB.
#[must_use]
pub fn is_mapped<M: Frames>(m: &M, frame: &Frame) -> bool {
    // ORDER(remove/look): if none is counted, the flush came before, and nothing is stored through any of them.
    m.page(frame.pfn()).mappings.load(m, Acquire) >= 2 * ONE
}

/// Notes that an object's frame differs from what was written out: before somebody is allowed to store to it, and again
/// when a translation is taken away that somebody has stored through.
#[doc(alias = "folio_mark_dirty")]
pub fn mark_dirty<M: Frames>(m: &M, frame: Pfn) {
    // The page-table lock orders this with who makes translations clean.
    m.page(frame).mappings.update(m, Modify::Or(DIRTY), Relaxed);
}

/// Takes the mark off an object's frame; tells whether there was one.
///
/// What is to be done about the translations that it was made for comes after this.
#[doc(alias = "folio_clear_dirty_for_io")]
pub fn take_dirty<M: Frames>(m: &M, frame: &Frame) -> bool {
    // ORDER(remove/look): whoever had a mapping and has left it has marked the page before, and flushed.
    m.page(frame.pfn()).mappings.modify(m, Modify::And(!DIRTY), Acquire) & DIRTY != 0
}

/// Tells whether an object's frame is marked.
#[must_use]
pub fn is_dirty<M: Frames>(m: &M, frame: &Frame) -> bool {
    m.page(frame.pfn()).mappings.load(m, Relaxed) & DIRTY != 0
}
