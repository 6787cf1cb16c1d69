//! Which state leads to which, in the order of the states that lead.

use std::ops::Range;

use super::{chunks::Chunks, reached::StateIdx};

/// The transitions.
pub(super) struct Transitions {
    targets: Chunks<StateIdx>,
    /// For each state how many there are; an act is a byte and some bytes are none, so they can be counted in one.
    n_next: Chunks<u8>,
}

impl Transitions {
    pub(super) const fn new() -> Self {
        Transitions { targets: Chunks::new(), n_next: Chunks::new() }
    }

    /// Adds one from the first state that has not got all of its own.
    pub(super) fn push(&mut self, target: StateIdx) {
        self.targets.push(target);
    }

    /// Says that the first state that had not got all of its own has so many, and now all.
    pub(super) fn finish_state(&mut self, n_next: u8) {
        self.n_next.push(n_next);
    }

    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// How many states have all of their own.
    pub(super) fn n_states(&self) -> usize {
        self.n_next.len()
    }

    /// For each state, from the first to the last, where its transitions are.
    pub(super) fn forwards(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        (0..self.n_states()).scan(0, |start, state| {
            let end = *start + usize::from(self.n_next.get(state));
            Some((state, std::mem::replace(start, end)..end))
        })
    }

    /// For each state, from the last to the first, where its transitions are.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        (0..self.n_states()).rev().scan(self.len(), |end, state| {
            let start = *end - usize::from(self.n_next.get(state));
            Some((state, start..std::mem::replace(end, start)))
        })
    }

    /// Where these transitions lead.
    pub(super) fn targets(&self, range: Range<usize>) -> impl Iterator<Item = StateIdx> + '_ {
        range.map(|place| self.targets.get(place))
    }

    /// Bytes that are allocated.
    pub(super) fn n_bytes(&self) -> usize {
        self.targets.n_bytes() + self.n_next.n_bytes()
    }
}
