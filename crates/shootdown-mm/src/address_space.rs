//! One address space: its layout, and the operations that only touch the layout.

use core::ops::Range;

use rangemap::RangeMap;
use shootdown::{
    EntryAt, EntryFormat, Frames, Gather, Level, Machine, Mutex, OneMemory, Space, SpaceId, VirtAddr, Vpn, VpnRange,
    page::DropReference,
};

use crate::{
    OutOfMemory,
    areas::Areas,
    habits::Habits,
    memory::Memory,
    vma::{Protection, Vma},
};

/// What should be mapped where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    // Page numbers; neighbours that are equal are one.
    pub(crate) areas: RangeMap<u64, Vma>,
    // Start and end of the heap, once it is known.
    brk: Option<Range<Vpn>>,
    // Whether there ever was an area that may have tables together with others.
    pub(crate) may_share_tables: bool,
}

impl Layout {
    /// The lowest `n_pages` in `within` that nothing is mapped in, from a multiple of `alignment` on.
    fn hole(&self, within: VpnRange, n_pages: u64, alignment: u64) -> Option<VpnRange> {
        if n_pages == 0 || within.is_empty() {
            return None;
        }
        self.areas.gaps(&(within.start.0..within.end.0)).find_map(|gap| {
            let start = gap.start.checked_next_multiple_of(alignment)?;
            let end = start.checked_add(n_pages).filter(|end| *end <= gap.end)?;
            Some(VpnRange::new(Vpn(start), Vpn(end)))
        })
    }

    /// The hole that `range` is to lie in when nothing is mapped in it any more.
    pub(crate) fn hole_around(&self, range: VpnRange) -> VpnRange {
        let after = self.areas.overlapping(range.end.0..u64::MAX).next();
        let end = after.map_or(u64::MAX, |(next, _)| next.start.max(range.end.0));
        let before = 0..range.start.0;
        let start = if before.is_empty() {
            0
        } else {
            self.areas.overlapping(before).next_back().map_or(0, |(previous, _)| previous.end.min(range.start.0))
        };
        VpnRange::new(Vpn(start), Vpn(end))
    }
}

/// Marks types that can be machines for address spaces: one memory, and frames for data.
pub trait Program: Frames + OneMemory {}

impl<M: Frames + OneMemory> Program for M {}

/// The place of an address space that lives.
pub(crate) fn space_of<M: Machine>(m: &M, id: SpaceId) -> &Space<M> {
    let Some(space) = m.space(id) else {
        panic!("the machine has no place for this address space");
    };
    space
}

/// A gather whose frames lose the reference that their translation held.
pub(crate) type PageGather<'a, M> = Gather<'a, M, DropReference>;

/// One address space. Any number of tasks may use it at once.
#[doc(alias = "mm_struct")]
pub struct AddressSpace<M: Program> {
    id: SpaceId,
    pub(crate) habits: Habits,
    pub(crate) layout: Mutex<M, Layout>,
}

impl<M: Program> AddressSpace<M> {
    /// Brings the address space `id`, for which the machine has a place, to life. Nothing is mapped.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no frame for the root table.
    ///
    /// # Panics
    /// If the machine has no such address space.
    pub fn create(m: &M, id: SpaceId, habits: Habits) -> Result<Self, OutOfMemory> {
        let space = AddressSpace { id, habits, layout: Mutex::new(Layout::default()) };
        space.space(m).create(m)?;
        Ok(space)
    }

    /// Returns its id.
    #[must_use]
    pub const fn id(&self) -> SpaceId {
        self.id
    }

    pub(crate) fn space<'m>(&self, m: &'m M) -> &'m Space<M> {
        space_of(m, self.id)
    }

    pub(crate) fn gather<'m>(&self, m: &'m M) -> PageGather<'m, M> {
        Gather::new(m, self.space(m), &DropReference)
    }

    /// Puts a mapping at `range` and unmaps what was there (`mmap`, with or without `MAP_FIXED`).
    ///
    /// # Context
    /// Task; takes the layout, and as [`unmap`](AddressSpace::unmap).
    pub fn map<S>(&self, m: &M, memory: &Memory<M, S>, range: VpnRange, vma: Vma) {
        if range.is_empty() {
            return;
        }
        self.add_area(m, &memory.areas, &mut self.layout.lock(m), range, vma);
    }

    /// Puts a mapping of `n_pages` at the lowest multiple of `alignment` pages in `within` where nothing is mapped that far, and
    /// returns where that is (`mmap` without an address).
    ///
    /// # Context
    /// Task; takes the layout.
    #[doc(alias = "get_unmapped_area")]
    pub fn map_anywhere<S>(
        &self,
        m: &M,
        memory: &Memory<M, S>,
        within: VpnRange,
        (n_pages, alignment): (u64, u64),
        vma: impl FnOnce(Vpn) -> Vma,
    ) -> Option<VpnRange> {
        let mut layout = self.layout.lock(m);
        let range = layout.hole(within, n_pages, alignment)?;
        self.add_area(m, &memory.areas, &mut layout, range, vma(range.start));
        Some(range)
    }

    /// Puts an area into the layout and into the reverse map, and unmaps what was there.
    pub(crate) fn add_area(&self, m: &M, areas: &Areas<M>, layout: &mut Layout, range: VpnRange, vma: Vma) {
        if layout.areas.overlaps(&(range.start.0..range.end.0)) {
            self.unmap_locked(m, areas, layout, range);
        }
        areas.add(m, self.id, range, &vma);
        layout.may_share_tables |= vma.shared_tables::<M::Format>().is_some();
        layout.areas.insert(range.start.0..range.end.0, vma);
        let is_joined = |(area, _): (&Range<u64>, _)| area.start != range.start.0 || area.end != range.end.0;
        if layout.may_share_tables && layout.areas.get_key_value(&range.start.0).is_some_and(is_joined) {
            // It is one area with its neighbours now.
            self.offer_tables(m, areas, layout, range);
        }
    }

    /// Returns the mapping that `page` lies in, and its range.
    #[must_use]
    pub fn vma_at(&self, m: &M, page: Vpn) -> Option<(VpnRange, Vma)> {
        let layout = self.layout.lock(m);
        layout.areas.get_key_value(&page.0).map(|(range, vma)| (VpnRange::new(Vpn(range.start), Vpn(range.end)), *vma))
    }

    /// Returns the first mapping that has a page in `range`, and all of its range.
    #[must_use]
    pub fn first_vma_in(&self, m: &M, range: VpnRange) -> Option<(VpnRange, Vma)> {
        if range.is_empty() {
            return None;
        }
        let layout = self.layout.lock(m);
        let (area, vma) = layout.areas.overlapping(range.start.0..range.end.0).next()?;
        Some((VpnRange::new(Vpn(area.start), Vpn(area.end)), *vma))
    }

    /// Returns the frame and the level that the page tables translate `page` to, if they do.
    #[must_use]
    pub fn translate(&self, m: &M, page: Vpn) -> Option<(shootdown::Pfn, Level)> {
        let tables = self.space(m).lock(m);
        let own = tables.find(page).map(|leaf| (leaf.frame(), leaf.level()));
        own.or_else(|| tables.find_shared(page).map(|found| (found.frame, found.level)))
    }

    /// Returns where the entry is that translates `page`, if one does, and not in a table that others have, too.
    #[must_use]
    pub fn entry_of(&self, m: &M, page: Vpn) -> Option<EntryAt> {
        let tables = self.space(m).lock(m);
        tables.find(page).map(|leaf| leaf.at())
    }

    /// Moves the end of the heap to `end`. The first call only says where the heap begins.
    ///
    /// # Context
    /// As [`map`](AddressSpace::map).
    pub fn set_brk<S>(&self, m: &M, memory: &Memory<M, S>, end: VirtAddr) {
        let end = Vpn(end.0.div_ceil(1 << M::Format::PAGE_SHIFT));
        let mut layout = self.layout.lock(m);
        let heap = layout.brk.get_or_insert(end..end);
        let was = core::mem::replace(&mut heap.end, end.max(heap.start));
        if end > was {
            let heap = VpnRange::new(was, end);
            self.add_area(m, &memory.areas, &mut layout, heap, Vma::anonymous(Protection::READ_WRITE));
        } else if end < was {
            self.unmap_locked(m, &memory.areas, &mut layout, VpnRange::new(end, was));
        }
    }
}
