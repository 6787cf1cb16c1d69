//! Frames of programs: where `shootdown-mm` gets its pages from.
//!
//! A frame that is free says so in its first words, and is looked at before it is given out again: a store through a
//! translation that should have gone shows there. What the kernel that measures does not do.

use shootdown::{EntryFormat as _, Frame, Frames, Level, NoFrame, PageState, Pfn};

use crate::{
    machine::{Format, Metal},
    memory::{self, LARGE, LARGE_PAGES, N_LARGE_PAGES, N_PAGES, PAGES},
    witness,
};

const LARGE_LEVEL: Level = Level(2);
/// What is known of each frame, of parts of large ones too.
static STATES: [PageState<Metal>; N_PAGES + N_LARGE_PAGES * LARGE as usize] =
    [const { PageState::new() }; N_PAGES + N_LARGE_PAGES * LARGE as usize];

// SAFETY: a pool gives a frame to one; both are aligned to their levels, see `memory`; and each frame has an element of its own.
unsafe impl Frames for Metal {
    fn alloc_frame(&self, level: Level) -> Result<Frame, NoFrame> {
        let pfn = match level {
            Level::LEAF => PAGES.take_or_fail(),
            LARGE_LEVEL => LARGE_PAGES.take_or_fail(),
            _ => None,
        };
        let pfn = pfn.ok_or(NoFrame)?;
        if cfg!(not(feature = "bench")) {
            witness::look_at_free(pfn);
        }
        // SAFETY: it was just taken, so the only reference is ours, and the pool's frames are aligned to the level.
        Ok(unsafe { Frame::claim(pfn, level) })
    }

    fn free_frame(&self, frame: Frame) {
        let (pfn, level) = (frame.pfn(), frame.level());
        if cfg!(not(feature = "bench")) {
            witness::mark_free(pfn);
        }
        match level {
            Level::LEAF => PAGES.give_back(pfn),
            _ => LARGE_PAGES.give_back(pfn),
        }
    }

    fn page(&self, frame: Pfn) -> &PageState<Metal> {
        let index = if PAGES.has(frame) {
            PAGES.index(frame)
        } else {
            let first = LARGE_PAGES.index(frame);
            N_PAGES + first * LARGE as usize + (frame.0 % LARGE) as usize
        };
        &STATES[index]
    }

    fn clear_frame(&self, frame: &Frame) {
        memory::clear(frame.pfn(), n_words(frame.level()));
    }

    fn copy_frame(&self, from: Pfn, to: Pfn, level: Level) {
        memory::copy(from, to, n_words(level));
    }
}

fn n_words(level: Level) -> u64 {
    level.pages::<Format>() * Format::ENTRIES as u64
}
