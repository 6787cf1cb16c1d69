//! Moving translations to other pages of the same address space.
//!
//! Nothing is freed: each frame stays mapped, elsewhere. What must not happen is that somebody finds it there, takes it
//! away and frees it, while TLBs still lead to it from where it was: he flushes the page that he knows.

use super::{Gather, Rmap, Unhooked, clear::Goes};
use crate::{
    addr::{EntryAt, Level, Vpn, VpnRange},
    fix::Fix,
    format::EntryFormat,
    frame::{Frame, FrameSink},
    machine::Machine,
    table::{Leaf, MapErrorKind, Stretch, TablesGuard},
};

/// Translations move a level 1 table at a time, and the page-table lock is not held for longer.
const EXTENT: Level = Level(2);

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Moves the translations that reach into `from`, so that what the first page of it led to is at `to`. Each keeps its
    /// frame, and with it the reference to it; its permissions; and what hardware noted in it until now. The tables that
    /// have nothing left to translate are unhooked.
    ///
    /// Takes the page-table lock itself, once for each table, and before it is released what was moved is flushed: that
    /// is why it is not for the caller to hold. `before_flush` is called before each of these flushes, which it may
    /// [strengthen](Gather::strengthen).
    ///
    /// # Context
    /// As [`finish`](Gather::finish); takes the page-table lock. The two ranges do not overlap. For a moment a
    /// page is at neither address; who handles a fault looks under the lock, and finds it.
    ///
    /// # Errors
    /// What is in the way of the first translation that cannot be moved. It is where it was, and so is all that follows;
    /// all before it was moved.
    #[doc(alias = "move_page_tables")]
    pub fn relocate(
        &mut self,
        from: VpnRange,
        to: Vpn,
        mut before_flush: impl FnMut(&mut Self),
    ) -> Result<(), MapErrorKind> {
        let distance = to.0.wrapping_sub(from.start.0);
        let mut left = from;
        while !left.is_empty() {
            let extent = VpnRange::new(left.start, extent_end::<M::Format>(left.start, distance).min(left.end));
            let mut tables = self.space.lock(self.m);
            let moved = self.relocate_extent(&mut tables, extent, distance);
            if moved.is_ok() && extent == EXTENT.span::<M::Format>(extent.start) {
                // All that the table translated is gone, so nothing is left for the table to do.
                self.unhook_tables(&mut tables, extent, extent);
            }
            before_flush(self);
            if self.m.keeps(Fix::FlushBeforeUnlock) {
                self.flush();
            }
            drop(tables);
            moved?;
            left.start = extent.end;
        }
        Ok(())
    }

    fn relocate_extent(
        &mut self,
        tables: &mut TablesGuard<'_, M>,
        extent: VpnRange,
        distance: u64,
    ) -> Result<(), MapErrorKind> {
        let mut left = extent;
        while let Some(leaf) = tables.next_leaf(left) {
            left.start = leaf.span().end;
            let (page, level) = (leaf.page(), leaf.level());
            // The place first: without memory for a table the translation stays where it is.
            let place = tables.vacancy(Vpn(page.0.wrapping_add(distance)), level)?;
            self.move_leaf(tables, page, place);
        }
        Ok(())
    }

    /// Clears before it puts, so that a store is noted either in what is cleared or in what is put.
    fn move_leaf(&mut self, tables: &TablesGuard<'_, M>, page: Vpn, place: EntryAt) {
        if let Some(leaf) = tables.find(page)
            && let Some(was) = self.unhook_uncounted(leaf)
        {
            tables.fill(place, Frame::regain(was.frame, was.level), was.attributes);
        }
    }

    /// Unhooks a translation whose frame, and the reference to it, the caller keeps.
    fn unhook_uncounted(&mut self, leaf: Leaf<'_, M>) -> Option<Unhooked> {
        let mut unhooked = None;
        self.unhook_stretch(leaf.guard(), &Stretch::of(&leaf), Goes::Nowhere, &mut |run| {
            unhooked = Some(*run);
            Rmap::Now
        });
        unhooked
    }
}

/// The end of what one hold of the lock moves: the next table boundary of the old or the new address.
fn extent_end<F: EntryFormat>(page: Vpn, distance: u64) -> Vpn {
    let here = EXTENT.span::<F>(page).end;
    let there = Vpn(page.0.wrapping_add(distance));
    let until = EXTENT.span::<F>(there).end.0 - there.0;
    here.min(Vpn(page.0.saturating_add(until)))
}
