//! Leaving tables that other address spaces have too.

use core::sync::atomic::Ordering::Relaxed;

use super::Gather;
use crate::{
    addr::{EntryAt, Level, TableFrame, VpnRange},
    counters::Counter,
    fix::Fix,
    format::{Entry, EntryFormat},
    frame::FrameSink,
    machine::{At, Machine, Modify},
    share::Unsharing,
    stale::Stale,
    table::TablesGuard,
    walk::{self, WalksEnded},
};

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Leaves every shared table of `level` that translates some page of `range`. One that nobody else has is an ordinary
    /// table from now on, with all that is in it, for whatever is to become of its translations; where others have it, nothing
    /// is left of it here, also outside of `range`. The pages are there still, and so is the file: who needs them has a fault.
    ///
    /// Before an unmap, the end of an address space, a change of permissions, a move; before an area is split, and with its
    /// split, under one hold of the lock; and before one page is taken away or replaced that was found through the file map.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep. `_unsharing` has the lock of the file map, held for writing, and it is settled
    /// with this gather; flushes in between make no difference.
    ///
    /// # Ordering
    /// As [`unhook`](Gather::unhook).
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "huge_pmd_unshare")]
    pub fn unshare<G>(
        &mut self,
        tables: &mut TablesGuard<'_, M>,
        range: VpnRange,
        level: Level,
        _unsharing: &mut Unsharing<G>,
    ) {
        self.assert_ours(tables);
        let mut left = range.intersection(M::Format::REACH);
        let above = Level(level.0 + 1);
        while !left.is_empty() {
            match tables.entry_above(left.start, above) {
                Some((at, found, Entry::SharedTable(table))) if found == above => {
                    self.unshare_table(tables, at, table, above.span::<M::Format>(left.start));
                    left.start = above.span::<M::Format>(left.start).end;
                }
                Some((_, found, _)) => left.start = found.span::<M::Format>(left.start).end,
                None => left.start = above.span::<M::Format>(left.start).end,
            }
        }
    }

    /// `at` is the entry that leads `pages` to `table`.
    fn unshare_table(&mut self, tables: &TablesGuard<'_, M>, at: EntryAt, table: TableFrame, pages: VpnRange) {
        let m = self.m;
        let sharers = m.descriptor(table).sharers().lock(m);
        if sharers.others(m) == 0 {
            // Ours alone, and nobody can ask for it as long as the file map is held.
            m.update(At::Entry(at), Modify::And(!M::Format::SHARED), Relaxed);
            return;
        }
        m.count(Counter::TableUnshared, 1);
        self.is_unsettled = true;
        self.become_live();
        tables.clear(at, M::Format::table(table) | M::Format::SHARED);
        tables.entries_removed(at.table, 1);
        if m.keeps(Fix::RecordUnshared) {
            self.record(self.stale_unshared(pages, table));
        }
        let n_left = sharers.one_less(m);
        drop(sharers);
        self.owe_quiescence(n_left);
    }

    /// Leaves below, and cached pointers to the table that they are in: it is not freed, and still must not be reached.
    fn stale_unshared(&self, pages: VpnRange, table: TableFrame) -> Stale {
        let level = self.m.descriptor(table).level(self.m).unwrap_or(Level::LEAF);
        let leaves = Stale::leaves(pages, level);
        if self.m.keeps(Fix::FlushUnsharedAsFreed) {
            leaves.join(Stale::table(pages.start, Level(level.0 + 1)))
        } else {
            leaves
        }
    }

    /// As long as somebody else shares the table nobody reuses it: whoever is the last to leave it waits for all.
    fn owe_quiescence(&mut self, n_left: u64) {
        let m = self.m;
        if n_left == 0 {
            m.count(Counter::TableExclusive, 1);
        }
        if n_left > 0 && m.keeps(Fix::QuiesceForLastOnly) {
            m.count(Counter::QuiescenceNotLast, 1);
            return;
        }
        self.n_owed += 1;
        if !m.keeps(Fix::QuiesceOnce) {
            self.end_owed_walks();
        }
    }

    /// Pays what was owed for tables that were left, see [`Unsharing::settle`].
    pub(crate) fn settle_unshared(&mut self) {
        self.flush_translations();
        self.end_owed_walks();
        self.is_unsettled = false;
    }

    /// Waits for walks in tables that are to be used again, unless a flush has ended them.
    pub(super) fn end_owed_walks(&mut self) -> WalksEnded {
        let m = self.m;
        let Some(n_more) = core::mem::take(&mut self.n_owed).checked_sub(1) else {
            return WalksEnded::new();
        };
        m.count(Counter::QuiescenceCoalesced, n_more);
        if !m.keeps(Fix::QuiesceBeforeReuse) {
            return WalksEnded::new();
        }
        if m.keeps(Fix::QuiesceForAllSharers) {
            // Those who walk for whoever has left the table before us are among them.
            walk::quiesce(m)
        } else {
            walk::quiesce_space(m, self.space)
        }
    }
}
