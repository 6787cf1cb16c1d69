//! More slots than there were when roots were made.

use super::{Absence, FreeRange, KernelArea, Sealed, Sharing, roots::Roots};
use crate::{fix::Fix, flush::flush_kernel, machine::Machine, stale::Stale, walk};

/// Why kernel space could not grow. It is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrowError {
    /// It is not [growable](super::KernelSpace::growable): its roots are on no list.
    Fixed,
    /// There are not so many slots below the area that are the kernel's, or none were wanted.
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
            GrowError::Fixed => f.write_str("kernel space was made to stay as large as it is"),
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
    /// them; every CPU is interrupted, or told by a broadcast: for once in a long time.
    ///
    /// # Ordering
    /// As [`flush_kernel`].
    ///
    /// # Errors
    /// [`GrowError`]; nothing has changed.
    pub fn grow(&self, m: &'k M, n_more: u64) -> Result<FreeRange, GrowError> {
        if self.kernel.sharing != Sharing::ListedSlots {
            return Err(GrowError::Fixed);
        }
        let roots = self.kernel.roots.lock(m);
        let n_slots = roots.n_slots(m);
        let area = self.kernel.area.grown_to::<M::Format>(n_slots);
        let no_room = |n_left| GrowError::NoRoom { n_wanted: n_more, n_left };
        let new = area.next_below::<M::Format>(n_more).map_err(no_room)?;
        if let Err(n_made) = self.kernel.fill_slots(m, new) {
            self.empty_slots(m, new);
            return Err(GrowError::NoTable { n_made, n_wanted: n_more });
        }
        if m.keeps(Fix::FillRootsBeforeUse) {
            self.copy_to_roots(m, new, &roots);
        }
        roots.set_n_slots(m, n_slots + n_more);
        if m.absence() == Absence::Forgotten || m.keeps(Fix::TellOfKernelMap) {
            // For CPUs that remember that nothing is there; and all stores to roots are in memory, where walkers look.
            flush_kernel(m, Stale::EVERYTHING);
        }
        drop(roots);
        Ok(FreeRange::new(new.pages()))
    }

    /// Takes tables out of the kernel's own root again, of which no other root has copies; CPUs that run on that root may have
    /// looked into them.
    fn empty_slots(&self, m: &'k M, area: KernelArea) {
        for slot in area.slots::<M::Format>() {
            let Some(table) = self.lock(m).empty_slot(slot) else { continue };
            let walks_ended = walk::end_walks(m, flush_kernel(m, Stale::EVERYTHING));
            table.quiesced(walks_ended).free(m);
        }
    }

    fn copy_to_roots(&self, m: &'k M, area: KernelArea, roots: &Roots<M>) {
        roots.for_each(m, |space| {
            let root = space.root(m).expect("what is listed was created");
            self.kernel.copy_slots(m, self.root(), area, root);
        });
    }
}
