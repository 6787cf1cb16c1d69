//! Moving translations to other pages of the same address space.
//!
//! Nothing is freed: each frame stays mapped, elsewhere. What must not happen is that somebody finds it there, takes it
//! away and frees it, while TLBs still lead to it from where it was: he flushes the page that he knows. Or that he looks
//! for it where it is not yet, then where it is no longer, and thinks that nobody maps it.

use super::{Gather, Rmap, Unhooked, clear::Goes};
use crate::{
    addr::{EntryAt, Level, TableFrame, Vpn, VpnRange},
    fix::Fix,
    format::{Entry, EntryFormat},
    frame::{Frame, FrameSink},
    machine::Machine,
    policy::Policy,
    stale::Stale,
    table::{Leaf, MapErrorKind, Stretch, TablesGuard},
};

/// Translations move a level 1 table at a time, and the page-table lock is not held for longer.
const EXTENT: Level = Level(2);

/// How far and what one hold of the page-table lock moves.
#[derive(Clone, Copy)]
struct Extent {
    pages: VpnRange,
    distance: u64,
}

/// What there is to move in an extent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing.
    Nothing,
    /// Translations, one by one.
    Leaves,
    /// A table that can go as it is, with all it translates; the entry that points at it.
    Table(EntryAt, TableFrame),
    /// A table of this level that is not ours alone.
    Shared(Level),
}

impl Extent {
    /// The part of `left` up to the next table boundary of the old or the new address.
    fn first_of<F: EntryFormat>(left: VpnRange, distance: u64) -> Extent {
        let here = EXTENT.span::<F>(left.start).end;
        let there = Vpn(left.start.0.wrapping_add(distance));
        let until = EXTENT.span::<F>(there).end.0 - there.0;
        let end = here.min(Vpn(left.start.0.saturating_add(until))).min(left.end);
        Extent { pages: VpnRange::new(left.start, end), distance }
    }

    fn goes_to(&self, page: Vpn) -> Vpn {
        Vpn(page.0.wrapping_add(self.distance))
    }

    /// Tells whether it is all that one table translates, here and there.
    fn is_a_tables<F: EntryFormat>(&self) -> bool {
        let there = self.goes_to(self.pages.start);
        self.pages == EXTENT.span::<F>(self.pages.start) && there == there.align_down::<F>(EXTENT)
    }
}

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Moves the translations that reach into `from`, so that what the first page of it led to is at `to`. Each keeps its
    /// frame, and with it the reference to it; its permissions; and what hardware noted in it until now. Where a level 1
    /// table is moved whole, it moves as it is, if [`Policy::MOVES_TABLES`] says so. Tables that have nothing left to
    /// translate are unhooked.
    ///
    /// Takes the page-table lock itself, once for each table, and before it is released what was moved is flushed: that
    /// is why it is not for the caller to hold. `before_flush` is called before each of these flushes, which it may
    /// [strengthen](Gather::strengthen).
    ///
    /// What `hold_rmap` returns is kept around each of these holds: the locks of the reverse maps that lead to these
    /// pages. Who looks through one for the mappings of a page then finds each at its old address or at its new one, in
    /// whatever order he looks.
    ///
    /// # Context
    /// As [`finish`](Gather::finish); takes the page-table lock. The two ranges do not overlap. For a moment a
    /// page is at neither address; who handles a fault looks under the lock, and finds it.
    ///
    /// # Errors
    /// What is in the way of the first translation that cannot be moved. It is where it was, and so is all that follows;
    /// all before it was moved.
    #[doc(alias = "move_page_tables")]
    pub fn relocate<H>(
        &mut self,
        from: VpnRange,
        to: Vpn,
        hold_rmap: impl Fn() -> H,
        mut before_flush: impl FnMut(&mut Self),
    ) -> Result<(), MapErrorKind> {
        let distance = to.0.wrapping_sub(from.start.0);
        let mut left = from;
        while !left.is_empty() {
            let extent = Extent::first_of::<M::Format>(left, distance);
            left.start = extent.pages.end;
            // A look first, so that large holes disturb nobody. The lock is dropped after it: reverse maps are locked
            // before page tables.
            let is_large = extent.is_a_tables::<M::Format>();
            let seen = if is_large { find(&self.space.lock(self.m), &extent) } else { Found::Leaves };
            if seen == Found::Nothing {
                continue;
            }
            let _held = self.m.keeps(Fix::HoldRmapToMove).then(&hold_rmap);
            let mut tables = self.space.lock(self.m);
            let found = if self.m.keeps(Fix::LookAgainToMove) { find(&tables, &extent) } else { seen };
            let moved = self.relocate_extent(&mut tables, &extent, found);
            before_flush(self);
            if self.m.keeps(Fix::FlushBeforeUnlock) {
                self.flush();
            }
            drop(tables);
            moved?;
        }
        Ok(())
    }

    fn relocate_extent(
        &mut self,
        tables: &mut TablesGuard<'_, M>,
        extent: &Extent,
        found: Found,
    ) -> Result<(), MapErrorKind> {
        if let Found::Table(at, table) = found {
            match tables.vacancy_for_table(extent.goes_to(extent.pages.start), EXTENT) {
                Ok(place) => {
                    self.move_table(tables, extent, (at, table), place);
                    return Ok(());
                }
                // There is a table already.
                Err(MapErrorKind::Occupied(EXTENT)) => {}
                Err(error) => return Err(error),
            }
        }
        if let Found::Shared(level) = found {
            return Err(MapErrorKind::Shared(level));
        }
        let mut left = extent.pages;
        while let Some(leaf) = tables.next_leaf(left) {
            left.start = leaf.span().end;
            let (page, level) = (leaf.page(), leaf.level());
            // The place first: without memory for a table the translation stays where it is.
            let place = tables.vacancy(extent.goes_to(page), level)?;
            self.move_leaf(tables, page, place);
        }
        if extent.pages == EXTENT.span::<M::Format>(extent.pages.start) {
            // All that the table translated is gone, so nothing is left for the table to do.
            self.unhook_tables(tables, extent.pages, extent.pages);
        }
        Ok(())
    }

    /// Clears before it puts, so that a walker never finds the table, and what it translates, at two addresses.
    fn move_table(
        &mut self,
        tables: &TablesGuard<'_, M>,
        extent: &Extent,
        (at, table): (EntryAt, TableFrame),
        place: EntryAt,
    ) {
        self.become_live();
        let was = tables.clear(at, M::Format::table(table));
        tables.entries_removed(at.table, u64::from(M::Format::decode(was, EXTENT) != Entry::Absent));
        // Leaves below, and cached pointers to the table that they are in.
        let leaves = Stale::leaves(extent.pages, Level::LEAF);
        self.record(leaves.join(self.stale_table(extent.pages.start, EXTENT)));
        tables.fill_with_table(place, M::Format::table(table));
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
    pub(super) fn unhook_uncounted(&mut self, leaf: Leaf<'_, M>) -> Option<Unhooked> {
        let mut unhooked = None;
        self.unhook_stretch(leaf.guard(), &Stretch::of(&leaf), Goes::Nowhere, &mut |run| {
            unhooked = Some(*run);
            Rmap::Now
        });
        unhooked
    }
}

/// Looks what there is to move.
fn find<M: Machine>(tables: &TablesGuard<'_, M>, extent: &Extent) -> Found {
    let can_be_moved = |table| !tables.machine().descriptor(table).is_reserved(tables.machine());
    match tables.entry_above(extent.pages.start, EXTENT) {
        None => Found::Nothing,
        Some((_, above, Entry::SharedTable(_))) => Found::Shared(Level(above.0 - 1)),
        Some((at, _, Entry::Table(table)))
            if M::Policy::MOVES_TABLES && extent.is_a_tables::<M::Format>() && can_be_moved(table) =>
        {
            Found::Table(at, table)
        }
        Some(_) => Found::Leaves,
    }
}
