//! The states that were reached: what tells them apart, and a shortest way to each.

use hashbrown::{HashTable, hash_table::Entry};
use shootdown_sim::smp::Act;

use super::chunks::Chunks;
use crate::schedule::decode;

/// A state's number, in the order in which states were reached.
pub(super) type StateIdx = u32;

/// More than the acts that a state can have next: an act is a byte.
const MANY_ACTS: usize = 1 << u8::BITS;

/// The states, of each its fingerprint and the last step of the first way to it.
pub(super) struct Reached {
    by_fingerprint: HashTable<StateIdx>,
    fingerprints: Chunks<u64>,
    /// The state before. For the first one, which has none, itself.
    before: Chunks<StateIdx>,
    /// The act from there, as a byte.
    acts: Chunks<u8>,
}

impl Reached {
    /// Begins with the first state.
    pub(super) fn new(fingerprint: u64) -> Self {
        let mut reached = Reached {
            by_fingerprint: HashTable::new(),
            fingerprints: Chunks::new(),
            before: Chunks::new(),
            acts: Chunks::new(),
        };
        reached.insert(fingerprint, 0, 0);
        reached
    }

    pub(super) fn len(&self) -> usize {
        self.acts.len()
    }

    pub(super) fn find(&self, fingerprint: u64) -> Option<StateIdx> {
        let is_it = |idx: &StateIdx| self.fingerprints.get(*idx as usize) == fingerprint;
        self.by_fingerprint.find(fingerprint, is_it).copied()
    }

    /// Takes note of a state; tells its number and whether it is new. The act, as a byte, leads to it from `before`.
    pub(super) fn insert(&mut self, fingerprint: u64, before: StateIdx, act: u8) -> (StateIdx, bool) {
        let next = StateIdx::try_from(self.len()).expect("states are numbered in 32 bits");
        let fingerprint_of = |idx: &StateIdx| self.fingerprints.get(*idx as usize);
        match self.by_fingerprint.entry(fingerprint, |idx| fingerprint_of(idx) == fingerprint, fingerprint_of) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(place) => {
                place.insert(next);
                self.fingerprints.push(fingerprint);
                self.before.push(before);
                self.acts.push(act);
                (next, true)
            }
        }
    }

    /// The acts that lead to a state, one of the shortest ways.
    pub(super) fn way_to(&self, mut idx: StateIdx) -> Vec<Act> {
        let mut acts = Vec::new();
        while idx != 0 {
            acts.push(decode(self.acts.get(idx as usize)).expect("the byte was made of an act"));
            idx = self.before.get(idx as usize);
        }
        acts.reverse();
        acts
    }

    /// Forgets what tells states apart: nothing can be found or inserted any more.
    pub(super) fn keep_ways_only(&mut self) {
        self.by_fingerprint = HashTable::new();
        self.fingerprints = Chunks::new();
    }

    /// Bytes that are allocated, or soon will be: while the table grows, the old one is there beside one twice its size.
    pub(super) fn n_bytes(&self) -> usize {
        let table = self.by_fingerprint.allocation_size();
        let is_almost_full = self.by_fingerprint.capacity() - self.by_fingerprint.len() < MANY_ACTS;
        let lists = self.fingerprints.n_bytes() + self.before.n_bytes() + self.acts.n_bytes();
        lists + if is_almost_full { 3 * table } else { table }
    }
}
