//! Taking mappings away: `munmap`, discarding contents, the end of an address space.

use shootdown::{Gather, Level, Pfn, Rmap, Unhooked, Vpn, VpnRange, page};

use crate::{
    address_space::{AddressSpace, Layout, PageGather, Program},
    areas::Areas,
    habits::Exit,
    memory::Memory,
    share,
    storage::ObjectId,
    vma::{PageSize, Sharing, Vma},
};

/// All pages there are.
const EVERYTHING: VpnRange = VpnRange::new(Vpn(0), Vpn(u64::MAX));

impl<M: Program> AddressSpace<M> {
    /// Unmaps `range`, and frees the page tables that translate nothing any more. When it returns, no CPU can reach the
    /// pages.
    ///
    /// One flush, and one more for each table of level 1 with pages of shared objects that were stored to.
    ///
    /// # Context
    /// Task; takes the layout, the reverse map and the page-table lock.
    pub fn unmap<S>(&self, m: &M, memory: &Memory<M, S>, range: VpnRange) {
        let mut layout = self.layout.lock(m);
        self.unmap_locked(m, &memory.areas, &mut layout, range);
    }

    pub(crate) fn unmap_locked(&self, m: &M, areas: &Areas<M>, layout: &mut Layout, range: VpnRange) {
        if range.is_empty() {
            return;
        }
        let mut gather = self.gather(m);
        self.leave_tables(m, areas, &mut gather, layout, range);
        unhook_areas(m, &mut gather, layout, range);
        gather.unhook_tables(&mut self.space(m).lock(m), range, layout.hole_around(range));
        gather.finish();
        // Who looks for the mappings of a page finds this one until no TLB has it.
        areas.remove(m, self.id(), layout, range);
        layout.areas.remove(range.start.0..range.end.0);
    }

    /// Drops the contents of `range`; the mappings stay (`MADV_DONTNEED`). Objects keep theirs.
    ///
    /// # Context
    /// Task; takes the layout, the reverse map and the page-table lock.
    pub fn discard<S>(&self, m: &M, memory: &Memory<M, S>, range: VpnRange) {
        let layout = self.layout.lock(m);
        let mut gather = self.gather(m);
        self.leave_tables(m, &memory.areas, &mut gather, &layout, range);
        unhook_areas(m, &mut gather, &layout, range);
        gather.finish();
        self.offer_tables(m, &memory.areas, &layout, range);
    }

    /// Begins to end an address space that no task will use any more: leaves the tables that others have, too, and gives none
    /// away. [`destroy`](Self::destroy) does that by itself, later, if nobody has.
    ///
    /// # Context
    /// As [`destroy`](Self::destroy).
    pub fn begin_exit<S>(&self, m: &M, memory: &Memory<M, S>) {
        let layout = self.layout.lock(m);
        if share::may_have_shared_tables::<M>(&layout, EVERYTHING) {
            let mut gather = self.gather(m);
            self.leave_tables(m, &memory.areas, &mut gather, &layout, EVERYTHING);
            gather.finish();
        }
    }

    /// Ends the address space: unmaps everything, frees every table.
    ///
    /// # Context
    /// Task, when no task uses the address space any more. The calling CPU, and others, may have it loaded lazily. Takes
    /// the reverse map and the page-table lock.
    ///
    /// # Panics
    /// If a CPU still uses it.
    pub fn destroy<S>(self, m: &M, memory: &Memory<M, S>) {
        let space = self.space(m);
        // Devices have done with it before anything goes, whatever CPUs are told then (Linux: `mmu_notifier_release`, first of
        // all in `exit_mmap`).
        let retired = match space.retire(m) {
            Ok(retired) => retired,
            Err(error) => panic!("an address space is in use while it is destroyed: {error}"),
        };
        let gather = match self.habits.exit {
            Exit::Flushes => self.gather(m),
            // No TLB is told of pages.
            Exit::Quietly => Gather::exiting(m, &retired, &page::DropReference),
        };
        self.take_apart(m, &memory.areas, gather);
        space.destroy(m);
    }

    fn take_apart(&self, m: &M, areas: &Areas<M>, mut gather: PageGather<'_, M>) {
        let mut layout = self.layout.lock(m);
        self.leave_tables(m, areas, &mut gather, &layout, EVERYTHING);
        for range in clusters::<M>(&layout) {
            unhook_areas(m, &mut gather, &layout, range);
        }
        let mut tables = self.space(m).lock(m);
        clusters::<M>(&layout).for_each(|range| gather.unhook_tables(&mut tables, range, EVERYTHING));
        drop(tables);
        gather.finish();
        areas.remove(m, self.id(), &layout, EVERYTHING);
        layout.areas.clear();
    }
}

/// Ranges that have all areas in them, and few holes that take longer to step over than to begin anew behind them.
fn clusters<M: Program>(layout: &Layout) -> impl Iterator<Item = VpnRange> {
    /// In entries of level 2.
    const WIDEST_HOLE: u64 = 32;
    let widest_hole = WIDEST_HOLE * Level(2).pages::<M::Format>();
    let mut areas = layout.areas.iter().map(|(area, _)| area).peekable();
    core::iter::from_fn(move || {
        let first = areas.next()?;
        let mut end = first.end;
        while let Some(next) = areas.next_if(|next| next.start - end <= widest_hole) {
            end = next.end;
        }
        Some(VpnRange::new(Vpn(first.start), Vpn(end)))
    })
}

/// Unhooks what is mapped in `range`, and tells pages of objects that they are mapped once less.
fn unhook_areas<M: Program>(m: &M, gather: &mut PageGather<'_, M>, layout: &Layout, range: VpnRange) {
    let mut left = range;
    // Whether there are pages of objects between `left.start` and the area.
    let mut has_objects = false;
    for (area, vma) in layout.areas.overlapping(range.start.0..range.end.0) {
        let Some(object) = vma.object() else { continue };
        if vma.sharing == Sharing::Private {
            has_objects = true;
            continue;
        }
        let area = VpnRange::new(Vpn(area.start), Vpn(area.end)).intersection(range);
        unhook_private(m, gather, VpnRange::new(left.start, area.start), has_objects);
        gather.unmap(area, |unhooked| leave_object(m, object, vma, unhooked));
        (left.start, has_objects) = (area.end, false);
    }
    unhook_private(m, gather, left, has_objects);
}

/// Unhooks what no object is shared in, however many areas it is.
fn unhook_private<M: Program>(m: &M, gather: &mut PageGather<'_, M>, range: VpnRange, has_objects: bool) {
    if range.is_empty() {
        return;
    }
    gather.unmap(range, |unhooked| {
        if has_objects {
            // To a page of an object nobody stores through a private mapping; its copy is no object's.
            frames_of(unhooked).filter(|frame| page::is_adopted(m, *frame)).for_each(|frame| {
                page::uncount_mappings(m, frame, 1);
            });
        }
        Rmap::Now
    });
}

/// Notes what was stored to pages of a shared object, and says when they count as mapped once less.
fn leave_object<M: Program>(m: &M, object: ObjectId, vma: &Vma, unhooked: &Unhooked) -> Rmap {
    if unhooked.attributes.dirty {
        frames_of(unhooked).for_each(|frame| page::mark_dirty(m, frame));
        // Large pages without storage, as of a huge-page file system, are never written back.
        if vma.page_size == PageSize::Base || object.is_stored() {
            return Rmap::Delayed;
        }
    }
    page::uncount_mappings(m, unhooked.frame, unhooked.count);
    Rmap::Now
}

fn frames_of(unhooked: &Unhooked) -> impl Iterator<Item = Pfn> + use<> {
    (unhooked.frame.0..unhooked.frame.0 + unhooked.count).map(Pfn)
}
