//! Custody of frames: who may let go of one, and where it goes then.

use crate::{
    addr::{Level, Pfn},
    machine::Machine,
};

/// No frame could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrame;

impl core::fmt::Display for NoFrame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no frame for a page-table page")
    }
}

impl core::error::Error for NoFrame {}

/// One reference to a frame, or to the aligned run of frames that a leaf of `level` maps.
///
/// Mapping takes it, unhooking gives it to the gather, and only a completed flush hands it on. It is not `Copy` and has
/// no `Drop`: losing one leaks the frame and never frees it early.
///
/// ```compile_fail,E0382
/// use shootdown::*;
/// fn twice<M: Machine>(mut tables: TablesGuard<'_, M>, frame: Frame) {
///     let _ = tables.map(Vpn(0), frame, Attributes::USER_READ);
///     let _ = tables.map(Vpn(1), frame, Attributes::USER_READ);
/// }
/// ```
#[must_use = "losing a frame leaks it"]
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pfn: Pfn,
    level: Level,
}

impl Frame {
    /// Declares that the caller has one reference to the frame and gives it away.
    ///
    /// # Safety
    /// The caller holds a reference to the frame or frames that a leaf of `level` at `pfn` maps, gives up that reference
    /// with this call, and `pfn` is aligned to the level.
    #[expect(unsafe_code, reason = "custody begins here: nothing but the caller's word says that the frame is his")]
    pub const unsafe fn claim(pfn: Pfn, level: Level) -> Frame {
        Frame { pfn, level }
    }

    /// Restores custody of a frame that this crate put into an entry or a batch.
    pub(crate) const fn regain(pfn: Pfn, level: Level) -> Frame {
        Frame { pfn, level }
    }

    /// Returns the number of the first frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Returns the level whose leaf maps it.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }
}

/// References to frames that lie one after the other, one to each: to base frames, or to a single larger one.
///
/// Not `Copy`, and without `Drop`, as [`Frame`].
#[must_use = "losing frames leaks them"]
#[derive(Debug, PartialEq, Eq)]
pub struct FrameRun {
    first: Pfn,
    count: u64,
    level: Level,
}

impl FrameRun {
    /// Restores custody of frames that this crate put into entries or a batch.
    pub(crate) const fn regain(first: Pfn, count: u64, level: Level) -> FrameRun {
        FrameRun { first, count, level }
    }

    /// Returns the number of the first frame.
    #[must_use]
    pub const fn first(&self) -> Pfn {
        self.first
    }

    /// Returns how many references they are; 1 unless they are to base frames.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the level whose leaves mapped them.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Returns the references one by one, lowest frame first.
    pub fn into_frames(self) -> impl Iterator<Item = Frame> {
        let FrameRun { first, count, level } = self;
        (0..count).map(move |index| Frame::regain(Pfn(first.0 + index), level))
    }
}

/// Where a gather sends frames that no CPU can reach any more: the kernel drops the mappings' references there.
///
/// A function that takes one [`Frame`] is one, too.
///
/// Called after the flush, with interrupts as the gather's caller has them, possibly under the page-table lock if a
/// full gather had to flush early; must not sleep or take that lock.
pub trait FrameSink<M: Machine> {
    /// Takes the frames: as many references as `run` counts.
    fn release(&self, m: &M, run: FrameRun);

    /// Takes mappings of these frames that were unhooked as [`Delayed`](crate::Rmap::Delayed) out of the reverse map. No TLB
    /// has them any more, and the page-table lock is still held; [`release`](FrameSink::release) comes later.
    fn remove_rmap(&self, _m: &M, _run: &FrameRun) {}
}

impl<M: Machine, F: Fn(&M, Frame)> FrameSink<M> for F {
    fn release(&self, m: &M, run: FrameRun) {
        run.into_frames().for_each(|frame| self(m, frame));
    }
}
