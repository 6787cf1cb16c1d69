//! Telling the kernel that pages will not be needed soon: `MADV_COLD` and `MADV_FREE`.

use shootdown::{Attributes, Vpn, VpnRange, page};

use crate::{
    address_space::{AddressSpace, Program},
    vma::{Backing, Sharing},
};

/// What becomes of the contents of pages that are not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// They are kept; the pages only count as unused (`MADV_COLD`).
    Kept,
    /// They may be dropped until the next store (`MADV_FREE`).
    Droppable,
}

impl<M: Program> AddressSpace<M> {
    /// Makes the private anonymous pages of `range` count as unused, with one flush if any did not.
    ///
    /// # Context
    /// Task; takes the layout and the page-table lock.
    pub fn age(&self, m: &M, range: VpnRange, contents: Contents) {
        let layout = self.layout.lock(m);
        let tables = self.space(m).lock(m);
        let mut gather = self.gather(m);
        for (area, vma) in layout.areas.overlapping(range.start.0..range.end.0) {
            if (vma.backing, vma.sharing) != (Backing::Anonymous, Sharing::Private) {
                continue;
            }
            let area = VpnRange::new(Vpn(area.start), Vpn(area.end));
            for leaf in tables.leaves(range.intersection(area)) {
                let now = leaf.attributes();
                // Neither the page of zeroes nor what others map, too.
                if now.accessed && page::is_exclusive(&leaf) {
                    let dirty = now.dirty && contents == Contents::Kept;
                    gather.change(leaf, Attributes { accessed: false, dirty, ..now });
                }
            }
        }
        drop(tables);
        gather.finish();
    }
}
