//! Frames with a count of references, a word of its own for each. Who drops the last one frees the frame.

use std::sync::atomic::Ordering::*;

use shootdown::{Frame, FrameRun, FrameSink, Level, Machine, Modify, Pfn, Shared, walk::Pins};

use crate::machine::Sim;

/// Counts references, for those that drop them and for those that pin.
pub(super) struct References;

impl References {
    fn count(m: &Sim, frame: Pfn) -> &'static Shared<Sim> {
        m.scratch(1 + frame.0 as usize)
    }

    /// Says that the caller has the only reference to a frame.
    pub(super) fn begin(&self, m: &Sim, frame: Pfn) {
        // ORDER(release/reuse): whoever takes a reference sees what was done to the frame before.
        Self::count(m, frame).store(m, 1, Release);
    }

    /// Takes a frame, if there is one left.
    pub(super) fn allocate(&self, m: &Sim) -> Option<Frame> {
        let frame = m.try_alloc_frame()?;
        self.begin(m, frame.pfn());
        Some(frame)
    }

    /// Tells whether there is one reference only.
    pub(super) fn is_alone(&self, m: &Sim, frame: Pfn) -> bool {
        Self::count(m, frame).load(m, Acquire) == 1
    }

    /// Gives a reference back.
    pub(super) fn put(&self, m: &Sim, frame: Pfn) {
        // ORDER(release/reuse): whoever drops the last one has all uses behind it.
        if Self::count(m, frame).modify(m, Modify::Add(u64::MAX), AcqRel) == 1 {
            m.free_frame_of_owner(frame);
        }
    }
}

impl Pins<Sim> for References {
    fn try_pin(&self, m: &Sim, frame: Pfn, _: Level) -> bool {
        let count = Self::count(m, frame);
        m.scope(|m| {
            let mut was = count.load(m, Relaxed);
            while was != 0 {
                // ORDER(release/reuse): what the last owner did with the frame comes before.
                let found = count.modify(m, Modify::CompareExchange { old: was, new: was + 1 }, AcqRel);
                if found == was {
                    return true;
                }
                was = found;
            }
            false
        })
    }

    fn unpin(&self, m: &Sim, frame: Pfn, _: Level) {
        self.put(m, frame);
    }
}

impl FrameSink<Sim> for References {
    fn release(&self, m: &Sim, run: FrameRun) {
        run.into_frames().for_each(|frame: Frame| self.put(m, frame.pfn()));
    }
}
