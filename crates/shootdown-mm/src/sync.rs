//! Write-back: finding what was stored to shared objects since the last time.

use shootdown::{Attributes, Vpn, VpnRange};

use crate::{
    address_space::{AddressSpace, Program},
    vma::{Backing, Sharing},
};

impl<M: Program> AddressSpace<M> {
    /// Makes the shared object pages of `range` clean and read-only, so that the next store is noticed; returns how many
    /// were dirty (`msync` with `MS_SYNC`). One flush for each of them, since each is written out by itself.
    ///
    /// # Context
    /// Task; takes the layout and the page-table lock.
    pub fn clean(&self, m: &M, range: VpnRange) -> u64 {
        let layout = self.layout.lock(m);
        let mut n_dirty = 0;
        for (area, vma) in layout.areas.overlapping(range.start.0..range.end.0) {
            if vma.sharing == Sharing::Shared && matches!(vma.backing, Backing::Object { .. }) {
                let area = VpnRange::new(Vpn(area.start), Vpn(area.end));
                n_dirty += self.clean_leaves(m, range.intersection(area));
            }
        }
        n_dirty
    }

    fn clean_leaves(&self, m: &M, range: VpnRange) -> u64 {
        let tables = self.space(m).lock(m);
        let mut gather = self.gather(m);
        let mut n_dirty = 0;
        for leaf in tables.leaves(range) {
            let now = leaf.attributes();
            if now.writable || now.dirty {
                gather.change(leaf, Attributes { writable: false, dirty: false, ..now });
                gather.flush();
                n_dirty += 1;
            }
        }
        drop(tables);
        gather.finish();
        n_dirty
    }
}
