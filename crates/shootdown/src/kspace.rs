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
mod grow;

use core::sync::atomic::Ordering::*;

pub use address::{Flushed, FreeRange, KernelMapError, LazyRange, MappedRange};
pub use area::{AreaError, KernelArea};
pub use grow::GrowError;

use crate::{
    addr::{EntryAt, SpaceId, TableFrame},
    format::EntryFormat,
    frame::NoFrame,
    lock::Locked,
    machine::{At, Machine},
    residency::Space,
    table::{Tables, TablesGuard, UnlinkedTable},
    walk::WalksEnded,
    word::{Own, Shared},
};

/// The kernel's mappings. The kernel places one.
pub struct KernelSpace<M: Machine> {
    tables: Locked<M, Tables<M>>,
    roots: Locked<M, Roots<M>>,
    // Counts flushes of kernel addresses that were begun.
    flushes: Shared<M>,
    // 1 from when on the slots do not change.
    is_sealed: Shared<M>,
    area: KernelArea,
}

/// The address spaces that have copies of the slots, in a list, and how many slots there are.
struct Roots<M: Machine> {
    // An id plus one; 0 for none. Further ones are in each `Space`.
    first: Own<M>,
    n_slots: Own<M>,
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
    /// Makes the place for the mappings of `area`.
    #[must_use]
    pub const fn new(area: KernelArea) -> Self {
        KernelSpace {
            tables: Locked::new(Tables::for_kernel()),
            roots: Locked::new(Roots { first: Own::ZERO, n_slots: Own::ZERO }),
            flushes: Shared::ZERO,
            is_sealed: Shared::ZERO,
            area,
        }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.tables.visit(visitor, |tables, visitor| tables.visit(visitor));
        self.roots.visit(visitor, |roots, visitor| {
            roots.first.visit("kernel.roots", visitor);
            roots.n_slots.visit("kernel.slots", visitor);
        });
        self.flushes.visit("kernel.flushes", visitor);
        self.is_sealed.visit("kernel.sealed", visitor);
    }

    /// Returns kernel space if it is [sealed](Building::seal).
    #[must_use]
    pub fn sealed(&self, m: &M) -> Option<Sealed<'_, M>> {
        // ORDER(seal/use): what was filled before is found.
        (self.is_sealed.load(m, Acquire) != 0).then_some(Sealed { kernel: self })
    }

    /// Makes a root of the kernel's own, with a table in each slot: one page-table page for each, and nothing else.
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
        let n_slots = self.area.n_slots::<M::Format>();
        let n_wanted = n_slots + 1;
        let mut tables = self.tables.lock(m);
        assert!(tables.root().is_none(), "kernel space is built once");
        tables.create_root().map_err(|NoFrame| NoSlots { n_made: 0, n_wanted })?;
        drop(tables);
        if let Err(n_filled) = self.fill_slots(m, self.area) {
            self.take_down(m);
            return Err(NoSlots { n_made: 1 + n_filled, n_wanted });
        }
        self.roots.lock(m).n_slots.set(m, n_slots);
        Ok(Building { kernel: self })
    }

    /// Makes a table for each of these slots of the kernel's own root, or says for how many there was memory.
    fn fill_slots(&self, m: &M, area: KernelArea) -> Result<(), u64> {
        let mut tables = self.tables.lock(m);
        (0..)
            .zip(area.slots::<M::Format>())
            .try_for_each(|(n_filled, slot)| tables.fill_slot(slot).map_err(|_| n_filled))
    }

    fn root(&self, m: &M) -> TableFrame {
        self.tables.lock(m).root().expect("it was built")
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
            m.store(At::Entry(EntryAt { table: root, index }), raw, Relaxed);
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
}

impl<'k, M: Machine> Building<'k, M> {
    /// Returns the kernel's own root, which code without an address space runs on: a kernel that has other mappings puts those
    /// into other slots of it now.
    #[must_use]
    pub fn root(&self, m: &M) -> TableFrame {
        self.kernel.root(m)
    }

    /// From now on the slots do not change. Also returns all addresses that can be mapped.
    pub fn seal(self, m: &M) -> (Sealed<'k, M>, FreeRange) {
        // ORDER(seal/use): after the slots are filled.
        self.kernel.is_sealed.store(m, 1, Release);
        (Sealed { kernel: self.kernel }, FreeRange::new(self.kernel.area.pages()))
    }
}

/// Kernel space whose slots do not change: roots have copies of them.
pub struct Sealed<'k, M: Machine> {
    kernel: &'k KernelSpace<M>,
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
    pub fn root(&self, m: &M) -> TableFrame {
        self.kernel.root(m)
    }

    /// Takes the lock of the kernel's page tables.
    ///
    /// # Context
    /// As [`Locked::lock`].
    pub(crate) fn lock(&self, m: &'k M) -> TablesGuard<'k, M> {
        self.kernel.tables.lock(m)
    }
}

impl<M: Machine> Space<M> {
    /// Gives the address space a root table with the kernel's slots in it; [`destroy_in`](Space::destroy_in) ends it.
    ///
    /// # Context
    /// As [`create`](Space::create); takes the lock of the list of roots.
    ///
    /// # Errors
    /// [`NoFrame`] if there is no frame for the root.
    #[doc(alias = "pgd_alloc")]
    pub fn create_in(&self, m: &M, kernel: &Sealed<'_, M>) -> Result<(), NoFrame> {
        // Whoever makes more slots fills them in this root, too, or we copy them.
        let roots = kernel.kernel.roots.lock(m);
        let (own, area) = (kernel.root(m), kernel.kernel.area.grown_to::<M::Format>(roots.n_slots.get(m)));
        self.create_with(m, |root| kernel.kernel.copy_slots(m, own, area, root))?;
        self.kernel_link.insert(m, self.id(), &roots.first);
        Ok(())
    }

    /// Takes the root table away of an address space that was [created in](Space::create_in) `kernel`.
    ///
    /// # Context
    /// As [`destroy`](Space::destroy); takes the lock of the list of roots.
    ///
    /// # Panics
    /// As [`destroy`](Space::destroy).
    pub fn destroy_in(&self, m: &M, kernel: &Sealed<'_, M>) {
        let roots = kernel.kernel.roots.lock(m);
        self.kernel_link.remove(m, &roots.first);
        drop(roots);
        self.destroy(m);
    }
}

/// A place in the list of roots: ids plus one, 0 for none. All of them belong to the lock of the list.
pub(crate) struct Link<M: Machine> {
    next: Own<M>,
    previous: Own<M>,
    is_in: Own<M>,
}

impl<M: Machine> Link<M> {
    pub(crate) const fn new() -> Self {
        Link { next: Own::ZERO, previous: Own::ZERO, is_in: Own::ZERO }
    }

    pub(crate) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.next.visit("space.next", visitor);
        self.previous.visit("space.previous", visitor);
        self.is_in.visit("space.listed", visitor);
    }

    pub(crate) fn is_in(&self, m: &M) -> bool {
        self.is_in.get(m) != 0
    }

    /// Puts the address space of this link before all others.
    fn insert(&self, m: &M, id: SpaceId, first: &Own<M>) {
        let next = first.get(m);
        self.next.set(m, next);
        self.previous.set(m, 0);
        self.is_in.set(m, 1);
        if let Some(next) = link_of(m, next) {
            next.previous.set(m, u64::from(id.0) + 1);
        }
        first.set(m, u64::from(id.0) + 1);
    }

    fn remove(&self, m: &M, first: &Own<M>) {
        assert!(self.is_in(m), "an address space is taken from a list that it is not in");
        let (next, previous) = (self.next.get(m), self.previous.get(m));
        if let Some(next) = link_of(m, next) {
            next.previous.set(m, previous);
        }
        match link_of(m, previous) {
            Some(previous) => previous.next.set(m, next),
            None => first.set(m, next),
        }
        self.is_in.set(m, 0);
    }
}

/// The address space whose id, plus one, this is.
fn listed<M: Machine>(m: &M, number: u64) -> Option<&Space<M>> {
    number.checked_sub(1).and_then(|id| m.space(SpaceId(id as u32)))
}

fn link_of<M: Machine>(m: &M, number: u64) -> Option<&Link<M>> {
    listed(m, number).map(|space| &space.kernel_link)
}
