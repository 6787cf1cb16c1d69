//! Going through the translations of a range.

use core::ops::RangeInclusive;

use super::tables::{Leaf, TablesGuard};
use crate::{
    addr::{EntryAt, Level, TableFrame, Vpn, VpnRange},
    format::{Entry, EntryFormat},
    machine::Machine,
    stale::Stale,
};

/// The translations of a range, lowest first; see [`TablesGuard::leaves`].
pub struct Leaves<'t, M: Machine> {
    guard: &'t TablesGuard<'t, M>,
    left: VpnRange,
    here: Option<Place>,
    // The tables on the way to the one we are at, each at the place of its level.
    above: [Option<Place>; MOST_LEVELS],
}

/// As many levels as an architecture has.
const MOST_LEVELS: usize = 5;

/// The table that the next entry is read from.
#[derive(Clone, Copy)]
struct Place {
    table: TableFrame,
    level: Level,
    // Entries that are still to come in this table, or more: then the rest of it is looked through in vain.
    n_ahead: u64,
}

impl<'t, M: Machine> Leaves<'t, M> {
    pub(super) fn new(guard: &'t TablesGuard<'t, M>, range: VpnRange) -> Self {
        const { assert!(M::Format::LEVELS as usize <= MOST_LEVELS, "more levels than there is room for") };
        // Entries of the root may be others', which nobody counted.
        let here = guard.root().map(|table| Place { table, level: M::Format::ROOT, n_ahead: u64::MAX });
        Leaves { guard, left: range.intersection(guard.reach()), here, above: [None; MOST_LEVELS] }
    }

    /// Goes back up from a table of this level, which is behind us, to the lowest one that is not.
    fn go_up(&mut self, level: Level) {
        let mut above = Level(level.0 + 1);
        while above < M::Format::ROOT && self.left.start.index::<M::Format>(above) == 0 {
            above = Level(above.0 + 1);
        }
        self.here = self.above.get(usize::from(above.0) - 1).copied().flatten();
    }

    fn enter(&mut self, from: Place, table: TableFrame, level: Level) {
        self.above[usize::from(from.level.0) - 1] = Some(Place { n_ahead: from.n_ahead - 1, ..from });
        let is_whole = self.left.start.index::<M::Format>(level) == 0;
        let n_ahead = if is_whole { self.guard.n_entries(table) } else { None }.unwrap_or(u64::MAX);
        self.here = Some(Place { table, level, n_ahead });
    }

    /// Steps over the entry that translates the page we are at.
    fn step(&mut self, here: Place, index: usize, n_passed: u64) {
        self.left.start = here.level.span::<M::Format>(self.left.start).end;
        if index + 1 == M::Format::ENTRIES {
            self.go_up(here.level);
        } else {
            self.here = Some(Place { n_ahead: here.n_ahead - n_passed, ..here });
        }
    }

    /// Steps over what is left of a table that has no more entries.
    fn leave_table(&mut self, level: Level) {
        self.left.start = Level(level.0 + 1).span::<M::Format>(self.left.start).end;
        self.go_up(level);
    }
}

/// Consecutive entries of one table, in which leaves may be.
pub(crate) struct Stretch {
    pub(crate) table: TableFrame,
    pub(crate) level: Level,
    pub(crate) n_entries: usize,
    /// No more of them than this are there.
    pub(crate) n_leaves: u64,
    first_index: usize,
    first_page: Vpn,
}

impl Stretch {
    /// The entry of a leaf.
    pub(crate) fn of<M: Machine>(leaf: &Leaf<'_, M>) -> Stretch {
        let EntryAt { table, index } = leaf.at();
        Stretch { table, level: leaf.level(), n_entries: 1, n_leaves: 1, first_index: index, first_page: leaf.page() }
    }

    #[inline]
    pub(crate) const fn at(&self, index: usize) -> EntryAt {
        EntryAt { table: self.table, index: self.first_index + index }
    }

    #[inline]
    pub(crate) const fn page<F: EntryFormat>(&self, index: usize) -> Vpn {
        Vpn(self.first_page.0 + index as u64 * self.level.pages::<F>())
    }

    /// What is stale when entries from the first of these to the last have changed.
    #[inline]
    pub(crate) fn stale<F: EntryFormat>(&self, entries: RangeInclusive<usize>, executable: bool) -> Stale {
        let pages = VpnRange::new(self.page::<F>(*entries.start()), self.page::<F>(entries.end() + 1));
        Stale { executable, ..Stale::leaves(pages, self.level) }
    }
}

impl<M: Machine> Leaves<'_, M> {
    /// The next entries that may be leaves: what lies in the range of a table of level 1, or one entry above.
    pub(crate) fn next_stretch(&mut self) -> Option<Stretch> {
        let here = self.seek()?;
        let first_index = self.left.start.index::<M::Format>(here.level);
        let first_page = self.left.start.align_down::<M::Format>(here.level);
        let mut n_entries = 1;
        if here.level == Level::LEAF {
            n_entries = (M::Format::ENTRIES - first_index).min(self.left.n_pages() as usize);
            self.left.start = Vpn(first_page.0 + n_entries as u64);
            if !self.left.is_empty() {
                self.go_up(here.level);
            }
        } else {
            self.step(here, first_index, 1);
        }
        let Place { table, level, n_ahead } = here;
        Some(Stretch { table, level, n_entries, n_leaves: n_ahead, first_index, first_page })
    }

    /// Goes on to the next table of level 1 that has entries, or leaf above.
    // Returned by way of memory, the place costs every single leaf a stall.
    #[inline(always)]
    fn seek(&mut self) -> Option<Place> {
        while !self.left.is_empty() {
            let here = self.here?;
            if here.n_ahead == 0 {
                self.leave_table(here.level);
                continue;
            }
            if here.level == Level::LEAF {
                return Some(here);
            }
            let at = EntryAt { table: here.table, index: self.left.start.index::<M::Format>(here.level) };
            match self.guard.entry(at, here.level).1 {
                Entry::Leaf(_) => return Some(here),
                Entry::Table(table) if !self.guard.is_empty(table) => self.enter(here, table, here.level.below()?),
                Entry::Table(_) | Entry::SharedTable(_) => self.step(here, at.index, 1),
                Entry::Absent => self.step_over_absent(here, at.index),
            }
        }
        None
    }

    /// Steps over an entry that is absent, and over those that follow it and are absent too.
    fn step_over_absent(&mut self, here: Place, absent: usize) {
        let n_pages = here.level.pages::<M::Format>();
        let first_page = self.left.start.align_down::<M::Format>(here.level);
        let n_in_range = (self.left.end.0 - first_page.0).div_ceil(n_pages);
        let end = M::Format::ENTRIES.min(absent.saturating_add(n_in_range as usize));
        let is_there = |index: &usize| {
            self.guard.entry(EntryAt { table: here.table, index: *index }, here.level).1 != Entry::Absent
        };
        let next = (absent + 1..end).find(is_there).unwrap_or(end);
        self.left.start = Vpn(first_page.0 + (next - absent) as u64 * n_pages);
        if next == M::Format::ENTRIES {
            self.go_up(here.level);
        }
    }
}

impl<'t, M: Machine> Iterator for Leaves<'t, M> {
    type Item = Leaf<'t, M>;

    fn next(&mut self) -> Option<Leaf<'t, M>> {
        loop {
            let here = self.seek()?;
            let page = self.left.start;
            let at = EntryAt { table: here.table, index: page.index::<M::Format>(here.level) };
            match self.guard.entry(at, here.level) {
                (raw, Entry::Leaf(frame)) => {
                    self.step(here, at.index, 1);
                    return Some(self.guard.leaf(at, page, here.level, raw, frame));
                }
                (_, Entry::Absent) => self.step_over_absent(here, at.index),
                _ => self.step(here, at.index, 1),
            }
        }
    }
}
