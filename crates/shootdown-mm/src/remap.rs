//! Moving and resizing mappings (`mremap`).

use shootdown::VpnRange;

use crate::{
    OutOfMemory,
    address_space::{AddressSpace, Program},
    memory::Memory,
};

impl<M: Program> AddressSpace<M> {
    /// Makes the mapping at `old` as long as `n_pages`, at the same place. What is cut off is unmapped.
    ///
    /// # Context
    /// Task; takes the layout, the reverse map and the page-table lock.
    pub fn resize<S>(&self, m: &M, memory: &Memory<M, S>, old: VpnRange, n_pages: u64) {
        let new = VpnRange::from_len(old.start, n_pages);
        let mut layout = self.layout.lock(m);
        if new.end < old.end {
            self.unmap_locked(m, &memory.areas, &mut layout, VpnRange::new(new.end, old.end));
        } else if let Some(vma) = layout.areas.get(&old.start.0).copied()
            && new.end > old.end
        {
            self.add_area(m, &memory.areas, &mut layout, VpnRange::new(old.end, new.end), vma);
        }
    }

    /// Moves the mapping at `old`, and its pages, to `new`, where anything else is unmapped first. Pages beyond the end of
    /// `new` are unmapped. What stays at the old address is said by `keeping` (`MREMAP_DONTUNMAP`).
    ///
    /// # Context
    /// As [`resize`](AddressSpace::resize).
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no memory for page tables, or if huge pages would not be aligned; pages that did not
    /// move are still where they were, and both mappings stay.
    pub fn relocate<S>(
        &self,
        m: &M,
        memory: &Memory<M, S>,
        old: VpnRange,
        new: VpnRange,
        keeping: Keep,
    ) -> Result<(), OutOfMemory> {
        if new.is_empty() {
            return Ok(());
        }
        let mut layout = self.layout.lock(m);
        let Some(vma) = layout.areas.get(&old.start.0).copied() else {
            return Ok(());
        };
        self.unmap_locked(m, &memory.areas, &mut layout, new);
        let n_pages = old.n_pages().min(new.n_pages());
        let kept = VpnRange::from_len(old.start, n_pages);
        self.unmap_locked(m, &memory.areas, &mut layout, VpnRange::new(kept.end, old.end));
        let distance = new.start.0.wrapping_sub(old.start.0);
        let mut moved = vma;
        moved.backing = vma.backing.moved(distance);
        self.add_area(m, &memory.areas, &mut layout, new, moved);

        let hold_rmap = || vma.object().map(|_| memory.areas.lock(m));
        let mut gather = self.gather(m);
        // Here, to move what is in them; and there, so that nobody takes in a table that is being filled.
        for range in [kept, new] {
            self.leave_tables(m, &memory.areas, &mut gather, &layout, range);
        }
        let strength = self.habits.relocation;
        let result = gather.relocate(kept, new.start, hold_rmap, |gather| gather.strengthen(strength));
        gather.finish();
        if result.is_ok() && keeping == Keep::Nothing {
            self.unmap_locked(m, &memory.areas, &mut layout, kept);
        }
        for range in [kept, new] {
            self.offer_tables(m, &memory.areas, &layout, range);
        }
        result.map_err(|_| OutOfMemory)
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
