//! Walking page tables and mapping pages, under the page-table lock.

use core::sync::atomic::Ordering::*;

use super::{custody::UnlinkedTable, descriptor::create, leaves::Leaves};
use crate::{
    addr::{EntryAt, Level, Pfn, SpaceId, TableFrame, Vpn, VpnRange},
    fix::Fix,
    format::{Attributes, Entry, EntryFormat},
    frame::{Frame, NoFrame},
    lock::Guard,
    machine::{At, Invalidate, Machine, Modify},
    notify::Event,
    stale::Hint,
    word::Own,
};

/// The page tables of one address space, reachable only through [`Space::lock`](crate::Space::lock).
pub struct Tables<M: Machine> {
    // The root's frame number plus one; 0 before the address space was created.
    root: Own<M>,
    // Of which address space, if they are not the kernel's.
    space: Option<SpaceId>,
    // Entries of the root are filled by `fill_slot` and by nobody else.
    has_slots: bool,
}

/// The page-table lock of an address space, held.
pub type TablesGuard<'l, M> = Guard<'l, M, Tables<M>>;

/// One translation in the tables. As long as it lives the page-table lock cannot be released.
pub struct Leaf<'t, M: Machine> {
    guard: &'t TablesGuard<'t, M>,
    at: EntryAt,
    page: Vpn,
    level: Level,
    raw: u64,
    frame: Pfn,
}

/// A page could not be mapped; the frame comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct MapError {
    /// What was in the way.
    pub kind: MapErrorKind,
    /// The frame that was to be mapped.
    pub frame: Frame,
}

/// Why a page could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapErrorKind {
    /// There was no frame for a table of this level. Tables above it may have been made; they are used by the next try.
    NoTable(Level),
    /// The place is taken by a translation or a table of this level.
    Occupied(Level),
    /// The page lies beyond what the tables can translate.
    OutOfRange(Vpn),
    /// The page is not aligned to the level of the frame.
    Misaligned(Vpn),
    /// Tables of this level cannot map pages.
    NoLeaf(Level),
    /// The page lies in a table of this level that other address spaces have too.
    Shared(Level),
}

impl core::fmt::Display for MapErrorKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            MapErrorKind::NoTable(level) => write!(f, "no frame for a page table of level {}", level.0),
            MapErrorKind::Occupied(level) => write!(f, "the page is mapped already at level {}", level.0),
            MapErrorKind::NoLeaf(level) => write!(f, "tables of level {} cannot map pages", level.0),
            MapErrorKind::Shared(level) => write!(f, "the page lies in a shared table of level {}", level.0),
            MapErrorKind::Misaligned(page) => write!(f, "page {:#x} is not aligned to its frame's level", page.0),
            MapErrorKind::OutOfRange(page) => write!(f, "page {:#x} is beyond the page tables", page.0),
        }
    }
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.kind.fmt(f)
    }
}

impl core::error::Error for MapErrorKind {}

impl core::error::Error for MapError {}

impl<M: Machine> Tables<M> {
    pub(crate) const fn new(space: SpaceId) -> Self {
        Tables { root: Own::ZERO, space: Some(space), has_slots: false }
    }

    pub(crate) const fn for_kernel() -> Self {
        Tables { root: Own::ZERO, space: None, has_slots: true }
    }

    pub(crate) const fn for_one_root() -> Self {
        Tables { root: Own::ZERO, space: None, has_slots: false }
    }

    /// The pages that they may map.
    #[inline]
    pub(super) const fn reach(&self) -> VpnRange {
        if self.space.is_none() { M::Format::KERNEL } else { M::Format::REACH }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.root.visit("tables.root", visitor);
    }
}

impl<M: Machine> TablesGuard<'_, M> {
    /// Returns the root table, if the address space was created.
    #[inline]
    #[must_use]
    pub fn root(&self) -> Option<TableFrame> {
        self.root.get(self.machine()).checked_sub(1).map(|frame| TableFrame(Pfn(frame)))
    }

    pub(crate) fn create_root(&mut self) -> Result<TableFrame, NoFrame> {
        debug_assert!(self.root().is_none(), "the address space has a root already");
        let table = create(self.machine(), M::Format::ROOT)?;
        self.root.set(self.machine(), table.0.0 + 1);
        Ok(table)
    }

    pub(crate) fn take_root(&mut self) -> Option<TableFrame> {
        let root = self.root();
        self.root.set(self.machine(), 0);
        root
    }

    #[inline]
    #[track_caller]
    pub(crate) fn entry(&self, at: EntryAt, level: Level) -> (u64, Entry) {
        // Only the holder of the lock adds or removes entries, so nothing is ordered against this read.
        let raw = self.machine().load(At::Entry(at), Relaxed);
        (raw, M::Format::decode(raw, level))
    }

    /// Returns the translation of `page`, if there is one, and not in a [shared](crate::share) table.
    #[inline]
    #[must_use]
    pub fn find(&self, page: Vpn) -> Option<Leaf<'_, M>> {
        let (at, level, raw) = self.descend(page, Level::LEAF)?;
        match M::Format::decode(raw, level) {
            Entry::Leaf(frame) => Some(self.leaf(at, page, level, raw, frame)),
            Entry::Table(_) | Entry::SharedTable(_) | Entry::Absent => None,
        }
    }

    /// Returns the entry of this level on the way to `page`, or a leaf or shared table above it, if there is one that is not
    /// absent.
    pub(crate) fn entry_above(&self, page: Vpn, target: Level) -> Option<(EntryAt, Level, Entry)> {
        let (at, level, raw) = self.descend(page, target)?;
        Some((at, level, M::Format::decode(raw, level)))
    }

    /// Goes towards `page` until there is no table below, or the level is `target`; nothing if what is there is absent.
    #[inline]
    fn descend(&self, page: Vpn, target: Level) -> Option<(EntryAt, Level, u64)> {
        if !self.reach().contains(page) {
            return None;
        }
        let mut table = self.root()?;
        let mut level = M::Format::ROOT;
        loop {
            let at = EntryAt { table, index: page.index::<M::Format>(level) };
            match self.entry(at, level) {
                (_, Entry::Absent) => return None,
                (_, Entry::Table(next)) if level > target => table = next,
                (raw, Entry::Table(_) | Entry::SharedTable(_) | Entry::Leaf(_)) => return Some((at, level, raw)),
            }
            level = level.below()?;
        }
    }

    /// Returns the first translation that reaches into `range`.
    #[must_use]
    pub fn next_leaf(&self, range: VpnRange) -> Option<Leaf<'_, M>> {
        self.leaves(range).next()
    }

    /// Returns the translations that reach into `range`, lowest first. They may be unhooked or changed on the way. Holes
    /// cost nothing but the entries that span them. Those in [shared](crate::share) tables are not among them.
    #[must_use]
    pub fn leaves(&self, range: VpnRange) -> Leaves<'_, M> {
        Leaves::new(self, range)
    }

    /// Tells whether the library has nothing in this table of its own. Others' tables are not counted.
    pub(crate) fn is_empty(&self, table: TableFrame) -> bool {
        self.n_entries(table) == Some(0)
    }

    /// Returns how many entries a table has, if they are counted: not in others' tables.
    pub(crate) fn n_entries(&self, table: TableFrame) -> Option<u64> {
        let (m, descriptor) = (self.machine(), self.machine().descriptor(table));
        (!descriptor.is_reserved(m)).then(|| descriptor.n_entries(m))
    }

    pub(crate) fn leaf(&self, at: EntryAt, page: Vpn, level: Level, raw: u64, frame: Pfn) -> Leaf<'_, M> {
        Leaf { guard: self, at, page: page.align_down::<M::Format>(level), level, raw, frame }
    }

    /// Maps `frame` at `page`, which must be aligned to the frame's level, and makes the tables on the way. In a
    /// [shared](crate::share) table it is mapped for all who have that.
    ///
    /// # Ordering
    /// A walker that sees the entry sees the contents of every table on its path. Pairs: `map/walk`.
    ///
    /// # Errors
    /// [`MapError`] with the frame: no memory for a table, the place is taken, the page is out of reach or misaligned, or
    /// tables of the frame's level map no pages.
    pub fn map(&mut self, page: Vpn, frame: Frame, attributes: Attributes) -> Result<(), MapError> {
        match self.vacancy(page, frame.level()) {
            Ok(at) => {
                self.fill(at, frame, attributes);
                Ok(())
            }
            Err(MapErrorKind::Shared(_)) => self.map_shared(page, frame, attributes),
            Err(kind) => Err(MapError { kind, frame }),
        }
    }

    /// Returns the entry that can map `page` at `level`, where nothing is yet, and makes the tables on the way.
    #[inline]
    pub(crate) fn vacancy(&mut self, page: Vpn, level: Level) -> Result<EntryAt, MapErrorKind> {
        let at = self.entry_for(page, level)?;
        self.if_absent(at, level)
    }

    /// Returns the entry of `level` that can lead `page` to a table, where nothing is yet, and makes the tables on the way.
    pub(crate) fn vacancy_for_table(&mut self, page: Vpn, level: Level) -> Result<EntryAt, MapErrorKind> {
        let at = self.make_way(page, level)?;
        self.if_absent(at, level)
    }

    #[inline]
    fn if_absent(&self, at: EntryAt, level: Level) -> Result<EntryAt, MapErrorKind> {
        match self.entry(at, level).1 {
            Entry::Absent => Ok(at),
            Entry::Leaf(_) | Entry::Table(_) | Entry::SharedTable(_) => Err(MapErrorKind::Occupied(level)),
        }
    }

    /// Lets an entry that is [vacant](Self::vacancy_for_table) be a pointer to a table that is not new.
    pub(crate) fn fill_with_table(&self, at: EntryAt, raw: u64) {
        let m = self.machine();
        m.descriptor(at.table).entries_added(m, 1);
        self.put(at, raw);
    }

    /// Maps `frame` through an entry that is [vacant](Self::vacancy).
    #[inline]
    pub(crate) fn fill(&self, at: EntryAt, frame: Frame, attributes: Attributes) {
        let m = self.machine();
        m.descriptor(at.table).entries_added(m, 1);
        self.put(at, M::Format::leaf(frame.pfn(), frame.level(), attributes));
    }

    /// Maps `frames` one after the other from `page` on, as [`map`](TablesGuard::map) maps one. The tables are walked once
    /// for each table that is filled, not once for each page.
    ///
    /// Those before the first frame that cannot be mapped stay mapped. Those after it are not taken: who passes
    /// `&mut frames` still has them.
    ///
    /// # Ordering
    /// As [`map`](TablesGuard::map).
    ///
    /// # Errors
    /// [`MapError`] with the first frame that cannot be mapped.
    #[doc(alias = "set_ptes")]
    pub fn map_each(
        &mut self,
        mut page: Vpn,
        frames: impl IntoIterator<Item = Frame>,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let mut filling: Option<Filling<'_, M>> = None;
        for frame in frames {
            let level = frame.level();
            let table = match &mut filling {
                Some(table) if table.goes_on(page, level) => table,
                _ => match self.entry_for(page, level) {
                    Ok(at) => filling.insert(Filling { guard: self, level, next: at, n_put: 0 }),
                    Err(kind) => return Err(MapError { kind, frame }),
                },
            };
            if !table.put(M::Format::leaf(frame.pfn(), level, attributes)) {
                return Err(MapError { kind: MapErrorKind::Occupied(level), frame });
            }
            page = Vpn(page.0 + level.pages::<M::Format>());
        }
        Ok(())
    }

    /// Returns the entry that can map `page` at the level of `target`, and makes the tables on the way.
    #[inline]
    fn entry_for(&self, page: Vpn, target: Level) -> Result<EntryAt, MapErrorKind> {
        if target > M::Format::HIGHEST_LEAF {
            return Err(MapErrorKind::NoLeaf(target));
        }
        self.make_way(page, target)
    }

    /// Returns the entry of the level of `target` on the way to `page`, and makes the tables above.
    #[inline]
    fn make_way(&self, page: Vpn, target: Level) -> Result<EntryAt, MapErrorKind> {
        let m = self.machine();
        let mut table = match self.root() {
            Some(root) if self.reach().contains(page) => root,
            _ => return Err(MapErrorKind::OutOfRange(page)),
        };
        if page != page.align_down::<M::Format>(target) {
            return Err(MapErrorKind::Misaligned(page));
        }
        let mut level = M::Format::ROOT;
        while level > target {
            let at = EntryAt { table, index: page.index::<M::Format>(level) };
            let below = Level(level.0 - 1);
            table = match self.entry(at, level).1 {
                Entry::Table(next) => next,
                Entry::Leaf(_) => return Err(MapErrorKind::Occupied(level)),
                Entry::SharedTable(_) => return Err(MapErrorKind::Shared(below)),
                Entry::Absent if self.has_slots && level == M::Format::ROOT => {
                    return Err(MapErrorKind::OutOfRange(page));
                }
                Entry::Absent => {
                    let new = create(m, below).map_err(|NoFrame| MapErrorKind::NoTable(below))?;
                    m.descriptor(table).entries_added(m, 1);
                    self.put(at, M::Format::table(new));
                    new
                }
            };
            level = below;
        }
        Ok(EntryAt { table, index: page.index::<M::Format>(level) })
    }

    #[inline]
    pub(crate) fn put(&self, at: EntryAt, raw: u64) {
        // ORDER(map/walk): a walker, which reads this entry and then what it points at, finds the table zeroed and the
        // page as its owner left it. Walkers order dependent reads by themselves.
        self.machine().store(At::Entry(at), raw, Release);
    }

    /// Says that so many of this table's entries were cleared.
    pub(crate) fn entries_removed(&self, table: TableFrame, count: u64) {
        let m = self.machine();
        m.descriptor(table).entries_removed(m, count);
    }

    /// Clears an entry that was `raw` when it was read under this lock, and returns what it was in the end, with all that
    /// hardware wrote into it until then. The table's entries are still to be [counted](Self::entries_removed).
    #[inline]
    #[track_caller]
    pub(crate) fn clear(&self, at: EntryAt, raw: u64) -> u64 {
        let m = self.machine();
        // ORDER(edit/generation): the flush that follows bumps the generation; whoever sees the new generation walks
        // tables without this entry.
        if M::Format::hardware_may_write(raw) && m.keeps(Fix::AtomicUnhook) {
            // One step, so that a dirty bit set by another CPU's walker at the last moment comes out with it.
            return m.modify(At::Entry(at), Modify::Swap(0), AcqRel);
        }
        m.store(At::Entry(at), 0, Release);
        raw
    }
}

/// The root entries of kernel space.
impl<M: Machine> TablesGuard<'_, M> {
    fn slot(&self, page: Vpn) -> Option<EntryAt> {
        Some(EntryAt { table: self.root()?, index: page.index::<M::Format>(M::Format::ROOT) })
    }

    /// Makes a table for the root entry that translates `page`, where there is none.
    pub(crate) fn fill_slot(&mut self, page: Vpn) -> Result<(), NoFrame> {
        let m = self.machine();
        let Some(at) = self.slot(page) else {
            unreachable!("kernel space has a root from its beginning");
        };
        let table = create(m, Level(M::Format::ROOT.0 - 1))?;
        m.descriptor(at.table).entries_added(m, 1);
        self.put(at, M::Format::table(table));
        Ok(())
    }

    /// Takes the table out of the root entry that translates `page`.
    pub(crate) fn empty_slot(&mut self, page: Vpn) -> Option<UnlinkedTable> {
        let at = self.slot(page)?;
        let (raw, entry) = self.entry(at, M::Format::ROOT);
        entry.table().map(|table| self.unlink(at, raw, table))
    }
}

impl<M: Machine> TablesGuard<'_, M> {
    /// Clears the pointer `raw` to a table.
    #[track_caller]
    pub(crate) fn unlink(&self, at: EntryAt, raw: u64, table: TableFrame) -> UnlinkedTable {
        self.clear(at, raw);
        self.entries_removed(at.table, 1);
        UnlinkedTable(table)
    }
}

/// A table that entries are put into. They are counted when it is left, in whatever way that happens: a table that is
/// thought to be empty would be freed.
struct Filling<'t, M: Machine> {
    guard: &'t TablesGuard<'t, M>,
    level: Level,
    next: EntryAt,
    n_put: u64,
}

impl<M: Machine> Filling<'_, M> {
    /// Tells whether the next entry is the one that translates `page` at `level`.
    #[inline]
    fn goes_on(&self, page: Vpn, level: Level) -> bool {
        level == self.level && self.next.index < M::Format::ENTRIES && self.guard.reach().contains(page)
    }

    /// Fills the next entry and steps on, if nothing is there.
    #[inline]
    fn put(&mut self, raw: u64) -> bool {
        if self.guard.entry(self.next, self.level).1 != Entry::Absent {
            return false;
        }
        self.guard.put(self.next, raw);
        self.next.index += 1;
        self.n_put += 1;
        true
    }
}

impl<M: Machine> Drop for Filling<'_, M> {
    #[inline]
    fn drop(&mut self) {
        let m = self.guard.machine();
        m.descriptor(self.next.table).entries_added(m, self.n_put);
    }
}

impl<'t, M: Machine> Leaf<'t, M> {
    /// Returns the first page it maps.
    #[must_use]
    pub const fn page(&self) -> Vpn {
        self.page
    }

    /// Returns the level it sits at: 1 for a base page.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Returns the pages it maps.
    #[must_use]
    pub const fn span(&self) -> VpnRange {
        self.level.span::<M::Format>(self.page)
    }

    /// Returns the first frame it maps to.
    #[must_use]
    pub const fn frame(&self) -> Pfn {
        self.frame
    }

    /// Returns what it permitted when it was found.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        M::Format::attributes(self.raw)
    }

    /// Returns where the entry is.
    #[must_use]
    pub const fn at(&self) -> EntryAt {
        self.at
    }

    pub(crate) const fn raw(&self) -> u64 {
        self.raw
    }

    pub(crate) const fn guard(&self) -> &'t TablesGuard<'t, M> {
        self.guard
    }

    /// Permits more through this translation, and marks it dirty or accessed if asked; takes nothing away.
    ///
    /// Needs no flush: a CPU that still remembers the stricter translation faults once more and finds this one. Where
    /// the fault itself does not make it forget, this CPU, which has had the fault, is made to here.
    ///
    /// # Panics
    /// If `attributes` permit less than the leaf does now: that would need a flush, see
    /// [`Gather::change`](crate::Gather::change).
    #[doc(alias = "ptep_set_access_flags")]
    pub fn set_access_flags(&mut self, attributes: Attributes) {
        let now = self.attributes();
        assert!(attributes.permits(now), "this is for more permissions, not for less");
        let (dirty, accessed) = (attributes.dirty || now.dirty, attributes.accessed || now.accessed);
        let was = self.change(|raw| M::Format::with_attributes(raw, Attributes { dirty, accessed, ..attributes }));
        self.tell_if_looser(was);
        if !M::Format::FAULT_FORGETS {
            let m = self.guard.machine();
            m.invalidate(Invalidate::Leaf(self.page, Hint::at(self.level)));
            m.complete();
        }
    }

    /// Tells secondary TLBs if more is permitted than `was` did, and no flush tells them: a device that remembers less need not
    /// look again.
    #[inline]
    pub(crate) fn tell_if_looser(&self, was: u64) {
        let m = self.guard.machine();
        if m.has_listeners() && !M::Format::attributes(was).permits(self.attributes()) {
            self.tell_looser(m);
        }
    }

    fn tell_looser(&self, m: &M) {
        if !m.keeps(Fix::TellOfPermissions) {
            return;
        }
        // ORDER(attach/tell): the entry is changed before anybody looks who listens.
        m.fence(SeqCst);
        if let Some(space) = self.guard.space.and_then(|id| m.space(id)) {
            space.tell(m, Event::Looser { space: space.id(), pages: self.span() });
        }
    }

    /// Makes the entry what `wanted` makes of it, bit by bit, so that a dirty bit set by hardware meanwhile survives unless it
    /// is to go; returns the entry as it was.
    #[inline]
    #[track_caller]
    pub(crate) fn change(&mut self, wanted: impl FnOnce(u64) -> u64) -> u64 {
        let m = self.guard.machine();
        let wanted = wanted(self.raw);
        let mut was = self.raw;
        // ORDER(edit/generation): as in `take`.
        if wanted & !self.raw != 0 {
            was = m.modify(At::Entry(self.at), Modify::Or(wanted & !self.raw), AcqRel);
        }
        if self.raw & !wanted != 0 {
            was |= m.modify(At::Entry(self.at), Modify::And(!(self.raw & !wanted)), AcqRel) & self.raw;
        }
        self.raw = wanted;
        was
    }
}
