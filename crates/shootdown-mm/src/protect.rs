//! Changing what may be done with pages that stay.

use core::ops::Range;

use alloc::vec::Vec;
use shootdown::{Attributes, Leaf, Vpn, VpnRange, page};

use crate::{
    address_space::{AddressSpace, PageGather, Program},
    memory::Memory,
    vma::{Protection, Sharing, Vma},
};

impl<M: Program> AddressSpace<M> {
    /// Changes the protection of what is mapped in `range`; holes stay holes (`mprotect`).
    ///
    /// # Context
    /// Task; takes the layout, the reverse map and the page-table lock.
    pub fn protect<S>(&self, m: &M, memory: &Memory<M, S>, range: VpnRange, protection: Protection) {
        if range.is_empty() {
            return;
        }
        let mut layout = self.layout.lock(m);
        let changed: Vec<(Range<u64>, Vma)> = layout
            .areas
            .overlapping(range.start.0..range.end.0)
            .filter(|(_, vma)| vma.protection != protection)
            .map(|(area, vma)| (area.start.max(range.start.0)..area.end.min(range.end.0), Vma { protection, ..*vma }))
            .collect();
        let mut gather = self.gather(m);
        for (area, vma) in changed {
            let pages = VpnRange::new(Vpn(area.start), Vpn(area.end));
            self.leave_tables(m, &memory.areas, &mut gather, &layout, pages);
            self.protect_leaves(m, &mut gather, pages, &vma);
            layout.areas.insert(area, vma);
        }
        gather.finish();
        self.offer_tables(m, &memory.areas, &layout, range);
    }

    fn protect_leaves(&self, m: &M, gather: &mut PageGather<'_, M>, range: VpnRange, vma: &Vma) {
        let tables = self.space(m).lock(m);
        for mut leaf in tables.leaves(range) {
            let now = leaf.attributes();
            let wanted = Attributes {
                writable: vma.protection.write && may_stay_writable(&leaf, vma),
                accessed: now.accessed,
                dirty: now.dirty,
                ..vma.protection.without_writes()
            };
            if !now.user && wanted.permits(now) {
                // What user mode could not use at all, no TLB can hold for it.
                leaf.set_access_flags(wanted);
            } else {
                gather.change(leaf, wanted);
            }
        }
    }
}

/// Whether a store needs no fault: neither to copy the page nor to notice that it gets dirty.
fn may_stay_writable<M: Program>(leaf: &Leaf<'_, M>, vma: &Vma) -> bool {
    match vma.sharing {
        _ if leaf.attributes().writable => true,
        Sharing::Private => page::is_exclusive(leaf),
        Sharing::Shared => vma.shared_tables::<M::Format>().is_some(),
    }
}
