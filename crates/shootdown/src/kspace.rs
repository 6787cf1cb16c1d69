//! Kernel space: mappings that every address space has, and addresses that are not used again too early.
//!
//! The kernel's part of a root table is a few of its entries, its *slots*. All roots have the same ones, so what is mapped below
//! a slot is mapped everywhere, at once; what must not happen is that a slot is filled when roots are already there, which then
//! lack it. So the slots are filled first ([`Building`]), one table each, and only when they are sealed ([`Sealed`]) are there
//! roots, with copies of them. A sealed slot never changes: nothing here does that, and the only way to have more of them,
//! [`Sealed::grow`], fills them in every root before it hands out an address.
//!
//! An address that is unmapped is not flushed at once: that would interrupt every CPU each time. It is *lazy* until somebody
//! flushes for many of them, and *free* after that. Types say which it is: [`FreeRange`] → [`MappedRange`] → [`LazyRange`] →
//! [`FreeRange`].
//!
//! ```
//! use shootdown::{
//!     Attributes, EntryFormat, Frame, FrameSink, Machine, Space,
//!     kspace::{KernelArea, KernelSpace, FreeRange},
//! };
//! /// Maps a frame for the kernel, unmaps it, and makes its address free again.
//! fn for_a_moment<M: Machine>(m: &M, kernel: &'static KernelSpace<M>, frame: Frame, sink: &impl FrameSink<M>) -> FreeRange {
//!     let (sealed, addresses) = kernel.build(m).expect("early enough for memory").seal(m);
//!     let (page, rest) = addresses.split(1).expect("there is more than one page");
//!     let mapped = sealed.map(m, page, [frame], Attributes::default()).expect("nothing is there");
//!     let lazy = sealed.unmap(m, mapped, sink);
//!     let flushed = sealed.flush(m, lazy.pages());
//!     lazy.free(m, &flushed).expect("the flush is newer").join(rest).expect("they follow each other")
//! }
//! ```

mod address;
mod area;
mod block;
mod grow;
mod large;
mod mapping;
mod roots;

use core::sync::atomic::Ordering::*;

pub use address::{Flushed, FreeRange, LazyRange, MappedRange};
pub use area::{AreaError, KernelArea};
pub use block::{Block, BlockMapError, Blocks, BlocksError, Current, NotInBlocks};
pub use grow::GrowError;
pub use mapping::{Absence, KernelMapError};
pub(crate) use roots::Link;

use roots::Roots;

use crate::{
    addr::{EntryAt, Pfn, TableFrame},
    format::EntryFormat,
    frame::NoFrame,
    lock::Locked,
    machine::{At, Machine},
    table::{Tables, TablesGuard, UnlinkedTable},
    walk::WalksEnded,
    word::Shared,
};

/// The kernel's mappings. The kernel places one.
pub struct KernelSpace<M: Machine> {
    tables: Locked<M, Tables<M>>,
    roots: Locked<M, Roots<M>>,
    // Counts flushes of kernel addresses that were begun.
    flushes: Shared<M>,
    // From when on the slots do not change: the frame number of the root, plus one.
    sealed_root: Shared<M>,
    area: KernelArea,
    sharing: Sharing,
}

/// Which roots have the kernel's mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Those that have copies of the slots, for good.
    Slots,
    /// The same, and they are on a list, since there may be more slots.
    ListedSlots,
    /// The kernel's own, and no other one.
    OneRoot,
}

/// There was no memory for the tables of kernel space. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSlots {
    /// Tables that could be had, the root among them.
    pub n_made: u64,
    /// Tables that it takes: the root, and one for each slot.
    pub n_wanted: u64,
}

impl core::fmt::Display for NoSlots {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {} page tables of kernel space could be had", self.n_made, self.n_wanted)
    }
}

impl core::error::Error for NoSlots {}

impl<M: Machine> KernelSpace<M> {
    /// Makes the place for the mappings of `area`, for good: roots are made and ended without a lock or a list.
    #[must_use]
    pub const fn new(area: KernelArea) -> Self {
        Self::shared(area, Sharing::Slots, Tables::for_kernel())
    }

    /// The same, and it can [grow](Sealed::grow): who makes or ends a root puts it on a list for that.
    #[must_use]
    pub const fn growable(area: KernelArea) -> Self {
        Self::shared(area, Sharing::ListedSlots, Tables::for_kernel())
    }

    /// The same for a kernel that runs on one root, as unikernels do: there are no slots, and tables come when they are needed.
    #[must_use]
    pub const fn with_one_root(area: KernelArea) -> Self {
        Self::shared(area, Sharing::OneRoot, Tables::for_one_root())
    }

    const fn shared(area: KernelArea, sharing: Sharing, tables: Tables<M>) -> Self {
        KernelSpace {
            tables: Locked::new(tables),
            roots: Locked::new(Roots::new()),
            flushes: Shared::ZERO,
            sealed_root: Shared::ZERO,
            area,
            sharing,
        }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.tables.visit(visitor, |tables, visitor| tables.visit(visitor));
        self.roots.visit(visitor, Roots::visit);
        self.flushes.visit("kernel.flushes", visitor);
        self.sealed_root.visit("kernel.sealed", visitor);
    }

    /// Returns kernel space if it is [sealed](Building::seal).
    #[must_use]
    pub fn sealed(&self, m: &M) -> Option<Sealed<'_, M>> {
        // ORDER(seal/use): what was filled before is found.
        let root = self.sealed_root.load(m, Acquire).checked_sub(1)?;
        Some(Sealed { kernel: self, root: TableFrame(Pfn(root)) })
    }

    /// Makes a root of the kernel's own, with a table in each slot, if it has slots: one page-table page for each, and nothing
    /// else.
    ///
    /// # Context
    /// Once, before any other root is made that is to have the slots. Does not sleep.
    ///
    /// # Errors
    /// [`NoSlots`] if there is not enough memory.
    ///
    /// # Panics
    /// If it was called before.
    #[doc(alias = "preallocate_vmalloc_pages")]
    pub fn build(&self, m: &M) -> Result<Building<'_, M>, NoSlots> {
        let n_slots = if self.sharing == Sharing::OneRoot { 0 } else { self.area.n_slots::<M::Format>() };
        let n_wanted = n_slots + 1;
        let mut tables = self.tables.lock(m);
        assert!(tables.root().is_none(), "kernel space is built once");
        let root = tables.create_root().map_err(|NoFrame| NoSlots { n_made: 0, n_wanted })?;
        drop(tables);
        if n_slots > 0
            && let Err(n_filled) = self.fill_slots(m, self.area)
        {
            self.take_down(m);
            return Err(NoSlots { n_made: 1 + n_filled, n_wanted });
        }
        self.roots.lock(m).set_n_slots(m, n_slots);
        Ok(Building { kernel: self, root })
    }

    /// Makes a table for each of these slots of the kernel's own root, or says for how many there was memory.
    fn fill_slots(&self, m: &M, area: KernelArea) -> Result<(), u64> {
        let mut tables = self.tables.lock(m);
        (0..)
            .zip(area.slots::<M::Format>())
            .try_for_each(|(n_filled, slot)| tables.fill_slot(slot).map_err(|_| n_filled))
    }

    /// Frees what was made of it, which nobody has seen.
    fn take_down(&self, m: &M) {
        let mut tables = self.tables.lock(m);
        for slot in self.area.slots::<M::Format>() {
            let table = tables.empty_slot(slot);
            table.into_iter().for_each(|table| table.quiesced(WalksEnded::new()).free(m));
        }
        let root = tables.take_root().map(UnlinkedTable::regain);
        root.into_iter().for_each(|root| root.quiesced(WalksEnded::new()).free(m));
    }

    /// Copies these slots from the kernel's own root into another one.
    fn copy_slots(&self, m: &M, own: TableFrame, area: KernelArea, root: TableFrame) {
        for slot in area.slots::<M::Format>() {
            let index = slot.index::<M::Format>(M::Format::ROOT);
            let raw = m.load(At::Entry(EntryAt { table: own, index }), Relaxed);
            // ORDER(map/walk): a walker on that root, which may be in use, finds the table zeroed.
            m.store(At::Entry(EntryAt { table: root, index }), raw, Release);
        }
    }
}

/// Kernel space whose slots are filled, and of which no other root has copies yet: the kernel may still change them.
///
/// No root can be made of it:
/// ```compile_fail,E0308
/// # use shootdown::{Machine, Space, kspace::Building};
/// fn too_early<M: Machine>(m: &M, space: &Space<M>, building: &Building<'_, M>) {
///     let _ = space.create_in(m, building);
/// }
/// ```
/// ```
/// # use shootdown::{Machine, Space, kspace::Building};
/// fn in_time<M: Machine>(m: &M, space: &Space<M>, building: Building<'_, M>) {
///     let (sealed, _addresses) = building.seal(m);
///     let _created = space.create_in(m, &sealed);
/// }
/// ```
#[must_use = "kernel space is of use when it is sealed"]
pub struct Building<'k, M: Machine> {
    kernel: &'k KernelSpace<M>,
    root: TableFrame,
}

impl<'k, M: Machine> Building<'k, M> {
    /// Returns the kernel's own root, which code without an address space runs on: a kernel that has other mappings puts those
    /// into other slots of it now.
    #[must_use]
    pub const fn root(&self) -> TableFrame {
        self.root
    }

    /// From now on the slots do not change. Also returns all addresses that can be mapped.
    pub fn seal(self, m: &M) -> (Sealed<'k, M>, FreeRange) {
        // ORDER(seal/use): after the slots are filled.
        self.kernel.sealed_root.store(m, self.root.0.0 + 1, Release);
        let Building { kernel, root } = self;
        (Sealed { kernel, root }, FreeRange::new(kernel.area.pages()))
    }
}

/// Kernel space whose slots do not change: roots have copies of them.
pub struct Sealed<'k, M: Machine> {
    kernel: &'k KernelSpace<M>,
    root: TableFrame,
}

impl<M: Machine> Clone for Sealed<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Sealed<'_, M> {}

impl<'k, M: Machine> Sealed<'k, M> {
    /// Returns the kernel's own root.
    #[must_use]
    pub const fn root(&self) -> TableFrame {
        self.root
    }

    /// Takes the lock of the kernel's page tables.
    ///
    /// # Context
    /// As [`Locked::lock`].
    pub(crate) fn lock(&self, m: &'k M) -> TablesGuard<'k, M> {
        self.kernel.tables.lock(m)
    }
}
