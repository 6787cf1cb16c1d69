//! More slots than there were when roots were made.

use super::{AreaError, FreeRange, KernelArea, Sealed, listed};
use crate::{
    addr::{Vpn, VpnRange},
    fix::Fix,
    flush::flush_kernel,
    format::EntryFormat,
    machine::Machine,
    stale::Stale,
    walk,
    word::Own,
};

/// Why kernel space could not grow. It is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrowError {
    /// There are no more slots below the area that are the kernel's.
    NoRoom {
        /// How many more were wanted.
        n_wanted: u64,
        /// How many more there are.
        n_left: u64,
    },
    /// There was no memory for the tables.
    NoTable {
        /// Tables that could be had.
        n_made: u64,
        /// Tables that it takes.
        n_wanted: u64,
    },
}

impl core::fmt::Display for GrowError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            GrowError::NoRoom { n_wanted, n_left } => {
                write!(f, "kernel space has room for {n_left} more slots, not for {n_wanted}")
            }
            GrowError::NoTable { n_made, n_wanted } => {
                write!(f, "{n_made} of {n_wanted} page tables for more of kernel space could be had")
            }
        }
    }
}

impl core::error::Error for GrowError {}

impl<'k, M: Machine> Sealed<'k, M> {
    /// Makes kernel space larger by so many slots, downwards, and returns the new addresses: every root has the slots, and
    /// every CPU knows, before anybody is told of one.
    ///
    /// # Context
    /// As [`flush_kernel`]. Holds the lock of the list of roots, so no root comes or goes meanwhile, and goes through all of
    /// them: for once in a long time.
    ///
    /// # Ordering
    /// As [`flush_kernel`].
    ///
    /// # Errors
    /// [`GrowError`]; nothing has changed.
    pub fn grow(&self, m: &'k M, n_more: u64) -> Result<FreeRange, GrowError> {
        let roots = self.kernel.roots.lock(m);
        let n_slots = roots.n_slots.get(m);
        let area = self.kernel.area.grown_to::<M::Format>(n_slots);
        let room = VpnRange::new(M::Format::KERNEL.start, area.pages().start);
        let n_left = room.n_pages() / M::Format::ROOT.pages::<M::Format>();
        if n_more == 0 || n_more > n_left {
            return Err(GrowError::NoRoom { n_wanted: n_more, n_left });
        }
        let grown = area.grown_to::<M::Format>(n_slots + n_more);
        let new = VpnRange::new(grown.pages().start, area.pages().start);
        self.fill_slots(m, new)?;
        if m.keeps(Fix::FillRootsBeforeUse) {
            self.copy_to_roots(m, KernelArea::at::<M::Format>(new), &roots.first);
        }
        roots.n_slots.set(m, n_slots + n_more);
        // For CPUs that remember that nothing is there; and all stores to roots are in memory, where walkers look.
        flush_kernel(m, Stale::EVERYTHING);
        drop(roots);
        Ok(FreeRange::new(new))
    }

    /// Makes tables for these slots of the kernel's own root: all of them, or none.
    fn fill_slots(&self, m: &'k M, pages: VpnRange) -> Result<(), GrowError> {
        let mut tables = self.lock(m);
        let n_wanted = pages.n_pages() / M::Format::ROOT.pages::<M::Format>();
        for n_made in 0..n_wanted {
            let slot = Vpn(pages.start.0 + n_made * M::Format::ROOT.pages::<M::Format>());
            if tables.fill_slot(slot).is_err() {
                drop(tables);
                self.empty_slots(m, VpnRange::new(pages.start, slot));
                return Err(GrowError::NoTable { n_made, n_wanted });
            }
        }
        Ok(())
    }

    /// Takes tables out of the kernel's own root again, of which no other root has copies; CPUs that run on that root may have
    /// looked into them.
    fn empty_slots(&self, m: &'k M, pages: VpnRange) {
        let mut slot = pages.start;
        while slot < pages.end {
            let table = self.lock(m).empty_slot(slot);
            let walks_ended = flush_kernel(m, Stale::EVERYTHING).unwrap_or_else(|| walk::quiesce(m));
            table.into_iter().for_each(|table| table.quiesced(walks_ended).free(m));
            slot.0 += M::Format::ROOT.pages::<M::Format>();
        }
    }

    fn copy_to_roots(&self, m: &'k M, area: Result<KernelArea, AreaError>, first: &Own<M>) {
        let (own, area) = (self.root(m), area.expect("whole slots of the kernel's"));
        let mut number = first.get(m);
        while let Some(space) = listed(m, number) {
            let root = space.root(m).expect("what is listed was created");
            self.kernel.copy_slots(m, own, area, root);
            number = space.kernel_link.next.get(m);
        }
    }
}
