//! Clearing and changing entries, and noting what is to be flushed for it.

use super::{Gather, release::Resched};
use crate::{
    addr::{EntryAt, Level, Pfn, TableFrame, Vpn, VpnRange},
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    frame::FrameSink,
    machine::Machine,
    policy::Policy,
    stale::Stale,
    table::{Leaf, Stretch, TablesGuard},
};

/// When a kernel takes a mapping that was unhooked out of its reverse map, which knows who maps a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rmap {
    /// It has done so, or has none.
    Now,
    /// In [`FrameSink::remove_rmap`], after the flush and still under the page-table lock. For dirty pages of files: who
    /// writes one back looks for its mappings to make them read-only, and must find this one as long as a TLB may let
    /// stores through (Linux 5df397dec7c4).
    Delayed,
}

/// How far to go in one hold of the page-table lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until there is no more room.
    Full,
    /// Until there is no more room, or to the end of a table of level 1 in which something is delayed.
    FullOrDelayed,
}

/// What a translation was, now that it is unhooked; or several that follow each other in one table, to frames that follow
/// each other, and were alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unhooked {
    /// The first page they mapped.
    pub page: Vpn,
    /// The level they sat at.
    pub level: Level,
    /// The first frame they mapped to. The gather has it, and those that follow, in custody.
    pub frame: Pfn,
    /// How many they are: 1 if they sat above level 1.
    pub count: u64,
    /// What each permitted. `dirty` includes every store that hardware made until now through any of them.
    pub attributes: Attributes,
}

impl Unhooked {
    /// Returns the pages they mapped.
    #[must_use]
    pub const fn pages<F: EntryFormat>(&self) -> VpnRange {
        VpnRange::from_len(self.page, self.count * self.level.pages::<F>())
    }
}

impl<M: Machine, S: FrameSink<M>> Gather<'_, M, S> {
    /// Unhooks a translation and takes custody of its frame. Returns what it was, or `None` if it is gone already.
    ///
    /// # Context
    /// Under the page-table lock, which the leaf proves. Does not sleep; flushes first if there is no room.
    ///
    /// # Ordering
    /// The entry is cleared when this returns; no TLB has been told.
    ///
    /// # Panics
    /// If the leaf belongs to another address space.
    pub fn unhook(&mut self, leaf: Leaf<'_, M>) -> Option<Unhooked> {
        self.assert_ours(leaf.guard());
        let mut unhooked = None;
        let goes = self.where_frames_go();
        // Room first: an entry that is cleared while there is no place for its frame would lose either the frame or
        // the page's part of the range.
        if !self.has_room_for(goes) {
            self.flush_for_room(Resched::Never);
        }
        self.unhook_stretch(leaf.guard(), &Stretch::of(&leaf), goes, &mut |run| {
            unhooked = Some(*run);
            Rmap::Now
        });
        unhooked
    }

    /// Unhooks every translation that reaches into `range`, and takes custody of their frames. `each` hears of them, and
    /// says when they leave the reverse map; those that are [`Delayed`](Rmap::Delayed) have left it when this returns.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep; flushes first if there is no room, and at the end if something is
    /// delayed.
    ///
    /// # Ordering
    /// As [`unhook`](Gather::unhook).
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "zap_pte_range")]
    pub fn unhook_range(
        &mut self,
        tables: &TablesGuard<'_, M>,
        range: VpnRange,
        mut each: impl FnMut(&Unhooked) -> Rmap,
    ) {
        self.assert_ours(tables);
        let mut left = self.unhook_until(tables, range, Until::Full, &mut each);
        while !left.is_empty() {
            self.flush_for_room(Resched::Never);
            left = self.unhook_until(tables, left, Until::Full, &mut each);
        }
        self.settle();
    }

    /// The same, taking the page-table lock itself, and letting others run between flushes. The best way to unmap many
    /// pages.
    ///
    /// If something in a table of level 1 is [`Delayed`](Rmap::Delayed), the lock is not held beyond that table: it is one
    /// flush for each such table, where there is memory for a batch, and what was held until then is let go of.
    ///
    /// # Context
    /// As [`finish`](Gather::finish); takes the page-table lock.
    #[doc(alias = "unmap_page_range")]
    pub fn unmap(&mut self, range: VpnRange, mut each: impl FnMut(&Unhooked) -> Rmap) {
        let mut left = range;
        if !self.m.keeps(Fix::LookForDebtLast) {
            self.pay_now();
        }
        loop {
            let tables = self.space.lock(self.m);
            left = self.unhook_until(&tables, left, Until::FullOrDelayed, &mut each);
            let has_delayed = self.pages.has_delayed();
            self.settle();
            drop(tables);
            // Only the slots and the last batch are looked through for what is delayed: so the next table begins with
            // all of the room, or it would be flushed twice.
            if has_delayed || !left.is_empty() {
                self.flush_for_room(Resched::BetweenChunks);
            }
            if left.is_empty() {
                return;
            }
        }
    }

    /// Returns what is left of `range` when there is no more room, or at the end of a table that must be flushed.
    #[inline]
    fn unhook_until(
        &mut self,
        tables: &TablesGuard<'_, M>,
        range: VpnRange,
        until: Until,
        each: &mut impl FnMut(&Unhooked) -> Rmap,
    ) -> VpnRange {
        let goes = self.where_frames_go();
        let mut leaves = tables.leaves(range);
        while let Some(stretch) = leaves.next_stretch() {
            let n_done = self.unhook_stretch(tables, &stretch, goes, each);
            let must_pause = stretch.level == Level::LEAF && self.pages.has_delayed() && until == Until::FullOrDelayed;
            if n_done < stretch.n_entries || must_pause {
                return VpnRange::new(stretch.page::<M::Format>(n_done).max(range.start).min(range.end), range.end);
            }
        }
        VpnRange::new(range.end, range.end)
    }

    /// Changes what a translation permits and returns what it permitted before. Records a flush if the architecture
    /// needs one for this change.
    ///
    /// # Context
    /// As [`unhook`](Gather::unhook).
    ///
    /// # Panics
    /// If the leaf belongs to another address space.
    pub fn change(&mut self, mut leaf: Leaf<'_, M>, attributes: Attributes) -> Attributes {
        self.assert_ours(leaf.guard());
        self.flush_other_sizes(leaf.level());
        self.become_live();
        let raw = leaf.change(|raw| M::Format::with_attributes(raw, attributes));
        let was = M::Format::attributes(raw);
        if self.is_stale(raw, leaf.raw()) {
            self.record(Stale { executable: was.executable, ..Stale::leaves(leaf.span(), leaf.level()) });
        } else {
            leaf.tell_if_looser(raw);
        }
        was
    }

    /// Makes the translations of `range` permit this, and stores only where `may_write` says so, too. Records a flush as
    /// [`change`](Gather::change) does, at a fraction of the price. For a translation that permits no less than before there is
    /// none if `looser` spares it, or if user mode could not use the page at all: then no TLB can hold it for user mode. What
    /// hardware has noted stays.
    ///
    /// # Context
    /// As [`unhook`](Gather::unhook), under the lock that the guard holds; `may_write` is called under it.
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "change_protection")]
    pub fn change_range(
        &mut self,
        tables: &TablesGuard<'_, M>,
        range: VpnRange,
        (permissions, looser): (Attributes, WhenLooser),
        mut may_write: impl FnMut(&Leaf<'_, M>) -> bool,
    ) {
        self.assert_ours(tables);
        let spares = looser == WhenLooser::Fault && M::Format::FAULT_FORGETS;
        let mut writes = |leaf: &Leaf<'_, M>| permissions.writable && may_write(leaf);
        if range.n_pages() == 1 {
            // Found at once, since it is what programs do most.
            if let Some(leaf) = tables.find(range.start) {
                self.flush_other_sizes(leaf.level());
                let stale = Stale::leaves(leaf.span(), leaf.level());
                let writes = writes(&leaf);
                if let Some(was) = self.permit(leaf, permissions, writes, spares) {
                    self.record(Stale { executable: M::Format::attributes(was).executable, ..stale });
                }
            }
            return;
        }
        let mut leaves = tables.leaves(range);
        while let Some(stretch) = leaves.next_stretch() {
            self.flush_other_sizes(stretch.level);
            let mut stale = StaleEntries { first: usize::MAX, last: 0, executable: false };
            let mut n_ahead = stretch.n_leaves;
            for index in 0..stretch.n_entries {
                if n_ahead == 0 {
                    break;
                }
                let (at, page) = (stretch.at(index), stretch.page::<M::Format>(index));
                let (raw, Entry::Leaf(frame)) = tables.entry(at, stretch.level) else {
                    continue;
                };
                n_ahead -= 1;
                let leaf = tables.leaf(at, page, stretch.level, raw, frame);
                let writes = writes(&leaf);
                if let Some(was) = self.permit(leaf, permissions, writes, spares) {
                    stale.first = stale.first.min(index);
                    stale.last = index;
                    stale.executable |= M::Format::attributes(was).executable;
                }
            }
            if stale.first <= stale.last {
                self.record(stretch.stale::<M::Format>(stale.first..=stale.last, stale.executable));
            }
        }
    }

    /// Makes a translation permit this, but stores only if it `writes`; returns what it was if a flush must be recorded.
    #[inline(always)]
    fn permit(&mut self, mut leaf: Leaf<'_, M>, permissions: Attributes, writes: bool, spares: bool) -> Option<u64> {
        if !leaf.attributes().user {
            // By value, so that the leaf of all others stays in registers.
            let (tables, at, page, level) = (leaf.guard(), leaf.at(), leaf.page(), leaf.level());
            if permit_unused(tables, (at, page, level), writes, permissions) {
                return None;
            }
        }
        self.become_live();
        // Written twice: a conversion known before `change` is worked out once for all leaves.
        let was = if writes {
            leaf.change(|raw| M::Format::with_permissions(raw, permissions))
        } else {
            leaf.change(|raw| M::Format::with_permissions(raw, Attributes { writable: false, ..permissions }))
        };
        if self.is_stale(was, leaf.raw()) && !(spares && leaf.attributes().permits(M::Format::attributes(was))) {
            return Some(was);
        }
        leaf.tell_if_looser(was);
        None
    }

    /// Tells whether TLBs may hold what an entry was and must not, now that it is something else.
    #[inline]
    fn is_stale(&self, was: u64, is: u64) -> bool {
        M::Format::needs_flush(was, is) && !M::Policy::CLEARING_FLUSHES && self.m.keeps(Fix::RecordChanges)
    }

    /// Unhooks the tables below the root that translate some page of `touched`, nothing outside of `limits`, and have no
    /// entry left. `limits` is the hole in the address space that the unmapped pages now lie in.
    ///
    /// # Context
    /// Under the page-table lock. Does not sleep; flushes first if there is no room.
    ///
    /// # Panics
    /// If the guard belongs to another address space.
    #[doc(alias = "free_pgtables")]
    pub fn unhook_tables(&mut self, tables: &mut TablesGuard<'_, M>, touched: VpnRange, limits: VpnRange) {
        self.assert_ours(tables);
        if let Some(root) = tables.root() {
            self.unhook_tables_below(tables, root, M::Format::ROOT, touched.intersection(limits), limits);
        }
    }

    /// `touched` lies within what `table`, of `level`, translates, if it is not empty.
    fn unhook_tables_below(
        &mut self,
        tables: &mut TablesGuard<'_, M>,
        table: TableFrame,
        level: Level,
        touched: VpnRange,
        limits: VpnRange,
    ) {
        let Some(below) = level.below() else {
            return;
        };
        let touched = touched.intersection(M::Format::REACH);
        if touched.is_empty() {
            return;
        }
        let n_pages = level.pages::<M::Format>();
        let is_whole = touched.n_pages() == n_pages * M::Format::ENTRIES as u64;
        // Behind the last entry there is nothing to look for.
        let mut n_ahead = tables.n_entries(table).filter(|_| is_whole).unwrap_or(u64::MAX);
        let first = touched.start.align_down::<M::Format>(level);
        let n_entries = (touched.end.0 - first.0).div_ceil(n_pages);
        for offset in 0..n_entries {
            let at = EntryAt { table, index: first.index::<M::Format>(level) + offset as usize };
            let (raw, entry) = tables.entry(at, level);
            if entry == Entry::Absent {
                continue;
            }
            if let Entry::Table(child) = entry {
                let span = VpnRange::from_len(Vpn(first.0 + offset * n_pages), n_pages);
                self.unhook_tables_below(tables, child, below, touched.intersection(span), limits);
                if limits.covers(span) && tables.is_empty(child) {
                    self.unhook_table(tables, (at, raw), child, self.stale_table(span.start, level));
                }
            }
            n_ahead -= 1;
            if n_ahead == 0 {
                return;
            }
        }
    }

    fn unhook_table(&mut self, tables: &TablesGuard<'_, M>, entry: (EntryAt, u64), child: TableFrame, stale: Stale) {
        let (at, raw) = entry;
        self.make_room_for_table();
        self.become_live();
        let table = tables.unlink(at, raw, child);
        self.record(stale);
        self.hold_table(table);
    }

    pub(super) fn stale_table(&self, page: Vpn, level: Level) -> Stale {
        if self.m.keeps(Fix::DropWalkCaches) {
            Stale::table(page, level)
        } else {
            Stale::leaves(VpnRange::from_len(page, 1), level)
        }
    }

    #[inline]
    pub(super) fn assert_ours(&self, guard: &TablesGuard<'_, M>) {
        assert!(self.space.is_locked_by(guard), "the page-table lock of another address space");
    }
}

/// What is done about TLBs that remember less than a translation permits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenLooser {
    /// They are flushed (Linux on x86).
    Flush,
    /// Nothing, where a fault makes a CPU forget ([`EntryFormat::FAULT_FORGETS`]): who still remembers faults once, and the handler
    /// finds that all is well.
    Fault,
}

/// Entries of a stretch that are stale: from the first to the last, if there are any.
struct StaleEntries {
    first: usize,
    last: usize,
    executable: bool,
}

/// Lets user mode use a page that it could not use at all, without a flush, if nothing is taken away; tells whether it was so.
#[cold]
fn permit_unused<M: Machine>(
    tables: &TablesGuard<'_, M>,
    (at, page, level): (EntryAt, Vpn, Level),
    writes: bool,
    permissions: Attributes,
) -> bool {
    let (raw, Entry::Leaf(frame)) = tables.entry(at, level) else {
        return false;
    };
    let was = M::Format::attributes(raw);
    let wanted = Attributes { writable: writes, accessed: was.accessed, dirty: was.dirty, ..permissions };
    let is_looser = wanted.permits(was);
    if is_looser {
        tables.leaf(at, page, level, raw, frame).set_access_flags(wanted);
    }
    is_looser
}
