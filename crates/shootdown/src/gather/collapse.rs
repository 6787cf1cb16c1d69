//! A table full of small pages becomes one large page, and a large page a table of small ones.
//!
//! A table that is taken out for this is not freed but emptied, and used again: nobody may be walking in it by then. And the
//! two forms are never there one right after the other: some processors do not stand translations of two sizes for one page
//! (AMD erratum 383, Arm's break-before-make), so what was there is flushed before what is to be there can be found.

use core::sync::atomic::Ordering::Relaxed;

use super::{Gather, Unhooked, release_run};
use crate::{
    addr::{EntryAt, Level, Pfn, TableFrame, Vpn, VpnRange},
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    frame::{Frame, FrameRun, FrameSink},
    machine::{At, Machine},
    policy::Policy,
    stale::Stale,
    table::{Leaf, QuiescentTable, TablesGuard, UnlinkedTable},
};

/// Why a page could not be made larger or smaller. Everything is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotResized {
    /// No table of small pages leads there: nothing, or a large page already, or a shared table, or pages that are smaller
    /// still.
    NoTable,
    /// No large page is there.
    NotLarge,
    /// This page is not mapped.
    Hole(Vpn),
    /// The caller did not want this page to go.
    Kept(Vpn),
}

impl core::fmt::Display for NotResized {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            NotResized::NoTable => f.write_str("there is no table of small pages that is not shared"),
            NotResized::NotLarge => f.write_str("no page of that size is mapped there"),
            NotResized::Hole(page) => write!(f, "page {:#x} is not mapped", page.0),
            NotResized::Kept(page) => write!(f, "page {:#x} must stay as it is", page.0),
        }
    }
}

impl core::error::Error for NotResized {}

/// A table, the entry that leads to it, and what it translates.
struct Small {
    pointer: EntryAt,
    table: TableFrame,
    pages: VpnRange,
    level: Level,
}

impl Small {
    /// The table that a page of `large` size at `page` would take the place of.
    fn find<M: Machine>(tables: &TablesGuard<'_, M>, page: Vpn, large: Level) -> Result<Small, NotResized> {
        let m = tables.machine();
        match (tables.entry_above(page, large), large.below()) {
            (Some((pointer, found, Entry::Table(table))), Some(level))
                if found == large && !m.descriptor(table).is_reserved(m) =>
            {
                let small = Small { pointer, table, pages: large.span::<M::Format>(page), level };
                if small.has_tables(tables) { Err(NotResized::NoTable) } else { Ok(small) }
            }
            _ => Err(NotResized::NoTable),
        }
    }

    /// Tells whether some of its pages are smaller still.
    fn has_tables<M: Machine>(&self, tables: &TablesGuard<'_, M>) -> bool {
        let Small { table, level, .. } = *self;
        let is_table = |index| tables.entry(EntryAt { table, index }, level).1.table().is_some();
        level > Level::LEAF && (0..M::Format::ENTRIES).any(is_table)
    }

    /// Its leaves, or the page where there is none.
    fn leaves<'t, M: Machine>(
        &self,
        tables: &'t TablesGuard<'_, M>,
    ) -> impl Iterator<Item = Result<Leaf<'t, M>, Vpn>> + use<'t, M> {
        let Small { table, pages, level, .. } = *self;
        (0..M::Format::ENTRIES).map(move |index| {
            let (at, page) = (EntryAt { table, index }, Vpn(pages.start.0 + index as u64 * level.pages::<M::Format>()));
            match tables.entry(at, level) {
                (raw, Entry::Leaf(frame)) => Ok(tables.leaf(at, page, level, raw, frame)),
                _ => Err(page),
            }
        })
    }

    /// Asks for each of its leaves whether it may go.
    fn ask<M: Machine>(
        &self,
        tables: &TablesGuard<'_, M>,
        may_go: &impl Fn(&Leaf<'_, M>) -> bool,
    ) -> Result<(), NotResized> {
        self.leaves(tables).try_for_each(|leaf| match leaf {
            Ok(leaf) if may_go(&leaf) => Ok(()),
            Ok(leaf) => Err(NotResized::Kept(leaf.page())),
            Err(page) => Err(NotResized::Hole(page)),
        })
    }

    fn stale(&self) -> Stale {
        Stale::leaves(self.pages, self.level).join(Stale::table(self.pages.start, Level(self.level.0 + 1)))
    }
}

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Puts `frame`, which is a size larger, in the place of the whole table of small pages that `page` lies in: takes the
    /// table out, flushes, waits for walks in it, lets `copy` bring the contents of each small frame to its part of the large
    /// one, and maps that, with what `attributes` make of all that the small ones permitted and noted. The small frames go to
    /// the sink. Returns the table, which is empty, to be kept for a [split](Gather::split) or freed.
    ///
    /// `may_go` is asked for each page, first before anything is done, and then when nobody can reach or
    /// [pin](crate::walk::pin) it any more: only who finds its references then to be what they should be knows that they will
    /// stay so.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep, if `copy` does not; flushes, and calls the sink.
    ///
    /// # Errors
    /// [`NotResized`] and the frame; everything is as it was.
    ///
    /// # Panics
    /// If the guard belongs to another address space, or the frame is a base page.
    #[doc(alias = "collapse_huge_page")]
    pub fn collapse(
        &mut self,
        tables: &TablesGuard<'_, M>,
        page: Vpn,
        frame: Frame,
        may_go: impl Fn(&Leaf<'_, M>) -> bool,
        attributes: impl FnOnce(Attributes) -> Attributes,
        copy: impl FnMut(Pfn, Pfn),
    ) -> Result<QuiescentTable, (NotResized, Frame)> {
        self.assert_ours(tables);
        let large = frame.level();
        assert!(large > Level::LEAF && large <= M::Format::HIGHEST_LEAF, "a frame of level {} is not large", large.0);
        let small = match Small::find(tables, page, large) {
            Ok(small) => small,
            Err(error) => return Err((error, frame)),
        };
        if let Err(error) = small.ask(tables, &may_go) {
            return Err((error, frame));
        }
        let table = self.take_out(tables, &small);
        if let Err(error) = small.ask(tables, &may_go) {
            // The table with it.
            tables.fill_with_table(small.pointer, M::Format::table(table.frame()));
            return Err((error, frame));
        }
        let noted = copy_all(tables, &small, &frame, copy);
        for leaf in small.leaves(tables).flatten() {
            self.m.store(At::Entry(leaf.at()), 0, Relaxed);
            release_run(self.m, self.sink, FrameRun::regain(leaf.frame(), 1, leaf.level()));
        }
        tables.entries_removed(small.table, M::Format::ENTRIES as u64);
        tables.fill(small.pointer, frame, attributes(noted));
        Ok(table)
    }

    /// Takes a table out that is to be used again: when this returns nobody is in it.
    fn take_out(&mut self, tables: &TablesGuard<'_, M>, small: &Small) -> QuiescentTable {
        let table = self.unlink_small(tables, small);
        self.n_owed += 1;
        self.flush_translations();
        table.quiesced(self.end_owed_walks())
    }

    /// Takes a table out as it is.
    fn unlink_small(&mut self, tables: &TablesGuard<'_, M>, small: &Small) -> UnlinkedTable {
        self.become_live();
        let table = tables.unlink(small.pointer, M::Format::table(small.table), small.table);
        if !M::Policy::MOVES_TABLES {
            let leaves = small.leaves(tables).flatten();
            leaves.for_each(|leaf| self.m.unhooked(self.space.id(), leaf.page(), leaf.level()));
        }
        self.record(small.stale());
        table
    }

    /// Puts a table of small pages in the place of a large one, to the parts of its frame, which permit the same.
    ///
    /// `may_go` is asked when nobody can reach the large page, or [pin](crate::walk::pin) it, any more. Its one reference
    /// becomes one for each small page: [`page::split`](crate::page::split) does that, or whatever the kernel has in its place,
    /// called as `share_out`.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep; flushes.
    ///
    /// # Errors
    /// [`NotResized`] and the table; everything is as it was.
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "split_huge_pmd")]
    pub fn split(
        &mut self,
        tables: &TablesGuard<'_, M>,
        page: Vpn,
        table: QuiescentTable,
        may_go: impl FnOnce(&Leaf<'_, M>) -> bool,
        share_out: impl FnOnce(Pfn),
    ) -> Result<(), (NotResized, QuiescentTable)> {
        self.assert_ours(tables);
        let level = table.level(self.m);
        let Some(leaf) = tables.find(page).filter(|leaf| leaf.level().below() == Some(level)) else {
            return Err((NotResized::NotLarge, table));
        };
        let (at, frame) = (leaf.at(), leaf.frame());
        let was = self.break_leaf(tables, &leaf);
        if !may_go(&leaf) {
            tables.put(at, was);
            return Err((NotResized::Kept(leaf.page()), table));
        }
        share_out(frame);
        fill_table(tables, &table, level, frame, M::Format::attributes(was));
        tables.put(at, M::Format::table(table.frame()));
        if !self.m.keeps(Fix::BreakBeforeMake) {
            self.flush_translations();
        }
        Ok(())
    }

    /// Takes a large leaf out for a moment, during which nobody reaches it; returns what it was in the end.
    fn break_leaf(&mut self, tables: &TablesGuard<'_, M>, leaf: &Leaf<'_, M>) -> u64 {
        self.flush_other_sizes(leaf.level());
        self.become_live();
        self.record(Stale::leaves(leaf.span(), leaf.level()));
        if !self.m.keeps(Fix::BreakBeforeMake) {
            return leaf.raw();
        }
        let was = tables.clear(leaf.at(), leaf.raw());
        self.n_owed += 1;
        self.flush_translations();
        self.end_owed_walks();
        was
    }

    /// Takes out the table that translates `page` with all that is in it, at once: one entry is cleared, and not each. `each`
    /// hears of what was in it when that is flushed, so what hardware noted in it is complete. The frames go to the sink, and
    /// the table after them, when walks in it have ended.
    ///
    /// For the small pages of a file that has a large one in their place: whoever needs them has a fault. Frames that were
    /// mapped dirty are `each`'s to mark.
    ///
    /// Returns whether there was such a table.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep; flushes, and calls the sink.
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "retract_page_tables")]
    pub fn retract(
        &mut self,
        tables: &TablesGuard<'_, M>,
        page: Vpn,
        large: Level,
        mut each: impl FnMut(&Unhooked),
    ) -> bool {
        self.assert_ours(tables);
        let Ok(small) = Small::find(tables, page, large) else {
            return false;
        };
        self.make_room_for_table();
        let table = self.unlink_small(tables, &small);
        self.flush_translations();
        let mut n_leaves = 0;
        for leaf in small.leaves(tables).flatten() {
            let (page, level, frame, attributes) = (leaf.page(), leaf.level(), leaf.frame(), leaf.attributes());
            each(&Unhooked { page, level, frame, count: 1, attributes });
            release_run(self.m, self.sink, FrameRun::regain(frame, 1, level));
            n_leaves += 1;
        }
        tables.entries_removed(small.table, n_leaves);
        self.hold_table(table);
        true
    }
}

/// Copies all small frames to their parts of a large one, and returns what is noted or permitted in any of them.
fn copy_all<M: Machine>(
    tables: &TablesGuard<'_, M>,
    small: &Small,
    frame: &Frame,
    mut copy: impl FnMut(Pfn, Pfn),
) -> Attributes {
    let mut noted = Attributes::default();
    for (index, leaf) in (0_u64..).zip(small.leaves(tables).flatten()) {
        let attributes = leaf.attributes();
        noted = Attributes {
            writable: noted.writable | attributes.writable,
            executable: noted.executable | attributes.executable,
            user: noted.user | attributes.user,
            accessed: noted.accessed | attributes.accessed,
            dirty: noted.dirty | attributes.dirty,
        };
        copy(leaf.frame(), Pfn(frame.pfn().0 + index * small.level.pages::<M::Format>()));
    }
    noted
}

/// Fills an empty table with leaves to the parts of a large frame.
fn fill_table<M: Machine>(
    tables: &TablesGuard<'_, M>,
    table: &QuiescentTable,
    level: Level,
    first: Pfn,
    attributes: Attributes,
) {
    for index in 0..M::Format::ENTRIES {
        let frame = Frame::regain(Pfn(first.0 + index as u64 * level.pages::<M::Format>()), level);
        tables.fill(EntryAt { table: table.frame(), index }, frame, attributes);
    }
}
