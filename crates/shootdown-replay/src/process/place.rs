//! Where an operation takes place: the machine, what its processes share, and one address space.

use std::cell::RefCell;

use crate::Sequential;
use rustc_hash::FxHashSet;
use shootdown::{Vpn, VpnRange};
use shootdown_mm::{AddressSpace, Backing, Memory, ObjectId, Vma};

/// An address space, and all that operations on it need.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) machine: &'a Sequential,
    pub(crate) memory: &'a Memory<Sequential>,
    pub(crate) segments: &'a Segments,
    pub(crate) space: &'a AddressSpace<Sequential>,
}

/// Shared-memory segments, whose size a recording does not show: mapped as far as they have been used.
#[derive(Debug, Default)]
pub(crate) struct Segments(RefCell<FxHashSet<ObjectId>>);

impl Segments {
    pub(crate) fn add(&self, segment: ObjectId) {
        self.0.borrow_mut().insert(segment);
    }
}

impl Place<'_> {
    /// Maps the page after a segment as part of it; tells whether there was one to grow.
    pub(crate) fn grow_segment(&self, page: Vpn) -> bool {
        let Some((_, vma)) = self.space.vma_at(self.machine, Vpn(page.0.wrapping_sub(1))) else {
            return false;
        };
        let grows = self.is_segment(vma);
        if grows {
            self.space.map(self.machine, VpnRange::from_len(page, 1), vma);
        }
        grows
    }

    /// Unmaps the segment at `page`.
    pub(crate) fn detach(&self, page: Vpn) {
        if let Some((range, vma)) = self.space.vma_at(self.machine, page)
            && self.is_segment(vma)
        {
            self.space.unmap(self.machine, range);
        }
    }

    fn is_segment(&self, vma: Vma) -> bool {
        matches!(vma.backing, Backing::Object { object, .. } if self.segments.0.borrow().contains(&object))
    }
}
