//! Physical memory: the direct map, and two small pools of frames that are given out again as soon as they come back.
//!
//! Frames for tables and frames for data are apart, so that a stale store can spoil data, which is noticed, and no
//! table, which would end in anything.

use core::{
    ptr,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::{EntryFormat, Pfn};

use crate::{machine::Format, places, random};

const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
const N_WORDS: usize = Format::ENTRIES;

/// Frames that can become page tables, or batches of a gather.
pub(crate) const TABLES: Pool<1024> = Pool { first: 0x2000, taken: &TABLES_TAKEN };
/// Frames for data: fewer than the pages that the tests use, so that one that is let go of is soon somebody else's.
pub(crate) const DATA: Pool<256> = Pool { first: 0x2400, taken: &DATA_TAKEN };

static TABLES_TAKEN: [AtomicU64; 1024 / 64] = [const { AtomicU64::new(0) }; 1024 / 64];
static DATA_TAKEN: [AtomicU64; 256 / 64] = [const { AtomicU64::new(0) }; 256 / 64];

unsafe extern "C" {
    /// The linker's: its address is the end of what is loaded. Has no contents.
    safe static kernel_end: u8;
}

/// Where this physical address is mapped; below 4 GiB.
#[inline]
pub(crate) fn direct_map(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut((DIRECT_MAP + address) as usize)
}

/// A run of frames, a bit for each that is taken.
#[derive(Clone, Copy)]
pub(crate) struct Pool<const N_FRAMES: usize> {
    first: u64,
    taken: &'static [AtomicU64],
}

impl<const N_FRAMES: usize> Pool<N_FRAMES> {
    /// Takes the lowest frame that is free, so that frames come back soon; its contents are what they were.
    pub(crate) fn take(self) -> Option<Pfn> {
        for (index, word) in self.taken.iter().enumerate() {
            let mut taken = word.load(Relaxed);
            while taken != u64::MAX {
                let bit = 1 << taken.trailing_ones();
                // Acquire: whoever gave it back has done with it.
                match word.compare_exchange(taken, taken | bit, Acquire, Relaxed) {
                    Ok(_) => return Some(Pfn(self.first + 64 * index as u64 + u64::from(bit.trailing_zeros()))),
                    Err(now) => taken = now,
                }
            }
        }
        None
    }

    /// The same, but there may be none even if there are some: for paths that must cope.
    pub(crate) fn take_or_fail(self) -> Option<Pfn> {
        let fails = places::memory_fails() && random::below(4) == 0;
        if fails { None } else { self.take() }
    }

    /// Gives a frame back.
    ///
    /// # Panics
    /// If it was not taken.
    pub(crate) fn give_back(self, frame: Pfn) {
        let index = self.index(frame);
        let was = self.taken[index / 64].fetch_and(!(1 << (index % 64)), Release);
        assert!(was & 1 << (index % 64) != 0, "frame {:#x} is given back twice", frame.0);
    }

    fn has(self, frame: Pfn) -> bool {
        frame.0.wrapping_sub(self.first) < N_FRAMES as u64
    }

    /// The number of a frame within the pool.
    ///
    /// # Panics
    /// If it is not of this pool.
    pub(crate) fn index(self, frame: Pfn) -> usize {
        assert!(self.has(frame), "frame {:#x} is not of this pool", frame.0);
        (frame.0 - self.first) as usize
    }

    /// All frames, free or taken.
    pub(crate) fn frames(self) -> impl Iterator<Item = Pfn> {
        (self.first..self.first + N_FRAMES as u64).map(Pfn)
    }

    /// How many frames are taken.
    pub(crate) fn n_taken(self) -> u32 {
        self.taken.iter().map(|word| word.load(Relaxed).count_ones()).sum()
    }
}

/// The words of a frame, as everybody sees them that has it mapped.
pub(crate) fn words(frame: Pfn) -> &'static [AtomicU64; N_WORDS] {
    assert!(TABLES.has(frame) || DATA.has(frame), "frame {:#x} is of no pool", frame.0);
    // SAFETY: the frame is memory, see `check`, mapped here for ever, aligned to 4 KiB, and used as atomics by all:
    // through this function, through user mappings by `access`, and by the hardware's walker.
    unsafe { &*direct_map(frame.0 << Format::PAGE_SHIFT).cast() }
}

/// Makes sure that nothing else lies where the pools are. The command gives the machine 128 MiB.
pub(crate) fn check() {
    let end = (&raw const kernel_end).addr() as u64 - 0xffff_ffff_8000_0000;
    assert!(end < TABLES.first << Format::PAGE_SHIFT, "the kernel has grown into its pools: it ends at {end:#x}");
}
