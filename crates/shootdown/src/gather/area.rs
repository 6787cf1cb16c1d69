//! What entries do not say of the part of an address space that they lie in.

use super::Gather;
use crate::{fix::Fix, frame::FrameSink, machine::Machine, policy::Policy, residency::Space};

/// Whose the frames are that an area of an address space maps.
///
/// What else a flush wants to know of an area, its page size and whether it was executable, the entries say themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Ours: each translation holds a reference, which goes to the sink.
    Counted,
    /// Somebody else's, a driver's, who counts no mappings and learns that there are none by looking for areas that map
    /// them (`VM_PFNMAP`). They are never held, and are flushed before the area's end, from when on it may be gone
    /// (CVE-2022-39188).
    Uncounted,
}

impl<'a, M: Machine, S: FrameSink<M>> Gather<'a, M, S> {
    /// Begins to take translations out of one area of `space`, whose end is [`finish`](Gather::finish).
    ///
    /// # Context
    /// As [`new`](Gather::new).
    #[doc(alias = "tlb_gather_mmu_vma")]
    pub fn for_area(m: &'a M, space: &'a Space<M>, sink: &'a S, area: Area) -> Self {
        Gather { area, ..Gather::new(m, space, sink) }
    }

    /// Takes translations out of one area of several. When it returns, those of an [uncounted](Area::Uncounted) one are
    /// flushed; and those of any, if the machine does not [merge areas](Policy::MERGES_AREAS).
    ///
    /// # Context
    /// As [`new`](Gather::new).
    #[doc(alias = "tlb_start_vma")]
    #[doc(alias = "tlb_end_vma")]
    pub fn in_area<R>(&mut self, area: Area, body: impl FnOnce(&mut Self) -> R) -> R {
        let around = core::mem::replace(&mut self.area, area);
        let result = body(self);
        let is_urgent = area == Area::Uncounted && self.m.keeps(Fix::FlushAtAreaEnd);
        if is_urgent || !M::Policy::MERGES_AREAS {
            self.flush_translations();
        }
        self.area = around;
        result
    }
}
