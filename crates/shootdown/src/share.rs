//! Page tables that several address spaces have at once: one table for all who map the same large part of a file, as of a
//! huge-page file system.
//!
//! ```text
//! file map held for reading:   offer (raises the count) → accept (or give back)
//! file map held for writing:   Unsharing::begin → Gather::unshare, once or often → Unsharing::settle → map released
//! ```
//!
//! Beside the page-table lock of each address space, which covers the entry that points at the table, such a table has a lock
//! of its own, which covers its entries and says how many others have it. That count is nobody else's: a count of references
//! to the frame would be raised by whoever scans memory (CVE-2024-57883).
//!
//! Who leaves a shared table ([`Gather::unshare`](crate::Gather::unshare)) frees nothing, and so has little to flush; but the
//! last who stays may put there what is his alone. By then nobody may reach the table through an address space that has left
//! it: no TLB, no walk cache, and no walk that takes no lock. So he who leaves it to one keeps the file map locked until he
//! has seen to all of these. [`Unsharing`] has the lock's guard and gives it back when that is done.

use core::{mem, sync::atomic::Ordering::Relaxed};

use crate::{
    addr::{EntryAt, Level, TableFrame, Vpn},
    counters::Counter,
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    frame::{Frame, FrameSink},
    gather::Gather,
    machine::{At, Machine, Modify},
    table::{Descriptor, MapError, MapErrorKind, TablesGuard},
    walk::Found,
};

/// A table of one address space, on its way to another one. Whoever has it is counted already.
///
/// It borrows the guard of the file map, so that nobody [unshares](crate::Gather::unshare) the table meanwhile. Dropping it
/// gives it back.
#[must_use = "an offer that is not accepted is given back"]
pub struct Offer<'a, M: Machine, G> {
    m: &'a M,
    table: TableFrame,
    level: Level,
    _file_map: &'a G,
}

impl<M: Machine, G> Offer<'_, M, G> {
    /// Returns the level of the table.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }
}

impl<M: Machine, G> Drop for Offer<'_, M, G> {
    fn drop(&mut self) {
        if self.m.keeps(Fix::GiveBackOffer) {
            // Nobody has walked there on our account, so there is nothing to flush, nor to wait for.
            self.m.descriptor(self.table).sharers().lock(self.m).one_less(self.m);
        }
    }
}

impl<'l, M: Machine> TablesGuard<'l, M> {
    /// Offers the table of `level` that translates `page`, if there is one, to another address space that maps the same there.
    /// From now on the table may be shared: its translations are no longer [found](Self::find) and changed under this lock
    /// alone, until it was [unshared](crate::Gather::unshare).
    ///
    /// Both address spaces map all of what the table translates, from the same part of the same file, with the same
    /// permissions, by leaves of `level`: that is for the caller to see to, who finds the mapping in the file map. The two
    /// page-table locks are not held together.
    ///
    /// # Context
    /// Under the page-table lock, and under the file map's, for reading at least, whose guard is `file_map`.
    ///
    /// # Panics
    /// If the format [has no bit](EntryFormat::SHARED) for it, or tables of `level` are roots.
    #[doc(alias = "huge_pmd_share")]
    pub fn offer<'a, G>(&mut self, page: Vpn, level: Level, file_map: &'a G) -> Option<Offer<'a, M, G>>
    where
        'l: 'a,
    {
        assert!(M::Format::SHARED != 0 && level < M::Format::ROOT, "tables of level {} are never shared", level.0);
        let (m, above) = (self.machine(), Level(level.0 + 1));
        let (at, _, entry) = self.entry_above(page, above).filter(|(_, found, _)| *found == above)?;
        let table = match entry {
            Entry::SharedTable(table) => table,
            Entry::Table(table) if !m.descriptor(table).is_reserved(m) => {
                // In place, and bit by bit: to hardware, which may be noting something, nothing changes.
                m.update(At::Entry(at), Modify::Or(M::Format::SHARED), Relaxed);
                table
            }
            Entry::Table(_) | Entry::Leaf(_) | Entry::Absent => return None,
        };
        m.descriptor(table).sharers().lock(m).one_more(m);
        Some(Offer { m, table, level, _file_map: file_map })
    }

    /// Takes a table that was offered in at `page`.
    ///
    /// # Context
    /// Under the page-table lock of the address space that has asked for it, and the file map's.
    ///
    /// # Errors
    /// What is in the way, as with [`map`](Self::map): somebody else may have been faster. The table is given back.
    pub fn accept<G>(&mut self, page: Vpn, offer: Offer<'_, M, G>) -> Result<(), MapErrorKind> {
        let m = self.machine();
        let above = Level(offer.level.0 + 1);
        let place = self.vacancy_for_table(page.align_down::<M::Format>(above), above)?;
        self.fill_with_table(place, M::Format::table(offer.table) | M::Format::SHARED);
        m.count(Counter::TableShared, 1);
        // It is ours now.
        mem::forget(offer);
        Ok(())
    }

    /// Returns what `page` leads to in a shared table. Others who share the table may change it as soon as this returns.
    #[must_use]
    pub fn find_shared(&self, page: Vpn) -> Option<Found> {
        let (table, level) = self.shared_table(page)?;
        let _entries = self.descriptor(table).sharers().lock(self.machine());
        match self.entry(EntryAt { table, index: page.index::<M::Format>(level) }, level) {
            (raw, Entry::Leaf(frame)) => Some(Found::of_leaf::<M::Format>(page, level, raw, frame)),
            _ => None,
        }
    }

    /// Tells whether nothing leads `page` to a table of `level` yet, and no leaf is in its place: then one may be
    /// [taken in](Self::accept).
    #[must_use]
    pub fn lacks_table(&self, page: Vpn, level: Level) -> bool {
        self.entry_above(page, Level(level.0 + 1)).is_none()
    }

    /// The shared table on the way to `page`, and its level.
    fn shared_table(&self, page: Vpn) -> Option<(TableFrame, Level)> {
        match self.entry_above(page, Level::LEAF)? {
            (_, level, Entry::SharedTable(table)) => Some((table, level.below()?)),
            _ => None,
        }
    }

    /// Maps `frame` in a shared table, for all who share it.
    #[cold]
    pub(crate) fn map_shared(&self, page: Vpn, frame: Frame, attributes: Attributes) -> Result<(), MapError> {
        let m = self.machine();
        let Some((table, level)) = self.shared_table(page).filter(|(_, level)| *level == frame.level()) else {
            return Err(MapError { kind: MapErrorKind::Shared(frame.level()), frame });
        };
        let at = EntryAt { table, index: page.index::<M::Format>(level) };
        let _entries = self.descriptor(table).sharers().lock(m);
        if self.entry(at, level).1 != Entry::Absent {
            return Err(MapError { kind: MapErrorKind::Occupied(level), frame });
        }
        self.fill(at, frame, attributes);
        Ok(())
    }

    fn descriptor(&self, table: TableFrame) -> &Descriptor<M> {
        self.machine().descriptor(table)
    }
}

/// The file map's lock, which shared tables are left under, and which is not released before what that owes was paid.
///
/// Whoever drops or forgets it leaves the file map locked. What it owes is with the gather, whose
/// [`finish`](Gather::finish) asserts that it was paid.
///
/// The guard is gone into it, so the lock cannot be released first:
/// ```compile_fail,E0382
/// # use shootdown::{FrameSink, Gather, Machine, Space, VpnRange, Level, share::Unsharing};
/// fn too_late<M: Machine, S: FrameSink<M>, G>(gather: &mut Gather<'_, M, S>, m: &M, space: &Space<M>, map: G) {
///     let mut unsharing = Unsharing::begin(map);
///     gather.unshare(&mut space.lock(m), VpnRange::from_len(shootdown::Vpn(0), 1), Level(2), &mut unsharing);
///     drop(map);
///     drop(unsharing.settle(gather));
/// }
/// ```
/// With the two lines in the other order, and the guard that `settle` returns, it compiles:
/// ```
/// # use shootdown::{FrameSink, Gather, Machine, Space, VpnRange, Level, share::Unsharing};
/// fn in_time<M: Machine, S: FrameSink<M>, G>(gather: &mut Gather<'_, M, S>, m: &M, space: &Space<M>, map: G) {
///     let mut unsharing = Unsharing::begin(map);
///     gather.unshare(&mut space.lock(m), VpnRange::from_len(shootdown::Vpn(0), 1), Level(2), &mut unsharing);
///     let map = unsharing.settle(gather);
///     drop(map);
/// }
/// ```
#[must_use = "the file map stays locked until this is settled"]
pub struct Unsharing<G> {
    file_map: Option<G>,
}

impl<G> Unsharing<G> {
    /// Takes the guard of the file map, held for writing.
    pub const fn begin(file_map: G) -> Self {
        Unsharing { file_map: Some(file_map) }
    }

    /// Flushes what `gather` has recorded, waits for walks if some table was left to one address space, and returns the
    /// guard.
    ///
    /// # Context
    /// As [`Space::flush`](crate::Space::flush). The page-table lock may be held or not.
    ///
    /// # Ordering
    /// When this returns, nobody reaches a table that was left, by way of the address space that has left it. Pairs:
    /// `walk/quiesce`, and those of the flush.
    #[doc(alias = "huge_pmd_unshare_flush", alias = "tlb_flush_unshared_tables")]
    pub fn settle<M: Machine, S: FrameSink<M>>(mut self, gather: &mut Gather<'_, M, S>) -> G {
        gather.settle_unshared();
        self.file_map.take().expect("it is there until it is settled")
    }
}

impl<G> Drop for Unsharing<G> {
    fn drop(&mut self) {
        // To release the lock would let the last sharer go ahead.
        mem::forget(self.file_map.take());
    }
}
