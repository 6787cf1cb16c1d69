//! Changes that hold when they return: nobody can do more with a page than its entry says.
//!
//! Whoever copies or compares a page, or writes it out, wants that before he reads it. An entry that already forbids stores
//! is no proof: who made it so may not have flushed yet.

use super::{Gather, Unhooked, clear::Goes, release::Resched, release_run};
use crate::{
    addr::{Pfn, Vpn},
    fix::Fix,
    format::Attributes,
    frame::{Frame, FrameRun, FrameSink},
    machine::Machine,
    stale::Stale,
    table::{Leaf, TablesGuard},
};

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Changes what a translation permits, as [`change`](Gather::change) does, and returns what it permitted before; and
    /// when it returns, no CPU can do more than that. Does not flush if the entry permitted no more before and nobody else's
    /// flush is pending.
    ///
    /// For write-back, which makes a page read-only and clean before it reads it; for merging equal pages.
    ///
    /// # Context
    /// Under the page-table lock, which the leaf proves. Does not sleep; may flush.
    ///
    /// # Panics
    /// If the leaf belongs to another address space.
    #[doc(alias = "page_mkclean_one")]
    #[doc(alias = "write_protect_page")]
    pub fn restrict(&mut self, leaf: Leaf<'_, M>, attributes: Attributes) -> Attributes {
        let stale = Stale::leaves(leaf.span(), leaf.level());
        let was = self.change(leaf, attributes);
        if self.must_ask_for_others() {
            self.record(stale);
        }
        self.flush_translations();
        was
    }

    /// Puts `frame` where `page` leads elsewhere: takes the translation out, flushes, lets `copy` bring the contents from
    /// the old frame to the new one, and maps that, with what `attributes` make of the old ones. Returns what the
    /// translation was; the gather has the old frame in custody. No store falls between the two.
    ///
    /// For copies on write, and for migration. Does not flush for a page that user mode had no access to, unless somebody
    /// else's flush is pending.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep, if `copy` does not; flushes.
    ///
    /// # Errors
    /// The frame comes back if the page is not mapped by an entry of the frame's level; nothing is changed.
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "wp_page_copy")]
    #[doc(alias = "try_to_migrate_one")]
    pub fn replace(
        &mut self,
        tables: &TablesGuard<'_, M>,
        page: Vpn,
        frame: Frame,
        attributes: impl FnOnce(Attributes) -> Attributes,
        copy: impl FnOnce(Pfn, Pfn),
    ) -> Result<Unhooked, Frame> {
        self.assert_ours(tables);
        let Some(leaf) = tables.find(page).filter(|leaf| leaf.level() == frame.level()) else {
            return Err(frame);
        };
        let goes = self.where_frames_go();
        if !self.has_room_for(goes) {
            self.flush_for_room(Resched::Never);
        }
        let (at, permitted, new) = (leaf.at(), leaf.attributes(), frame.pfn());
        let is_in_tlbs = permitted.user || self.must_ask_for_others();
        let copies_first = !permitted.writable && !self.m.keeps(Fix::FlushBeforeCopy);
        let mut copy = Some(copy);
        let mut copy_once = |old| copy.take().into_iter().for_each(|copy| copy(old, new));
        if copies_first {
            copy_once(leaf.frame());
        }
        let recorded = self.stale;
        let Some(was) = self.unhook_uncounted(leaf) else {
            return Err(frame);
        };
        if is_in_tlbs {
            self.flush_translations();
        } else {
            self.stale = recorded;
        }
        copy_once(was.frame);
        tables.fill(at, frame, attributes(was.attributes));
        self.keep(FrameRun::regain(was.frame, was.count, was.level), goes);
        Ok(was)
    }

    /// Takes frames that were flushed into custody, in room that was made for them.
    fn keep(&mut self, frames: FrameRun, goes: Goes) {
        match goes {
            Goes::ToRoom => {
                let mut room = self.pages.room();
                room.push_run(&frames, super::Rmap::Now);
                let filled = room.filled();
                self.pages.fill(filled);
            }
            Goes::Away => release_run(self.m, self.sink, frames),
            Goes::Nowhere => {}
        }
    }
}
