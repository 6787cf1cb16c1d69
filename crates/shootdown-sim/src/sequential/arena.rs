//! Storage that grows and never moves, so that references into it stay good.

use std::cell::OnceCell;

const FIRST_CHUNK: usize = 64;
const N_CHUNKS: usize = 32;

/// An endless array; elements come into being, in chunks that double, when one of them is first asked for.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    chunks: [OnceCell<Box<[T]>>; N_CHUNKS],
    make: fn(usize) -> T,
}

impl<T> Arena<T> {
    /// `make` gets the index of the element it makes.
    pub(crate) fn new(make: fn(usize) -> T) -> Self {
        Arena { chunks: [const { OnceCell::new() }; N_CHUNKS], make }
    }

    /// Returns the element, making it first if need be.
    ///
    /// # Panics
    /// If `index` is beyond 2³⁷.
    pub(crate) fn get(&self, index: usize) -> &T {
        let position = index + FIRST_CHUNK;
        let chunk = (position / FIRST_CHUNK).ilog2() as usize;
        let length = FIRST_CHUNK << chunk;
        let first = length - FIRST_CHUNK;
        let elements = self.chunks[chunk].get_or_init(|| (first..first + length).map(self.make).collect());
        &elements[index - first]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_know_their_index_and_stay_where_they_are() {
        let arena = Arena::new(|index| index);
        let first: *const usize = arena.get(0);
        for index in [0, 63, 64, 191, 192, 100_000] {
            assert_eq!(*arena.get(index), index);
        }
        assert!(std::ptr::eq(first, arena.get(0)));
    }
}
