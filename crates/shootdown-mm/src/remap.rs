//! Moving and resizing mappings (`mremap`).

use shootdown::{Level, TablesGuard, Vpn, VpnRange, page};

use crate::{
    OutOfMemory,
    address_space::{AddressSpace, PageGather, Program},
    fault::place,
};

/// Translations move a level 1 table at a time, and the page-table lock is not held for longer.
const EXTENT: Level = Level(2);

impl<M: Program> AddressSpace<M> {
    /// Makes the mapping at `old` as long as `n_pages`, at the same place. What is cut off is unmapped.
    ///
    /// # Context
    /// Task; takes the layout and the page-table lock.
    pub fn resize(&self, m: &M, old: VpnRange, n_pages: u64) {
        let new = VpnRange::from_len(old.start, n_pages);
        let mut layout = self.layout.lock(m);
        if new.end < old.end {
            self.unmap_locked(m, &mut layout, VpnRange::new(new.end, old.end));
        } else if let Some(vma) = layout.areas.get(&old.start.0).copied()
            && new.end > old.end
        {
            layout.areas.insert(old.end.0..new.end.0, vma);
        }
    }

    /// Moves the mapping at `old`, and its pages, to `new`, where anything else is unmapped first. Pages beyond the end of
    /// `new` are unmapped. What stays at the old address is said by `keeping` (`MREMAP_DONTUNMAP`).
    ///
    /// # Context
    /// As [`resize`](AddressSpace::resize).
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no memory for page tables, or if huge pages would not be aligned; pages that did not move are still where they were, and both
    /// mappings stay.
    pub fn relocate(&self, m: &M, old: VpnRange, new: VpnRange, keeping: Keep) -> Result<(), OutOfMemory> {
        if new.is_empty() {
            return Ok(());
        }
        let mut layout = self.layout.lock(m);
        let Some(vma) = layout.areas.get(&old.start.0).copied() else {
            return Ok(());
        };
        self.unmap_locked(m, &mut layout, new);
        let n_pages = old.n_pages().min(new.n_pages());
        let kept = VpnRange::from_len(old.start, n_pages);
        self.unmap_locked(m, &mut layout, VpnRange::new(kept.end, old.end));
        let distance = new.start.0.wrapping_sub(old.start.0);
        let mut moved = vma;
        moved.backing = vma.backing.moved(distance);
        layout.areas.insert(new.start.0..new.end.0, moved);

        let mut gather = self.gather(m);
        let result = self.move_leaves(m, &mut gather, kept, distance);
        gather.finish();
        if result.is_ok() && keeping == Keep::Nothing {
            self.unmap_locked(m, &mut layout, kept);
        }
        result
    }

    fn move_leaves(
        &self,
        m: &M,
        gather: &mut PageGather<'_, M>,
        range: VpnRange,
        distance: u64,
    ) -> Result<(), OutOfMemory> {
        let mut left = range;
        while !left.is_empty() {
            let end = extent_end::<M>(left.start, distance).min(left.end);
            let mut tables = self.space(m).lock(m);
            let extent = VpnRange::new(left.start, end);
            let moved = move_extent(m, gather, &mut tables, extent, distance);
            if moved.is_ok() && extent == EXTENT.span::<M::Format>(left.start) {
                // All that the table translated is gone, so nothing is left for the table to do.
                gather.unhook_tables(&mut tables, extent, extent);
            }
            // Flushed before the lock is released: whoever finds the page at its new address may take it away there
            // (CVE-2018-18281).
            gather.strengthen(self.habits.relocation);
            gather.flush();
            moved?;
            left.start = end;
        }
        Ok(())
    }
}

/// What stays at the old address after a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The mapping, without its pages.
    Mapping,
}

/// The end of what one page-table lock hold moves: the next table boundary of the old or the new address.
fn extent_end<M: Program>(page: Vpn, distance: u64) -> Vpn {
    let here = EXTENT.span::<M::Format>(page).end;
    let there = Vpn(page.0.wrapping_add(distance));
    let until = EXTENT.span::<M::Format>(there).end.0 - there.0;
    here.min(Vpn(page.0.saturating_add(until)))
}

fn move_extent<M: Program>(
    m: &M,
    gather: &mut PageGather<'_, M>,
    tables: &mut TablesGuard<'_, M>,
    range: VpnRange,
    distance: u64,
) -> Result<(), OutOfMemory> {
    let mut left = range;
    while let Some(leaf) = tables.next_leaf(left) {
        left.start = leaf.span().end;
        let (page, attributes, frame) = (leaf.page(), leaf.attributes(), page::share_mapped(&leaf));
        let target = Vpn(page.0.wrapping_add(distance));
        // First there, then no longer here: without memory for a table the page stays where it is. Both lead to the same
        // frame meanwhile, so no store can be lost.
        place(m, tables, target, frame, attributes)?;
        let was = tables.find(page).and_then(|leaf| gather.unhook(leaf));
        if was.is_some_and(|was| was.attributes.dirty && !attributes.dirty)
            && let Some(mut leaf) = tables.find(target)
        {
            let now = leaf.attributes();
            leaf.set_access_flags(shootdown::Attributes { dirty: true, ..now });
        }
    }
    Ok(())
}
