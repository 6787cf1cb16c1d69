//! Physical memory: the direct map, and pools of frames that are given out again as soon as they come back.
//!
//! Frames for tables and frames for data are apart, so that a stale store can spoil data, which is noticed, and no
//! table, which would end in anything. From 32 MiB on: tables and the kernel tests' data, the heap, programs' pages, and their
//! large pages.

use core::{
    arch::asm,
    ptr,
    sync::atomic::{AtomicU64, Ordering::*},
};

use shootdown::{EntryFormat, Pfn};

use crate::{machine::Format, places, random};

const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
const N_WORDS: usize = Format::ENTRIES;

/// Frames that can become page tables, or batches of a gather.
pub(crate) const TABLES: Pool<N_TABLES> = Pool { first: 0x2000, span: 1, taken: &TABLES_TAKEN };
/// Frames for data: fewer than the pages that the tests use, so that one that is let go of is soon somebody else's.
pub(crate) const DATA: Pool<256> = Pool { first: 0x2400, span: 1, taken: &DATA_TAKEN };
/// The heap, in frames.
pub(crate) const HEAP: core::ops::Range<u64> = 0x2800..0x3000;
/// Frames of programs.
pub(crate) const PAGES: Pool<N_PAGES> = Pool { first: 0x3000, span: 1, taken: &PAGES_TAKEN };
/// The same, of 2 MiB.
pub(crate) const LARGE_PAGES: Pool<N_LARGE_PAGES> = Pool { first: 0x4000, span: LARGE, taken: &LARGE_PAGES_TAKEN };

pub(crate) const N_TABLES: usize = 1024;
pub(crate) const N_PAGES: usize = 4096;
pub(crate) const N_LARGE_PAGES: usize = 96;
/// Frames of a large one.
pub(crate) const LARGE: u64 = 512;

static TABLES_TAKEN: [AtomicU64; N_TABLES / 64] = [const { AtomicU64::new(0) }; N_TABLES / 64];
static DATA_TAKEN: [AtomicU64; 256 / 64] = [const { AtomicU64::new(0) }; 256 / 64];
static PAGES_TAKEN: [AtomicU64; N_PAGES / 64] = [const { AtomicU64::new(0) }; N_PAGES / 64];
static LARGE_PAGES_TAKEN: [AtomicU64; N_LARGE_PAGES.div_ceil(64)] =
    [const { AtomicU64::new(0) }; N_LARGE_PAGES.div_ceil(64)];

unsafe extern "C" {
    /// The linker's: its address is the end of what is loaded. Has no contents.
    safe static kernel_end: u8;
}

/// Where this physical address is mapped; below 4 GiB.
#[inline]
pub(crate) const fn direct_map(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut((DIRECT_MAP + address) as usize)
}

/// Frames that lie one behind the other, a bit for each that is taken.
#[derive(Clone, Copy)]
pub(crate) struct Pool<const N_FRAMES: usize> {
    first: u64,
    // How large each is.
    span: u64,
    taken: &'static [AtomicU64],
}

impl<const N_FRAMES: usize> Pool<N_FRAMES> {
    /// Takes the lowest frame that is free, so that frames come back soon; its contents are what they were.
    pub(crate) fn take(self) -> Option<Pfn> {
        for (index, word) in self.taken.iter().enumerate() {
            let mut taken = word.load(Relaxed);
            while taken != u64::MAX {
                let number = 64 * index + taken.trailing_ones() as usize;
                if number >= N_FRAMES {
                    return None;
                }
                let bit = 1 << (number % 64);
                // Acquire: whoever gave it back has done with it.
                match word.compare_exchange(taken, taken | bit, Acquire, Relaxed) {
                    Ok(_) => return Some(Pfn(self.first + number as u64 * self.span)),
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

    /// Tells whether a frame is of this pool, or part of one that is.
    pub(crate) fn has(self, frame: Pfn) -> bool {
        frame.0.wrapping_sub(self.first) < N_FRAMES as u64 * self.span
    }

    /// The number of a frame within the pool.
    ///
    /// # Panics
    /// If it is not of this pool.
    pub(crate) fn index(self, frame: Pfn) -> usize {
        assert!(self.has(frame), "frame {:#x} is not of this pool", frame.0);
        ((frame.0 - self.first) / self.span) as usize
    }

    /// All frames, free or taken.
    pub(crate) fn frames(self) -> impl Iterator<Item = Pfn> {
        (0..N_FRAMES as u64).map(move |number| Pfn(self.first + number * self.span))
    }

    /// How many frames are taken.
    pub(crate) fn n_taken(self) -> u32 {
        self.taken.iter().map(|word| word.load(Relaxed).count_ones()).sum()
    }
}

/// The words of a frame, as everybody sees them that has it mapped.
pub(crate) fn words(frame: Pfn) -> &'static [AtomicU64; N_WORDS] {
    assert!(is_of_a_pool(frame), "frame {:#x} is of no pool", frame.0);
    // SAFETY: the frame is memory, see `check`, mapped here for ever, aligned to 4 KiB, and used as atomics by all:
    // through this function, through user mappings by `access` and by programs, and by the hardware's walker.
    unsafe { &*direct_map(frame.0 << Format::PAGE_SHIFT).cast() }
}

/// Frames of tables that are all zeroes while nobody has them: whatever was unhooked was cleared.
static CLEAR: [AtomicU64; N_TABLES / 64] = [const { AtomicU64::new(0) }; N_TABLES / 64];

fn clear_bit(frame: Pfn) -> (&'static AtomicU64, u64) {
    let index = TABLES.index(frame);
    (&CLEAR[index / 64], 1 << (index % 64))
}

/// Takes a frame of zeroes for a table.
///
/// # Panics
/// If a freed table has something in it, and this kernel is not the one that measures.
pub(crate) fn take_table() -> Option<Pfn> {
    let frame = TABLES.take_or_fail()?;
    let (word, bit) = clear_bit(frame);
    if word.load(Relaxed) & bit == 0 {
        clear(frame, N_WORDS as u64);
        word.fetch_or(bit, Relaxed);
    } else if cfg!(not(feature = "bench")) {
        let is_clear = table(frame).iter().all(|entry| entry.load(Relaxed) == 0);
        assert!(is_clear, "the table in frame {:#x} was freed with something in it", frame.0);
    }
    Some(frame)
}

/// Says that this table's frame will have something in it when it comes back.
pub(crate) fn will_not_be_clear(frame: Pfn) {
    let (word, bit) = clear_bit(frame);
    word.fetch_and(!bit, Relaxed);
}

/// The entries of a table.
#[inline]
pub(crate) fn table(frame: Pfn) -> &'static [AtomicU64; N_WORDS] {
    assert!(TABLES.has(frame), "frame {:#x} is no table", frame.0);
    // SAFETY: as in `words`.
    unsafe { &*direct_map(frame.0 << Format::PAGE_SHIFT).cast() }
}

/// Makes words from the beginning of a frame on zero.
///
/// # Panics
/// If they are no frame's.
pub(crate) fn clear(frame: Pfn, n_words: u64) {
    let to = frame_of(frame, n_words);
    // SAFETY: the words are memory of atomics, see `words`; the direction flag is clear.
    unsafe {
        asm!("rep stosq", inout("rdi") to => _, in("rax") 0, inout("rcx") n_words => _, options(nostack, preserves_flags));
    }
}

/// Copies words from the beginning of one frame to another.
///
/// # Panics
/// If they are no frames'.
pub(crate) fn copy(from: Pfn, to: Pfn, n_words: u64) {
    let [from, to] = [from, to].map(|frame| frame_of(frame, n_words));
    // SAFETY: as in `clear`, of both; each word is read at once.
    unsafe {
        asm!("rep movsq", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") n_words => _,
            options(nostack, preserves_flags));
    }
}

/// Where a frame, or as many as these words are, is mapped.
fn frame_of(frame: Pfn, n_words: u64) -> *mut u8 {
    let last = Pfn(frame.0 + (n_words - 1) / N_WORDS as u64);
    assert!(is_of_a_pool(frame) && is_of_a_pool(last), "frame {:#x} is of no pool", frame.0);
    direct_map(frame.0 << Format::PAGE_SHIFT)
}

fn is_of_a_pool(frame: Pfn) -> bool {
    TABLES.has(frame) || DATA.has(frame) || PAGES.has(frame) || LARGE_PAGES.has(frame)
}

/// Makes sure that nothing else lies where the pools are. The command gives the machine 512 MiB.
pub(crate) fn check() {
    let end = (&raw const kernel_end).addr() as u64 - 0xffff_ffff_8000_0000;
    assert!(end < TABLES.first << Format::PAGE_SHIFT, "the kernel has grown into its pools: it ends at {end:#x}");
}
