//! Page faults: mapping what the layout promises, and copying what must not be shared any longer.

use shootdown::{Attributes, Frame, Leaf, Level, MapError, TablesGuard, Vpn, VpnRange, page};

use crate::{
    OutOfMemory,
    address_space::{AddressSpace, Program},
    habits::LastSharer,
    memory::{Memory, Missing},
    storage::{ObjectPage, Storage, StorageError},
    vma::{Access, Backing, PageSize, Sharing, Vma},
};

/// How a fault was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A page that was not there is mapped.
    Mapped,
    /// A page that was shared has been copied, and the old translation flushed.
    Copied,
    /// The page was there already and may now be written.
    Granted,
    /// Another CPU had resolved it, or an address space with the same table, or the TLB was behind.
    Spurious,
}

/// Why a fault could not be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultError {
    /// Nothing is mapped there.
    NoMapping(Vpn),
    /// The mapping does not allow this access.
    Denied(Vpn),
    /// A driver has not lent a frame for this page, or has taken it back.
    NotLent(Vpn),
    /// There was not enough memory; nothing changed.
    OutOfMemory,
    /// The contents could not be read; nothing changed.
    Storage(StorageError),
}

impl core::fmt::Display for FaultError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            FaultError::NoMapping(page) => write!(f, "nothing is mapped at page {:#x}", page.0),
            FaultError::Denied(page) => write!(f, "the mapping at page {:#x} does not allow this", page.0),
            FaultError::NotLent(page) => write!(f, "the driver has nothing at page {:#x}", page.0),
            FaultError::OutOfMemory => OutOfMemory.fmt(f),
            FaultError::Storage(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FaultError {}

impl From<OutOfMemory> for FaultError {
    fn from(_: OutOfMemory) -> Self {
        FaultError::OutOfMemory
    }
}

impl<M: Program> AddressSpace<M> {
    /// Resolves a fault of `access` at `page`.
    ///
    /// # Context
    /// Task; takes the layout and the page-table lock. A copy flushes under them. Under the layout it may take the lock of
    /// the storage, and call [`Storage::read`].
    ///
    /// # Errors
    /// [`FaultError`]: the program is at fault, there is no memory, or the page cannot be read.
    pub fn fault<S: Storage<M>>(
        &self,
        m: &M,
        memory: &Memory<M, S>,
        page: Vpn,
        access: Access,
    ) -> Result<Resolution, FaultError> {
        let layout = self.layout.lock(m);
        let (area, vma) = layout.areas.get_key_value(&page.0).ok_or(FaultError::NoMapping(page))?;
        if !vma.protection.allows(access) {
            return Err(FaultError::Denied(page));
        }
        let area = VpnRange::new(Vpn(area.start), Vpn(area.end));
        loop {
            match self.fault_in(m, memory, area, vma, page, access) {
                Ok(resolution) => return Ok(resolution),
                Err(Missing::Memory) => return Err(FaultError::OutOfMemory),
                Err(Missing::NotLent) => return Err(FaultError::NotLent(page)),
                // Reclaim may have taken it away again before we look.
                Err(Missing::Contents(page, level)) => memory.read_in(m, page, level)?,
            }
        }
    }

    /// Resolves a fault that the layout allows, with what is in memory.
    fn fault_in<S>(
        &self,
        m: &M,
        memory: &Memory<M, S>,
        area: VpnRange,
        vma: &Vma,
        page: Vpn,
        access: Access,
    ) -> Result<Resolution, Missing> {
        let shared_tables = vma.shared_tables::<M::Format>();
        if let Some(level) = shared_tables {
            self.share_table(m, memory, (area, vma), level, page);
        }
        let mut tables = self.space(m).lock(m);
        // Before a frame is taken for it.
        if shared_tables.is_some() && tables.find_shared(page).is_some() {
            return Ok(Resolution::Spurious);
        }
        match tables.find(page) {
            None => {
                bring_in(m, memory, &mut tables, vma, page, access)?;
                if let PageSize::Run { n_pages } = vma.page_size {
                    let n_pages = u64::from(n_pages);
                    let run = VpnRange::from_len(Vpn(page.0 - page.0 % n_pages), n_pages);
                    bring_in_missing(m, memory, &mut tables, vma, run.intersection(area), access);
                }
                Ok(Resolution::Mapped)
            }
            Some(leaf) if access != Access::Write || leaf.attributes().writable => Ok(Resolution::Spurious),
            Some(leaf) if vma.sharing == Sharing::Shared || self.keeps_page(&leaf) => {
                grant_writes(m, leaf, vma);
                Ok(Resolution::Granted)
            }
            Some(leaf) => {
                let copy = page::allocate(m, leaf.level()).map_err(OutOfMemory::from)?;
                let attributes = Attributes { writable: true, dirty: true, ..vma.protection.without_writes() };
                let mut gather = self.gather(m);
                let copy_contents = |from, to| m.copy_frame(from, to, leaf.level());
                let resolution = match gather.replace(&tables, page, copy, |_| attributes, copy_contents) {
                    Ok(was) => {
                        if page::is_adopted(m, was.frame) {
                            // Through a private mapping nobody stores to an object's page.
                            page::uncount_mappings(m, was.frame, 1);
                        }
                        Resolution::Copied
                    }
                    Err(copy) => {
                        page::drop_reference(m, copy);
                        Resolution::Spurious
                    }
                };
                drop(tables);
                gather.finish();
                Ok(resolution)
            }
        }
    }

    /// Tells whether a store to `page` would copy it, and flush: it is there, and somebody else has it, too.
    #[must_use]
    pub fn copies_on_write(&self, m: &M, page: Vpn) -> bool {
        let layout = self.layout.lock(m);
        let is_private = layout.areas.get(&page.0).is_some_and(|vma| vma.sharing == Sharing::Private);
        let tables = self.space(m).lock(m);
        is_private && tables.find(page).is_some_and(|leaf| !leaf.attributes().writable && !self.keeps_page(&leaf))
    }

    /// Whether a write to a private page needs no copy.
    fn keeps_page(&self, leaf: &Leaf<'_, M>) -> bool {
        self.habits.last_sharer == LastSharer::KeepsPage && page::is_exclusive(leaf)
    }

    /// Maps every page of `range` that the layout allows to be accessed so (`MAP_POPULATE`, `MADV_POPULATE_*`).
    ///
    /// # Errors
    /// [`FaultError`] of the first page that could not be mapped; those before it are.
    pub fn populate<S: Storage<M>>(
        &self,
        m: &M,
        memory: &Memory<M, S>,
        range: VpnRange,
        access: Access,
    ) -> Result<(), FaultError> {
        let mut page = range.start;
        while page < range.end {
            self.fault(m, memory, page, access)?;
            let level = self.translate(m, page).map_or(Level::LEAF, |(_, level)| level);
            page = level.span::<M::Format>(page).end;
        }
        Ok(())
    }
}

/// Maps what belongs at `page`, where nothing is.
#[inline]
fn bring_in<M: Program, S>(
    m: &M,
    memory: &Memory<M, S>,
    tables: &mut TablesGuard<'_, M>,
    vma: &Vma,
    page: Vpn,
    access: Access,
) -> Result<(), Missing> {
    let first = page.align_down::<M::Format>(vma.level());
    let (frame, attributes) = fresh(m, memory, vma, first, access)?;
    let place = if vma.object().is_some() { place_objects } else { place };
    Ok(place(m, tables, first, frame, attributes)?)
}

/// Maps what is missing in `range`, as far as there is memory: what is left faults by itself.
fn bring_in_missing<M: Program, S>(
    m: &M,
    memory: &Memory<M, S>,
    tables: &mut TablesGuard<'_, M>,
    vma: &Vma,
    range: VpnRange,
    access: Access,
) {
    for page in (range.start.0..range.end.0).map(Vpn) {
        if tables.find(page).is_none() && bring_in(m, memory, tables, vma, page, access).is_err() {
            return;
        }
    }
}

fn grant_writes<M: Program>(m: &M, mut leaf: Leaf<'_, M>, vma: &Vma) {
    if vma.sharing == Sharing::Shared && vma.object().is_some() {
        page::mark_dirty(m, leaf.frame());
    }
    leaf.set_access_flags(Attributes { writable: true, dirty: true, ..leaf.attributes() });
}

/// Puts a frame that an object may have where nothing is mapped, and counts that; otherwise as [`place`].
pub(crate) fn place_objects<M: Program>(
    m: &M,
    tables: &mut TablesGuard<'_, M>,
    page: Vpn,
    frame: Frame,
    attributes: Attributes,
) -> Result<(), OutOfMemory> {
    let pfn = frame.pfn();
    if !page::is_adopted(m, pfn) {
        return place(m, tables, page, frame, attributes);
    }
    page::count_mapping(m, pfn);
    if attributes.writable {
        page::mark_dirty(m, pfn);
    }
    tables.map(page, frame, attributes).or_else(|MapError { frame, .. }| {
        page::uncount_mappings(m, pfn, 1);
        page::drop_reference(m, frame);
        // Where others have the table, too, one of them may have been faster.
        tables.find_shared(page).map(|_| ()).ok_or(OutOfMemory)
    })
}

/// Puts a frame where nothing is mapped; gives its reference back if there is no memory for the tables.
pub(crate) fn place<M: Program>(
    m: &M,
    tables: &mut TablesGuard<'_, M>,
    page: Vpn,
    frame: Frame,
    attributes: Attributes,
) -> Result<(), OutOfMemory> {
    tables.map(page, frame, attributes).map_err(|MapError { frame, .. }| {
        page::drop_reference(m, frame);
        OutOfMemory
    })
}

/// A copy of a page of an object, whose reference is given back.
#[doc(alias = "do_cow_fault")]
fn copy_of<M: Program>(m: &M, original: Frame, level: Level) -> Result<Frame, OutOfMemory> {
    let copy = page::allocate(m, level).map_err(OutOfMemory::from);
    if let Ok(copy) = &copy {
        m.copy_frame(original.pfn(), copy.pfn(), level);
    }
    page::drop_reference(m, original);
    copy
}

/// The frame for a page that is not mapped, and what may be done with it at once.
fn fresh<M: Program, S>(
    m: &M,
    memory: &Memory<M, S>,
    vma: &Vma,
    page: Vpn,
    access: Access,
) -> Result<(Frame, Attributes), Missing> {
    let level = vma.level();
    let read_only = vma.protection.without_writes();
    let written = Attributes { writable: true, dirty: true, ..read_only };
    let writes = access == Access::Write;
    match (vma.backing, vma.sharing) {
        // There is no large page of zeroes.
        (Backing::Anonymous, _) if writes || vma.page_size != PageSize::Base => {
            Ok((page::allocate_zeroed(m, level).map_err(OutOfMemory::from)?, written))
        }
        (Backing::Anonymous, _) => Ok((memory.zero_page(m)?, read_only)),
        (Backing::Object { object, origin }, sharing) => {
            let index = page.0.wrapping_sub(origin.0) / level.pages::<M::Format>();
            let frame = memory.object_page(m, ObjectPage { object, index }, level)?;
            if sharing == Sharing::Private && writes {
                return Ok((copy_of(m, frame, level)?, written));
            }
            // A first store must be noticed to know the page dirty, so reading does not map it for writing; not where the table
            // may be shared, in which nobody grants it later.
            let is_noticed = vma.shared_tables::<M::Format>().is_none();
            let may_write = vma.protection.write && sharing == Sharing::Shared && (writes || !is_noticed);
            Ok((frame, if may_write { written } else { read_only }))
        }
    }
}
