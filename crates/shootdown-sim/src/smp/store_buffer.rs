//! Stores of one CPU on their way to memory.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::Ordering::{self, *},
};

use shootdown::{EntryAt, Pfn, TableFrame};

use super::{
    ENTRIES, MAX_STORES,
    config::MemoryModel,
    operation::{Location, WordId, releases},
    pack::{read_number, read_signed, write_number, write_signed},
    words::{narrow, widen},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Store(Store),
    /// What came before it reaches memory before what came after it.
    Barrier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Store {
    at: Place,
    /// See [`narrow`].
    value: i32,
    order: Order,
    /// It is the second half of a change in one step, so nobody else changes the place before it is in memory.
    is_change: bool,
}

/// What a store that waits asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Relaxed,
    /// What came before it reaches memory before it.
    Release,
    /// Moreover, it takes part in the total order of `SeqCst`.
    Total,
}

impl Order {
    const ALL: [Order; 3] = [Order::Relaxed, Order::Release, Order::Total];

    fn of(order: Ordering) -> Self {
        match order {
            SeqCst => Order::Total,
            order if releases(order) => Order::Release,
            _ => Order::Relaxed,
        }
    }
}

/// A location in few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u16);

impl Place {
    const IS_ENTRY: u16 = 1 << 15;

    const fn of(at: Location) -> Self {
        match at {
            Location::Word(WordId(word)) => Place(word),
            Location::Entry(EntryAt { table, index }) => {
                Place(Self::IS_ENTRY | (table.0.0 as usize * ENTRIES + index) as u16)
            }
        }
    }

    const fn location(self) -> Location {
        if self.0 & Self::IS_ENTRY == 0 {
            return Location::Word(WordId(self.0));
        }
        let number = (self.0 & !Self::IS_ENTRY) as usize;
        Location::Entry(EntryAt { table: TableFrame(Pfn((number / ENTRIES) as u64)), index: number % ENTRIES })
    }
}

/// The buffer, oldest first. Behind the last one all places are empty, and no barrier is the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreBuffer([Option<Waiting>; MAX_STORES]);

impl Hash for StoreBuffer {
    /// As little as there can be: every state is hashed, and most buffers are empty. How many wait, the CPU says.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.iter().flatten().for_each(|waiting| hasher.write_u64(waiting.bits()));
    }
}

impl Waiting {
    /// All but the value, in the lower half of a word: 0 for a barrier.
    const fn head(self) -> u64 {
        match self {
            Waiting::Barrier => 0,
            Waiting::Store(Store { at: Place(at), value: _, order, is_change }) => {
                1 + ((at as u64) << 3 | (order as u64) << 1 | is_change as u64)
            }
        }
    }

    /// All of it.
    const fn bits(self) -> u64 {
        match self {
            Waiting::Barrier => self.head(),
            Waiting::Store(store) => (store.value as u32 as u64) << 32 | self.head(),
        }
    }
}

impl StoreBuffer {
    pub(super) const EMPTY: StoreBuffer = StoreBuffer([None; MAX_STORES]);

    pub(super) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// How many stores and barriers wait.
    pub(super) fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Tells whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.0[MAX_STORES - 1].is_none()
    }

    pub(super) fn has_barrier(&self) -> bool {
        self.0.contains(&Some(Waiting::Barrier))
    }

    pub(super) fn has_total_order(&self) -> bool {
        self.0.iter().flatten().any(|waiting| matches!(waiting, Waiting::Store(Store { order: Order::Total, .. })))
    }

    /// Tells whether a change of this place waits.
    pub(super) fn changes(&self, at: Location) -> bool {
        let at = Place::of(at);
        let is_change =
            |waiting: &Waiting| matches!(waiting, Waiting::Store(store) if store.is_change && store.at == at);
        self.0.iter().flatten().any(is_change)
    }

    pub(super) fn push(&mut self, at: Location, value: u64, order: Ordering) {
        let (at, value) = (Place::of(at), narrow(value));
        self.append(Waiting::Store(Store { at, value, order: Order::of(order), is_change: false }));
    }

    /// Appends what a change in one step has made of a place.
    pub(super) fn push_change(&mut self, at: Location, value: u64, order: Ordering) {
        let (at, value) = (Place::of(at), narrow(value));
        self.append(Waiting::Store(Store { at, value, order: Order::of(order), is_change: true }));
    }

    /// Keeps what comes after this behind what came before.
    pub(super) fn push_barrier(&mut self) {
        if !self.is_empty() {
            self.append(Waiting::Barrier);
        }
    }

    fn append(&mut self, waiting: Waiting) {
        let free = self.0.iter_mut().find(|place| place.is_none());
        *free.expect("a CPU whose store buffer is full waits") = Some(waiting);
    }

    /// The value that the CPU reads at `at`, if it has not reached memory yet.
    pub(super) fn newest(&self, at: Location) -> Option<u64> {
        let at = Place::of(at);
        self.0.iter().rev().flatten().find_map(|waiting| match waiting {
            Waiting::Store(store) if store.at == at => Some(widen(store.value)),
            _ => None,
        })
    }

    /// The places of the stores that may be the next to reach memory.
    pub(super) fn drainable(&self, memory: MemoryModel) -> impl Iterator<Item = usize> + '_ {
        let n_candidates = match memory {
            MemoryModel::Sc | MemoryModel::Tso => 1,
            MemoryModel::Pso => MAX_STORES,
        };
        let stores = self.0.iter().map_while(|waiting| match waiting {
            Some(Waiting::Store(store)) => Some(store),
            Some(Waiting::Barrier) | None => None,
        });
        let candidates = stores.clone().take(n_candidates).enumerate();
        let may_go_first = move |(index, store): &(usize, &Store)| {
            let mut earlier = stores.clone().take(*index);
            *index == 0 || store.order == Order::Relaxed && !earlier.any(|other| other.at == store.at)
        };
        candidates.filter(may_go_first).map(|(index, _)| index)
    }

    /// Takes the store at this place out.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn take(&mut self, index: usize) -> (Location, u64) {
        let (at, value) = self.peek(index).expect("a store waits at this place of the store buffer");
        self.close_gap(index);
        while self.0[0] == Some(Waiting::Barrier) {
            self.close_gap(0);
        }
        (at, value)
    }

    /// The store at this place.
    pub(super) fn peek(&self, index: usize) -> Option<(Location, u64)> {
        match self.0.get(index)? {
            Some(Waiting::Store(store)) => Some((store.at.location(), widen(store.value))),
            Some(Waiting::Barrier) | None => None,
        }
    }

    /// Appends what waits and how much that is.
    pub(super) fn pack(&self, bytes: &mut Vec<u8>) {
        write_number(bytes, self.len() as u64);
        for waiting in self.0.iter().flatten() {
            write_number(bytes, waiting.head());
            if let Waiting::Store(store) = waiting {
                write_signed(bytes, i64::from(store.value));
            }
        }
    }

    /// Becomes what was packed, and takes it off the front.
    pub(super) fn unpack(&mut self, bytes: &mut &[u8]) {
        let n_waiting = read_number(bytes) as usize;
        *self = StoreBuffer::EMPTY;
        for slot in &mut self.0[..n_waiting] {
            *slot = Some(match read_number(bytes).checked_sub(1) {
                None => Waiting::Barrier,
                Some(head) => {
                    let (at, order, is_change) =
                        (Place((head >> 3) as u16), Order::ALL[head as usize >> 1 & 3], head & 1 != 0);
                    Waiting::Store(Store { at, value: read_signed(bytes) as i32, order, is_change })
                }
            });
        }
    }

    fn close_gap(&mut self, index: usize) {
        self.0[index] = None;
        self.0[index..].rotate_left(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::WordId;

    const X: Location = Location::Word(WordId(0));
    const Y: Location = Location::Word(WordId(1));
    const Z: Location = Location::Word(WordId(2));

    fn drainable(buffer: &StoreBuffer, memory: MemoryModel) -> Vec<usize> {
        buffer.drainable(memory).collect()
    }

    #[test]
    fn a_location_survives_its_few_bits() {
        let entry = EntryAt { table: TableFrame(Pfn(7)), index: 1 };
        for at in [X, Z, Location::Word(WordId(300)), Location::Entry(entry)] {
            assert_eq!(Place::of(at).location(), at);
        }
    }

    #[test]
    fn a_fifo_drains_its_oldest_only() {
        let mut buffer = StoreBuffer::EMPTY;
        buffer.push(X, 1, Relaxed);
        buffer.push(Y, 2, Relaxed);
        buffer.push(X, 3, Relaxed);
        assert_eq!(drainable(&buffer, MemoryModel::Tso), [0]);
        assert_eq!(buffer.newest(X), Some(3));
        assert_eq!(buffer.take(0), (X, 1));
        assert_eq!(drainable(&buffer, MemoryModel::Tso), [0]);
        assert_eq!(buffer.take(0), (Y, 2));
        assert_eq!(buffer.newest(Y), None);
    }

    #[test]
    fn partial_order_keeps_the_order_at_each_location() {
        let mut buffer = StoreBuffer::EMPTY;
        buffer.push(X, 1, Relaxed);
        buffer.push(Y, 2, Relaxed);
        buffer.push(X, 3, Relaxed);
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0, 1]);
        assert_eq!(buffer.take(1), (Y, 2));
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0]);
    }

    #[test]
    fn a_release_waits_for_what_came_before_it_and_holds_nothing_back() {
        let mut buffer = StoreBuffer::EMPTY;
        buffer.push(X, 1, Relaxed);
        buffer.push(Y, 2, Release);
        buffer.push(Z, 3, Relaxed);
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0, 2]);
        assert_eq!(buffer.take(2), (Z, 3));
        assert_eq!(buffer.take(0), (X, 1));
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0]);
    }

    #[test]
    fn a_barrier_holds_back_what_came_after_it_and_goes_with_what_came_before() {
        let mut buffer = StoreBuffer::EMPTY;
        buffer.push_barrier();
        assert!(buffer.is_empty(), "there was nothing to stay behind");
        buffer.push(X, 1, Relaxed);
        buffer.push_barrier();
        buffer.push(Y, 2, Relaxed);
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0]);
        assert_eq!(buffer.take(0), (X, 1));
        assert!(!buffer.has_barrier());
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0]);
        assert_eq!(buffer.take(0), (Y, 2));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_change_is_known_until_it_has_reached_memory() {
        let mut buffer = StoreBuffer::EMPTY;
        buffer.push(X, 1, SeqCst);
        buffer.push_change(Y, 2, AcqRel);
        assert!(buffer.changes(Y) && !buffer.changes(X));
        assert!(buffer.has_total_order());
        assert_eq!(drainable(&buffer, MemoryModel::Pso), [0]);
        assert_eq!(buffer.take(0), (X, 1));
        assert!(!buffer.has_total_order());
        assert_eq!(buffer.take(0), (Y, 2));
        assert!(!buffer.changes(Y));
    }

    #[test]
    fn what_was_packed_comes_back_whatever_was_there_before() {
        let mut buffer = StoreBuffer::EMPTY;
        buffer.push(X, 1, Relaxed);
        buffer.push_barrier();
        buffer.push(Y, u64::MAX, Release);
        buffer.push_change(Z, 3, SeqCst);
        let mut bytes = Vec::new();
        buffer.pack(&mut bytes);
        StoreBuffer::EMPTY.pack(&mut bytes);
        let mut rest = &bytes[..];
        let mut other = StoreBuffer::EMPTY;
        for expected in [buffer, StoreBuffer::EMPTY] {
            other.unpack(&mut rest);
            assert_eq!(other, expected);
        }
        assert!(rest.is_empty());
    }
}
