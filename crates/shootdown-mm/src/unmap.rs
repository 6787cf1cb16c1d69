//! Taking mappings away: `munmap`, discarding contents, the end of an address space.

use shootdown::{Gather, Rmap, Vpn, VpnRange, page::DropReference};

use crate::{
    address_space::{AddressSpace, Layout, Program},
    habits::Exit,
};

/// All pages there are.
const EVERYTHING: VpnRange = VpnRange::new(Vpn(0), Vpn(u64::MAX));

impl<M: Program> AddressSpace<M> {
    /// Unmaps `range`, and frees the page tables that translate nothing any more. When it returns, no CPU can reach the
    /// pages.
    ///
    /// # Context
    /// Task; takes the layout and the page-table lock.
    pub fn unmap(&self, m: &M, range: VpnRange) {
        let mut layout = self.layout.lock(m);
        self.unmap_locked(m, &mut layout, range);
    }

    pub(crate) fn unmap_locked(&self, m: &M, layout: &mut Layout, range: VpnRange) {
        if range.is_empty() {
            return;
        }
        layout.areas.remove(range.start.0..range.end.0);
        let hole = layout.hole_around(range);
        let mut gather = self.gather(m);
        gather.unmap(range, |_| Rmap::Now);
        gather.unhook_tables(&mut self.space(m).lock(m), range, hole);
        gather.finish();
    }

    /// Drops the contents of `range`; the mappings stay (`MADV_DONTNEED`).
    ///
    /// # Context
    /// As [`unmap`](AddressSpace::unmap).
    pub fn discard(&self, m: &M, range: VpnRange) {
        let _layout = self.layout.lock(m);
        let mut gather = self.gather(m);
        gather.unmap(range, |_| Rmap::Now);
        gather.finish();
    }

    /// Ends the address space: unmaps everything, frees every table.
    ///
    /// # Context
    /// Task, when no task uses the address space any more. The calling CPU, and others, may have it loaded lazily.
    ///
    /// # Panics
    /// If a CPU still uses it.
    pub fn destroy(self, m: &M) {
        match self.habits.exit {
            Exit::Flushes => self.unmap(m, EVERYTHING),
            Exit::Quietly => self.take_apart(m),
        }
        self.space(m).destroy(m);
    }

    /// Unmaps everything, and tells no TLB of pages.
    fn take_apart(&self, m: &M) {
        let space = self.space(m);
        let retired = match space.retire(m) {
            Ok(retired) => retired,
            Err(error) => panic!("an address space is in use while it is destroyed: {error}"),
        };
        let mut layout = self.layout.lock(m);
        layout.areas.clear();
        let mut gather = Gather::exiting(m, &retired, &DropReference);
        gather.unmap(EVERYTHING, |_| Rmap::Now);
        gather.unhook_tables(&mut space.lock(m), EVERYTHING, EVERYTHING);
        gather.finish();
    }
}
