//! Where a gather keeps what it unhooked: a few slots of its own, and batch pages while they can be had.

use super::Rmap;
use crate::{
    addr::{Level, Pfn, TableFrame},
    counters::Counter,
    frame::FrameRun,
    machine::Machine,
    policy::Policy,
    table::UnlinkedTable,
};

/// Batch pages a gather has room to remember.
pub const MAX_BATCHES: usize = 20;

/// Slots a gather has room for in itself.
const MAX_SLOTS: usize = 8;

/// Slots that one thing takes at most: a run takes two if it has more than one frame, and is never split.
const WIDEST: usize = 2;

/// What a gather holds until its flush: frames that were mapped, or a page-table page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    Run(FrameRun, Rmap),
    Table(UnlinkedTable),
}

// A slot: a frame number, below it the level, 0 for a table, and two flags.
const DELAYED: u64 = 1;
const COUNT_FOLLOWS: u64 = 2;
const LEVEL_SHIFT: u32 = 2;
const LEVEL: u64 = 7;
const FRAME_SHIFT: u32 = 5;
/// What the last slot of a batch is if it was to spare: no table is delayed.
const UNUSED: u64 = DELAYED;

/// Slots of one piece that are free, and how many of them were filled since they were asked for.
pub(super) struct Room<'p> {
    words: &'p mut [u64],
    filled: Filled,
}

/// What became of [`Room`].
#[derive(Clone, Copy, Default)]
pub(super) struct Filled {
    n: usize,
    has_delayed: bool,
}

impl Room<'_> {
    /// Tells whether one more thing can be held here.
    #[inline]
    pub(super) const fn is_enough(&self) -> bool {
        self.filled.n + WIDEST <= self.words.len()
    }

    /// Takes frames in. There is room for them.
    #[inline]
    pub(super) fn push_run(&mut self, run: &FrameRun, rmap: Rmap) {
        let flags = if rmap == Rmap::Delayed { DELAYED } else { 0 };
        self.filled.has_delayed |= rmap == Rmap::Delayed;
        let word = run.first().0 << FRAME_SHIFT | u64::from(run.level().0) << LEVEL_SHIFT | flags;
        if run.count() == 1 {
            self.push(word);
        } else {
            self.push(word | COUNT_FOLLOWS);
            self.push(run.count());
        }
    }

    #[inline]
    fn push(&mut self, word: u64) {
        self.words[self.filled.n] = word;
        self.filled.n += 1;
    }

    #[inline]
    pub(super) const fn filled(self) -> Filled {
        self.filled
    }
}

/// Calls `each` with what is in these slots, and the slot that says so.
#[inline]
fn for_each(words: &mut [u64], mut each: impl FnMut(Held, &mut u64)) {
    let mut index = 0;
    while index < words.len() {
        let word = words[index];
        if word == UNUSED {
            return;
        }
        let (pfn, level) = (Pfn(word >> FRAME_SHIFT), (word >> LEVEL_SHIFT & LEVEL) as u8);
        let width = if word & COUNT_FOLLOWS == 0 { 1 } else { WIDEST };
        let held = if level == 0 {
            Held::Table(UnlinkedTable::regain(TableFrame(pfn)))
        } else {
            let count = if width == 1 { 1 } else { words[index + 1] };
            let rmap = if word & DELAYED == 0 { Rmap::Now } else { Rmap::Delayed };
            Held::Run(FrameRun::regain(pfn, count, Level(level)), rmap)
        };
        each(held, &mut words[index]);
        index += width;
    }
}

/// What is held, in the order it came. Dropping it leaks.
pub(super) struct Pages<M: Machine> {
    slots: [u64; MAX_SLOTS],
    n_slots: usize,
    batches: [Option<M::Batch>; MAX_BATCHES],
    n_batches: usize,
    // Slots used in the last batch; the others have none left.
    n_in_last: usize,
    // Whether something delayed is among it: then it is in the slots or in the last batch.
    has_delayed: bool,
    // Whether tables are among it.
    has_tables: bool,
}

impl<M: Machine> Pages<M> {
    const SLOTS: usize = {
        assert!(M::Policy::GATHER_SLOTS >= WIDEST && M::Policy::GATHER_SLOTS <= MAX_SLOTS, "2 to 8 slots");
        M::Policy::GATHER_SLOTS
    };
    const BATCHES: usize = {
        assert!(M::Policy::GATHER_BATCHES <= MAX_BATCHES, "more batches than a gather can remember");
        M::Policy::GATHER_BATCHES
    };

    pub(super) const fn new() -> Self {
        Pages {
            slots: [0; MAX_SLOTS],
            n_slots: 0,
            batches: [const { None }; MAX_BATCHES],
            n_batches: 0,
            n_in_last: 0,
            has_delayed: false,
            has_tables: false,
        }
    }

    /// Makes sure that one more thing can be held, or says that it cannot.
    #[inline]
    pub(super) fn reserve(&mut self, m: &M) -> bool {
        self.room().is_enough() || self.reserve_batch(m)
    }

    /// What is being filled, from where it is empty.
    #[inline]
    pub(super) fn room(&mut self) -> Room<'_> {
        let words = match self.batches[..self.n_batches].last_mut() {
            Some(Some(batch)) => &mut batch.as_mut()[self.n_in_last..],
            _ => &mut self.slots[self.n_slots..Self::SLOTS],
        };
        Room { words, filled: Filled::default() }
    }

    /// Keeps what `room` was filled with.
    #[inline]
    pub(super) fn fill(&mut self, filled: Filled) {
        self.has_delayed |= filled.has_delayed;
        if self.n_batches == 0 {
            self.n_slots += filled.n;
        } else {
            self.n_in_last += filled.n;
        }
    }

    #[cold]
    fn reserve_batch(&mut self, m: &M) -> bool {
        // What is delayed is looked for in the slots and in the last batch only, so that it does not take long.
        let hides_delayed = self.has_delayed && self.n_batches > 0;
        if self.n_batches == Self::BATCHES || hides_delayed {
            return false;
        }
        let Some(mut batch) = m.alloc_batch() else {
            m.count(Counter::BatchRefused, 1);
            return false;
        };
        assert!(batch.as_mut().len() >= WIDEST, "a batch with less than two slots");
        if self.n_batches > 0 {
            // Leaves nothing unsaid about the slot that was to spare.
            self.room().words.fill(UNUSED);
        }
        self.batches[self.n_batches] = Some(batch);
        self.n_batches += 1;
        self.n_in_last = 0;
        true
    }

    /// Takes a table in. Room for it was reserved.
    pub(super) fn push_table(&mut self, table: &UnlinkedTable) {
        self.has_tables = true;
        let mut room = self.room();
        room.push(table.frame().0.0 << FRAME_SHIFT);
        let filled = room.filled();
        self.fill(filled);
    }

    /// Tells whether tables are held.
    pub(super) const fn has_tables(&self) -> bool {
        self.has_tables
    }

    /// Tells whether something delayed is held.
    pub(super) const fn has_delayed(&self) -> bool {
        self.has_delayed
    }

    /// Calls `remove` with what was delayed and makes it ordinary.
    pub(super) fn settle(&mut self, mut remove: impl FnMut(&FrameRun)) {
        self.has_delayed = false;
        let mut settle = |held, word: &mut u64| {
            if let Held::Run(run, Rmap::Delayed) = held {
                remove(&run);
                *word &= !DELAYED;
            }
        };
        for_each(&mut self.slots[..self.n_slots], &mut settle);
        if let Some(Some(batch)) = self.batches[..self.n_batches].last_mut() {
            for_each(&mut batch.as_mut()[..self.n_in_last], settle);
        }
    }

    /// Lets go of everything, oldest first.
    #[inline]
    pub(super) fn drain(&mut self, mut let_go: impl FnMut(Held)) {
        self.has_tables = false;
        for_each(&mut self.slots[..core::mem::take(&mut self.n_slots)], |held, _| let_go(held));
        let n_batches = core::mem::take(&mut self.n_batches);
        for (index, batch) in self.batches[..n_batches].iter_mut().enumerate() {
            let Some(mut batch) = batch.take() else { continue };
            let words = batch.as_mut();
            let n_used = if index + 1 == n_batches { self.n_in_last } else { words.len() };
            for_each(&mut words[..n_used], |held, _| let_go(held));
        }
    }
}
