//! Fork: a second address space with the same contents, sharing every private page until one of the two writes.

use shootdown::{Attributes, SpaceId, Vpn, VpnRange, page};

use crate::{
    OutOfMemory,
    address_space::{AddressSpace, PageGather, Program},
    fault::{place, place_objects},
    memory::Memory,
    vma::{Sharing, Vma},
};

impl<M: Program> AddressSpace<M> {
    /// Makes a copy of this address space at `child`. When it returns, no CPU can write to a page that both now share.
    ///
    /// Shared mappings are not filled in; the child finds their pages by faults, and their tables, where it shares these.
    ///
    /// # Context
    /// Task; takes the layout, the reverse map and the page-table locks.
    ///
    /// # Errors
    /// [`OutOfMemory`]: there is no child, and this address space faults a few times more than before.
    pub fn fork<S>(&self, m: &M, memory: &Memory<M, S>, child: SpaceId) -> Result<AddressSpace<M>, OutOfMemory> {
        let layout = self.layout.lock(m);
        let child = AddressSpace::create(m, child, self.habits)?;
        // Before its first page is mapped.
        memory.areas.add_all(m, child.id(), &layout);
        *child.layout.lock(m) = layout.clone();
        let mut gather = self.gather(m);
        let mut copied = Ok(());
        for (area, vma) in layout.areas.iter().filter(|(_, vma)| vma.sharing == Sharing::Private) {
            let range = VpnRange::new(Vpn(area.start), Vpn(area.end));
            copied = copied.and_then(|()| self.share_leaves(m, &mut gather, &child, range, vma));
        }
        gather.strengthen(self.habits.fork);
        // Also when memory ran out: what was write-protected so far is shared no less.
        gather.finish();
        match copied {
            Ok(()) => Ok(child),
            Err(error) => {
                child.destroy(m, memory);
                Err(error)
            }
        }
    }

    fn share_leaves(
        &self,
        m: &M,
        gather: &mut PageGather<'_, M>,
        child: &AddressSpace<M>,
        range: VpnRange,
        vma: &Vma,
    ) -> Result<(), OutOfMemory> {
        let place = if vma.object().is_some() { place_objects } else { place };
        let tables = self.space(m).lock(m);
        let mut child_tables = child.space(m).lock(m);
        for leaf in tables.leaves(range) {
            let shared = Attributes { writable: false, ..leaf.attributes() };
            place(m, &mut child_tables, leaf.page(), page::share_mapped(&leaf), shared)?;
            if leaf.attributes().writable {
                gather.change(leaf, shared);
            }
        }
        Ok(())
    }
}
