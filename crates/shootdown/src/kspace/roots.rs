//! Roots that have copies of the slots: how they come to them, and how they are found when there are more slots.

use super::{Sealed, Sharing};
use crate::{addr::SpaceId, frame::NoFrame, machine::Machine, residency::Space, word::Own};

/// The address spaces that have copies of the slots, in a list, and how many slots there are. The list is kept where kernel
/// space can grow.
pub(super) struct Roots<M: Machine> {
    // An id plus one; 0 for none. Further ones are in each `Space`.
    first: Own<M>,
    n_slots: Own<M>,
}

impl<M: Machine> Roots<M> {
    pub(super) const fn new() -> Self {
        Roots { first: Own::ZERO, n_slots: Own::ZERO }
    }

    pub(super) fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.first.visit("kernel.roots", visitor);
        self.n_slots.visit("kernel.slots", visitor);
    }

    pub(super) fn n_slots(&self, m: &M) -> u64 {
        self.n_slots.get(m)
    }

    pub(super) fn set_n_slots(&self, m: &M, n_slots: u64) {
        self.n_slots.set(m, n_slots);
    }

    /// Calls `each` for every address space of the list.
    pub(super) fn for_each(&self, m: &M, each: impl Fn(&Space<M>)) {
        let mut number = self.first.get(m);
        while let Some(space) = listed(m, number) {
            each(space);
            number = space.kernel_link.next.get(m);
        }
    }
}

impl<M: Machine> Space<M> {
    /// Gives the address space a root table with the kernel's slots in it; [`destroy_in`](Space::destroy_in) ends it.
    ///
    /// # Context
    /// As [`create`](Space::create); takes the lock of the list of roots where kernel space can grow.
    ///
    /// # Errors
    /// [`NoFrame`] if there is no frame for the root.
    ///
    /// # Panics
    /// If the kernel has [one root](super::KernelSpace::with_one_root).
    #[doc(alias = "pgd_alloc")]
    pub fn create_in(&self, m: &M, kernel: &Sealed<'_, M>) -> Result<(), NoFrame> {
        let (space, own) = (kernel.kernel, kernel.root());
        assert!(space.sharing != Sharing::OneRoot, "a root is made for a kernel that has but its own");
        if space.sharing == Sharing::Slots {
            return self.create_with(m, |root| space.copy_slots(m, own, space.area, root));
        }
        // Whoever makes more slots fills them in this root, too, or we copy them.
        let roots = space.roots.lock(m);
        let area = space.area.grown_to::<M::Format>(roots.n_slots(m));
        self.create_with(m, |root| space.copy_slots(m, own, area, root))?;
        self.kernel_link.insert(m, self.id(), &roots.first);
        Ok(())
    }

    /// Takes the root table away of an address space that was [created in](Space::create_in) `kernel`.
    ///
    /// # Context
    /// As [`destroy`](Space::destroy); takes the lock of the list of roots where kernel space can grow.
    ///
    /// # Panics
    /// As [`destroy`](Space::destroy).
    pub fn destroy_in(&self, m: &M, kernel: &Sealed<'_, M>) {
        if kernel.kernel.sharing == Sharing::ListedSlots {
            let roots = kernel.kernel.roots.lock(m);
            self.kernel_link.remove(m, &roots.first);
        }
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
