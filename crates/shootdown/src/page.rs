//! What is known about data frames: how many translations, and caches, hold each, and of those that objects have (files,
//! shared memory) who maps them and whether they were stored to.
//!
//! A kernel with its own page structures does not need this module; [`Gather`](crate::Gather) gives its frames to any
//! [`FrameSink`]. `shootdown-mm` is built on it.

mod object;

use core::sync::atomic::Ordering::*;

use object::NO_OBJECT;
pub use object::{adopt, count_mapping, is_adopted, is_dirty, is_mapped, mark_dirty, take_dirty, uncount_mappings};

use crate::{
    addr::{Level, Pfn},
    frame::{Frame, FrameRun, FrameSink, NoFrame},
    machine::{Machine, Modify},
    table::Leaf,
    walk::Pins,
    word::Shared,
};

/// What is known about one data frame, or the first frame of a larger one.
#[doc(alias = "struct page")]
pub struct PageState<M: Machine> {
    references: Shared<M>,
    // If an object has the frame or had it; 0 for all others. See `object`.
    mappings: Shared<M>,
}

impl<M: Machine> Default for PageState<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> PageState<M> {
    /// Makes the state of a frame that nobody has.
    pub const fn new() -> Self {
        PageState { references: Shared::ZERO, mappings: Shared::ZERO }
    }

    /// Shows the words to `visitor`.
    pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &M::Word)) {
        self.references.visit("page.references", visitor);
        self.mappings.visit("page.mappings", visitor);
    }
}

/// A machine that hands out frames for data, and has a place for what is known about each.
///
/// # Safety
/// A frame from `alloc_frame` is aligned to its level, used by nobody else, and stays so until it comes back through
/// `free_frame`. `page` returns the same place for the same frame and different places for different ones, zero at first.
#[expect(unsafe_code, reason = "the library believes that frames are unused")]
pub unsafe trait Frames: Machine {
    /// Takes a frame that a leaf of `level` can map. Contents are what the last owner left.
    ///
    /// # Errors
    /// [`NoFrame`] if there is none.
    #[track_caller]
    fn alloc_frame(&self, level: Level) -> Result<Frame, NoFrame>;

    /// Takes a frame back that nobody can reach any more.
    #[track_caller]
    fn free_frame(&self, frame: Frame);

    /// Makes the contents of a frame that nobody can reach yet zeroes. A machine without contents does nothing.
    fn clear_frame(&self, frame: &Frame);

    /// Makes the contents of the frame `to`, which nobody can reach yet, those of `from`; both are what a leaf of `level` maps.
    /// Of what is stored to `from` meanwhile, any part may be copied. A machine without contents does nothing.
    #[doc(alias = "copy_user_highpage")]
    fn copy_frame(&self, from: Pfn, to: Pfn, level: Level);

    /// Returns the state of a data frame.
    fn page(&self, frame: Pfn) -> &PageState<Self>;
}

/// Takes a frame with one reference to it.
///
/// # Errors
/// [`NoFrame`] if there is none.
pub fn allocate<M: Frames>(m: &M, level: Level) -> Result<Frame, NoFrame> {
    let frame = m.alloc_frame(level)?;
    // ORDER(release/reuse): whoever pins it without a lock, since its last owner's entry led here, finds that entry cleared.
    m.page(frame.pfn()).references.store(m, 1, Release);
    Ok(frame)
}

/// The same, of zeroes.
///
/// # Errors
/// [`NoFrame`] if there is none.
pub fn allocate_zeroed<M: Frames>(m: &M, level: Level) -> Result<Frame, NoFrame> {
    let frame = allocate(m, level)?;
    m.clear_frame(&frame);
    Ok(frame)
}

/// Takes one more reference to a frame that the caller has one to.
pub fn share<M: Frames>(m: &M, frame: &Frame) -> Frame {
    take_reference(m, frame.pfn(), frame.level())
}

/// Takes one more reference to a frame that is mapped. The lock that the leaf proves keeps it mapped.
pub fn share_mapped<M: Frames>(leaf: &Leaf<'_, M>) -> Frame {
    take_reference(leaf.guard().machine(), leaf.frame(), leaf.level())
}

fn take_reference<M: Frames>(m: &M, pfn: Pfn, level: Level) -> Frame {
    // Whoever asks has a reference, so the count cannot reach zero meanwhile: no ordering is needed.
    m.page(pfn).references.update(m, Modify::Add(1), Relaxed);
    Frame::regain(pfn, level)
}

/// Takes one more reference to a frame that nobody keeps from being freed, or says that nobody has one any more.
pub fn try_share<M: Frames>(m: &M, pfn: Pfn) -> bool {
    let references = &m.page(pfn).references;
    let mut was = references.load(m, Relaxed);
    while was != 0 {
        // ORDER(release/reuse): what was done with the frame before it was this page comes before.
        let found = references.modify(m, Modify::CompareExchange { old: was, new: was + 1 }, AcqRel);
        if found == was {
            return true;
        }
        was = found;
    }
    false
}

/// Makes of the one reference to a large frame one for each of the frames below it.
///
/// # Context
/// When the only reference is the caller's, and nobody can take another one.
///
/// # Panics
/// If there is another reference, or an object has the frame.
#[doc(alias = "split_folio")]
pub fn split<M: Frames>(m: &M, first: Pfn, large: Level) {
    let (n_frames, page) = (large.pages::<M::Format>(), m.page(first));
    assert!(page.references.load(m, Relaxed) == 1, "a frame is split that somebody else has a reference to");
    assert!(!is_adopted(m, first), "an object's frame is split");
    for index in 1..n_frames {
        // ORDER(release/reuse): as in `allocate`.
        m.page(Pfn(first.0 + index)).references.store(m, 1, Release);
    }
}

/// Tells whether a mapped frame has no other reference than that of this translation.
#[must_use]
pub fn is_exclusive<M: Frames>(leaf: &Leaf<'_, M>) -> bool {
    let m = leaf.guard().machine();
    // ORDER(release/reuse): sees what the last other holder did before it let go.
    m.page(leaf.frame()).references.load(m, Acquire) == 1
}

/// Tells whether nobody but the caller has a reference to a frame.
#[must_use]
pub fn is_last<M: Frames>(m: &M, frame: &Frame) -> bool {
    // ORDER(release/reuse): sees what the last other holder did before it let go.
    m.page(frame.pfn()).references.load(m, Acquire) == 1
}

/// Gives a reference back, and frees the frame with the last one.
pub fn drop_reference<M: Frames>(m: &M, frame: Frame) {
    // ORDER(release/reuse): our use comes before the reuse of the frame by whoever sees the count fall.
    let page = m.page(frame.pfn());
    if page.references.modify(m, Modify::Add(u64::MAX), AcqRel) == 1 {
        page.mappings.store(m, NO_OBJECT, Relaxed);
        m.free_frame(frame);
    }
}

/// Pins frames by references to them.
#[derive(Clone, Copy, Debug, Default)]
pub struct References;

impl<M: Frames> Pins<M> for References {
    fn try_pin(&self, m: &M, frame: Pfn, _: Level) -> bool {
        try_share(m, frame)
    }

    fn unpin(&self, m: &M, frame: Pfn, level: Level) {
        drop_reference(m, Frame::regain(frame, level));
    }

    fn mark_written(&self, m: &M, frame: Pfn, level: Level) {
        (0..level.pages::<M::Format>()).for_each(|index| mark_dirty(m, Pfn(frame.0 + index)));
    }
}

/// A sink that gives back the reference a translation held, and frees the frame with the last one. What leaves the reverse
/// map late is taken out of the count of translations.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropReference;

impl<M: Frames> FrameSink<M> for DropReference {
    fn release(&self, m: &M, run: FrameRun) {
        for frame in run.into_frames() {
            drop_reference(m, frame);
        }
    }

    fn remove_rmap(&self, m: &M, run: &FrameRun) {
        uncount_mappings(m, run.first(), run.count());
    }
}
