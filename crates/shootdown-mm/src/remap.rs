//! Moving and resizing mappings (`mremap`).

use shootdown::VpnRange;

use crate::{
    OutOfMemory,
    address_space::{AddressSpace, Program},
};

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
    /// [`OutOfMemory`] if there is no memory for page tables, or if huge pages would not be aligned; pages that did not
    /// move are still where they were, and both mappings stay.
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
        let strength = self.habits.relocation;
        let result =
            gather.relocate(kept, new.start, || (), |gather| gather.strengthen(strength)).map_err(|_| OutOfMemory);
        gather.finish();
        if result.is_ok() && keeping == Keep::Nothing {
            self.unmap_locked(m, &mut layout, kept);
        }
        result
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
