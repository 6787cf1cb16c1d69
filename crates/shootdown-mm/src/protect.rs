//! Changing what may be done with pages that stay.

use shootdown::{Attributes, Leaf, Vpn, VpnRange, page};

use crate::{
    address_space::{AddressSpace, Layout, PageGather, Program},
    memory::Memory,
    vma::{Protection, Sharing, Vma},
};

impl<M: Program> AddressSpace<M> {
    /// Changes the protection of what is mapped in `range`; holes stay holes (`mprotect`).
    ///
    /// # Context
    /// Task; takes the layout, the reverse map and the page-table lock.
    pub fn protect<S>(&self, m: &M, memory: &Memory<M, S>, range: VpnRange, protection: Protection) {
        let mut layout = self.layout.lock(m);
        let mut gather = self.gather(m);
        let mut left = range;
        while let Some((pages, vma)) = next_to_change(&layout, left, protection) {
            self.leave_tables(m, &memory.areas, &mut gather, &layout, pages);
            self.protect_leaves(m, &mut gather, pages, &vma);
            layout.areas.insert(pages.start.0..pages.end.0, vma);
            left.start = pages.end;
        }
        gather.finish();
        self.offer_tables(m, &memory.areas, &layout, range);
    }

    fn protect_leaves(&self, m: &M, gather: &mut PageGather<'_, M>, range: VpnRange, vma: &Vma) {
        let tables = self.space(m).lock(m);
        let permissions = Attributes { writable: vma.protection.write, ..vma.protection.without_writes() };
        gather.change_range(&tables, range, (permissions, self.habits.looser), |leaf| may_stay_writable(leaf, vma));
    }
}

/// The first part of `range` that has another protection, with what it is to be.
fn next_to_change(layout: &Layout, range: VpnRange, protection: Protection) -> Option<(VpnRange, Vma)> {
    if range.is_empty() {
        return None;
    }
    let mut areas = layout.areas.overlapping(range.start.0..range.end.0);
    let (area, vma) = areas.find(|(_, vma)| vma.protection != protection)?;
    let pages = VpnRange::new(Vpn(area.start), Vpn(area.end)).intersection(range);
    Some((pages, Vma { protection, ..*vma }))
}

/// Whether a store needs no fault: neither to copy the page nor to notice that it gets dirty.
fn may_stay_writable<M: Program>(leaf: &Leaf<'_, M>, vma: &Vma) -> bool {
    match vma.sharing {
        _ if leaf.attributes().writable => true,
        Sharing::Private => page::is_exclusive(leaf),
        Sharing::Shared => vma.shared_tables::<M::Format>().is_some(),
    }
}
