//! Taking translations out: unhook → flush → free, in this order, with the frames in custody in between.
//!
//! A [`Gather`] collects what was unhooked from one address space and what must be invalidated for it, flushes once, and
//! only then hands the frames on. It never fails: eight slots are its own, batch pages are taken while they can be had,
//! and when neither is left it flushes and goes on.

use core::sync::atomic::Ordering::*;

pub use crate::custody::MAX_BATCHES;
use crate::{
    addr::{EntryAt, Level, Pfn, TableFrame, Vpn, VpnRange},
    counters::Counter,
    custody::{Custody, Held},
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    frame::{Frame, FrameSink},
    machine::{Machine, Modify, Strength},
    residency::Space,
    stale::Stale,
    table::{self, Leaf, TablesGuard},
};

/// What a translation was, now that it is unhooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unhooked {
    /// The first page it mapped.
    pub page: Vpn,
    /// The level it sat at.
    pub level: Level,
    /// The first frame it mapped to. The gather has it in custody.
    pub frame: Pfn,
    /// What it permitted; `dirty` includes every store that hardware made through it in this table until now.
    pub attributes: Attributes,
}

/// Unhooked frames and tables of one address space that wait for their flush.
///
/// Dropping or forgetting it leaks what it holds and never frees it early; call [`finish`](Gather::finish).
///
/// ```
/// use shootdown::{FrameSink, Gather, Machine, Space, VpnRange};
/// /// Unmaps a range and returns when no CPU can reach its frames any more.
/// fn unmap<M: Machine>(m: &M, space: &Space<M>, range: VpnRange, sink: &impl FrameSink<M>) {
///     let mut gather = Gather::new(m, space, sink);
///     let mut tables = space.lock(m);
///     for leaf in tables.leaves(range) {
///         gather.unhook(leaf);
///     }
///     gather.unhook_tables(&mut tables, range, range);
///     drop(tables);
///     gather.finish();
/// }
/// ```
/// It cannot be finished twice:
/// ```compile_fail,E0382
/// fn twice<M: shootdown::Machine>(gather: shootdown::Gather<'_, M, impl shootdown::FrameSink<M>>) {
///     gather.finish();
///     gather.finish();
/// }
/// ```
#[doc(alias = "mmu_gather")]
#[must_use = "a gather that is not finished leaks what it holds"]
pub struct Gather<'a, M: Machine, S: FrameSink<M>> {
    m: &'a M,
    space: &'a Space<M>,
    sink: &'a S,
    stale: Option<Stale>,
    custody: Custody<M>,
    // It is one of the address space's live gathers.
    is_live: bool,
}

impl<'a, M: Machine, S: FrameSink<M>> Gather<'a, M, S> {
    /// Begins to take translations out of `space`. Frames go to `sink` after their flush.
    ///
    /// # Context
    /// The context of [`Space::flush`] must hold until [`finish`](Gather::finish), on the same CPU or not.
    pub fn new(m: &'a M, space: &'a Space<M>, sink: &'a S) -> Self {
        m.count(Counter::Gather, 1);
        Gather { m, space, sink, stale: None, custody: Custody::new(), is_live: false }
    }

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
        // Room first: an entry that is cleared while there is no place for its frame would lose either the frame or
        // the page's part of the range.
        self.make_room();
        self.become_live();
        let (raw, level) = (leaf.guard().take(leaf.at()), leaf.level());
        let Entry::Leaf(frame) = M::Format::decode(raw, level) else {
            return None;
        };
        self.record(Stale::leaves(leaf.span(), level));
        self.hold(Held::Frame(frame, level));
        Some(Unhooked { page: leaf.page(), level, frame, attributes: M::Format::attributes(raw) })
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
        self.become_live();
        let was = leaf.set_attributes(attributes);
        if M::Format::needs_flush(was, leaf.raw()) {
            self.record(Stale::leaves(leaf.span(), leaf.level()));
        }
        M::Format::attributes(was)
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
        let mut left = touched.intersection(M::Format::REACH);
        while !left.is_empty() {
            let span = level.span::<M::Format>(left.start);
            let at = EntryAt { table, index: left.start.index::<M::Format>(level) };
            if let Entry::Table(child) = tables.entry(at, level).1 {
                self.unhook_tables_below(tables, child, below, left.intersection(span), limits);
                if limits.covers(span) && tables.is_empty(child) {
                    self.make_room();
                    self.become_live();
                    tables.take(at);
                    self.record(self.stale_table(left.start, level));
                    self.hold(Held::Table(child));
                }
            }
            left.start = span.end;
        }
    }

    fn stale_table(&self, page: Vpn, level: Level) -> Stale {
        if self.m.keeps(Fix::DropWalkCaches) {
            Stale::table(page, level)
        } else {
            Stale::leaves(VpnRange::from_len(page, 1), level)
        }
    }

    #[inline]
    fn assert_ours(&self, guard: &TablesGuard<'_, M>) {
        assert!(self.space.is_locked_by(guard), "the page-table lock of another address space");
    }

    /// Makes sure that one more thing can be held.
    #[inline]
    fn make_room(&mut self) {
        if !self.custody.reserve(self.m) {
            self.flush();
        }
    }

    fn hold(&mut self, held: Held) {
        if self.m.keeps(Fix::FlushBeforeFree) {
            self.custody.push(held);
        } else {
            let_go(self.m, self.sink, held);
        }
    }

    /// Lets other gathers know, before an entry is changed, that its flush is still to come.
    #[inline]
    fn become_live(&mut self) {
        if !self.is_live {
            self.is_live = true;
            // ORDER(unlock/lock): said under the page-table lock; whoever finds the changed entry has taken the lock since.
            self.space.gathers.update(self.m, Modify::Add(1), Relaxed);
        }
    }

    /// Tells whether another gather has changed entries that it has not flushed. What this one did not find because of it
    /// may still be in TLBs.
    fn has_company(&self) -> bool {
        // ORDER(gather/gather): who is not live any more has flushed.
        self.space.gathers.load(self.m, Acquire) > u64::from(self.is_live)
    }

    /// Makes the next flush at least this strong, if there is one.
    ///
    /// Nothing in this crate needs it: it is for a kernel that wants CPUs told which the law would leave alone.
    pub fn strengthen(&mut self, strength: Strength) {
        if let Some(stale) = &mut self.stale {
            stale.strength = stale.strength.max(strength);
        }
    }

    fn record(&mut self, stale: Stale) {
        self.stale = Some(self.stale.map_or(stale, |other| other.join(stale)));
    }

    /// Flushes what was recorded, if anything was, and then lets go of everything held.
    ///
    /// # Context
    /// As [`Space::flush`]; the sink is called in it.
    pub fn flush(&mut self) {
        if let Some(stale) = self.stale.take() {
            self.space.flush(self.m, stale);
        }
        let (m, sink) = (self.m, self.sink);
        self.custody.drain(|held| let_go(m, sink, held));
    }

    /// Flushes and lets go for the last time.
    ///
    /// If another gather of the address space is under way, this one flushes everything: an entry that it found absent may
    /// be one that the other has cleared and not flushed, and who called us relies on it being gone.
    ///
    /// # Context
    /// As [`flush`](Gather::flush).
    ///
    /// # Ordering
    /// Pairs: `gather/gather`.
    pub fn finish(mut self) {
        if self.has_company() && self.m.keeps(Fix::FlushForOthers) {
            self.m.count(Counter::FlushForced, 1);
            self.record_for_others();
        }
        self.flush();
        if self.is_live {
            // ORDER(gather/gather): after the flush.
            self.space.gathers.update(self.m, Modify::Add(1_u64.wrapping_neg()), Release);
        }
    }

    fn record_for_others(&mut self) {
        match self.stale {
            // As if nothing but pages had been unhooked.
            Some(stale) if !self.m.keeps(Fix::KeepTablesInMind) => {
                self.stale = Some(Stale { strength: Strength::Leaf, ..stale });
            }
            _ => self.record(Stale::EVERYTHING),
        }
    }
}

fn let_go<M: Machine>(m: &M, sink: &impl FrameSink<M>, held: Held) {
    match held {
        Held::Frame(pfn, level) => {
            m.count(Counter::PageReleased, 1);
            sink.release(m, Frame::regain(pfn, level));
        }
        Held::Table(table) => {
            m.count(Counter::TableReleased, 1);
            table::destroy(m, table);
        }
    }
}
