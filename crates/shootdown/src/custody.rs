//! Where a gather keeps what it unhooked: a few slots of its own, and batch pages while they can be had.

use crate::{
    addr::{Level, Pfn, TableFrame},
    counters::Counter,
    machine::{Machine, Policy},
};

/// Batch pages a gather has room to remember.
pub const MAX_BATCHES: usize = 20;

/// Slots a gather has room for in itself.
const MAX_SLOTS: usize = 8;

/// What a gather holds until its flush: a frame that was mapped, or a page-table page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Frame(Pfn, Level),
    Table(TableFrame),
}

impl Held {
    // Frame number, then one bit for "table", then the level in three.
    const fn encode(self) -> u64 {
        match self {
            Held::Frame(pfn, level) => pfn.0 << 4 | level.0 as u64,
            Held::Table(table) => table.0.0 << 4 | 8,
        }
    }

    const fn decode(word: u64) -> Held {
        let pfn = Pfn(word >> 4);
        if word & 8 != 0 { Held::Table(TableFrame(pfn)) } else { Held::Frame(pfn, Level(word as u8 & 7)) }
    }
}

/// What is held, in the order it came. Dropping it leaks.
pub(crate) struct Custody<M: Machine> {
    slots: [u64; MAX_SLOTS],
    n_slots: usize,
    batches: [Option<M::Batch>; MAX_BATCHES],
    n_batches: usize,
    // Slots used in the last batch; the others are full.
    n_in_last: usize,
}

impl<M: Machine> Custody<M> {
    const SLOTS: usize = {
        assert!(M::Policy::GATHER_SLOTS >= 1 && M::Policy::GATHER_SLOTS <= MAX_SLOTS, "1 to 8 slots");
        M::Policy::GATHER_SLOTS
    };
    const BATCHES: usize = {
        assert!(M::Policy::GATHER_BATCHES <= MAX_BATCHES, "more batches than a gather can remember");
        M::Policy::GATHER_BATCHES
    };

    pub(crate) const fn new() -> Self {
        Custody {
            slots: [0; MAX_SLOTS],
            n_slots: 0,
            batches: [const { None }; MAX_BATCHES],
            n_batches: 0,
            n_in_last: 0,
        }
    }

    /// Makes sure that one more thing can be held, or says that it cannot.
    #[inline]
    pub(crate) fn reserve(&mut self, m: &M) -> bool {
        self.n_slots < Self::SLOTS || self.reserve_in_batches(m)
    }

    #[cold]
    fn reserve_in_batches(&mut self, m: &M) -> bool {
        if self.last_batch().is_some_and(|(words, n_used)| n_used < words.len()) {
            return true;
        }
        if self.n_batches == Self::BATCHES {
            return false;
        }
        let Some(batch) = m.alloc_batch() else {
            m.count(Counter::BatchRefused, 1);
            return false;
        };
        self.batches[self.n_batches] = Some(batch);
        self.n_batches += 1;
        self.n_in_last = 0;
        true
    }

    fn last_batch(&mut self) -> Option<(&mut [u64], usize)> {
        let batch = self.batches[..self.n_batches].last_mut()?.as_mut()?;
        Some((batch.as_mut(), self.n_in_last))
    }

    /// Takes `held` in. Room for it was reserved.
    pub(crate) fn push(&mut self, held: Held) {
        if self.n_slots < Self::SLOTS {
            self.slots[self.n_slots] = held.encode();
            self.n_slots += 1;
            return;
        }
        let place = self.last_batch().and_then(|(words, n_used)| words.get_mut(n_used));
        let Some(place) = place else {
            unreachable!("nothing may be held without room reserved for it");
        };
        *place = held.encode();
        self.n_in_last += 1;
    }

    /// Lets go of everything, oldest first.
    pub(crate) fn drain(&mut self, mut let_go: impl FnMut(Held)) {
        for word in &self.slots[..core::mem::take(&mut self.n_slots)] {
            let_go(Held::decode(*word));
        }
        let n_batches = core::mem::take(&mut self.n_batches);
        for (index, batch) in self.batches[..n_batches].iter_mut().enumerate() {
            let Some(batch) = batch.take() else { continue };
            let words = batch.as_ref();
            let n_used = if index + 1 == n_batches { self.n_in_last } else { words.len() };
            for word in &words[..n_used] {
                let_go(Held::decode(*word));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_survives_its_word() {
        for held in
            [Held::Frame(Pfn((1 << 52) - 1), Level(1)), Held::Frame(Pfn(0), Level(5)), Held::Table(TableFrame(Pfn(77)))]
        {
            assert_eq!(Held::decode(held.encode()), held);
        }
    }
}
