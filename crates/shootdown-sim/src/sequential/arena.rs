//! Storage that grows and never moves, so that references into it stay good.

use std::cell::OnceCell;

const CHUNK: usize = 256;
const N_CHUNKS: usize = 1 << 15;

/// How many elements an [`Arena`] has.
pub(crate) const CAPACITY: usize = CHUNK * N_CHUNKS;

/// A long array; elements come into being, a chunk at a time, when one of them is first asked for.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    chunks: Box<[OnceCell<Box<[T]>>]>,
    make: fn(usize) -> T,
}

impl<T> Arena<T> {
    /// `make` gets the index of the element it makes.
    pub(crate) fn new(make: fn(usize) -> T) -> Self {
        Arena { chunks: (0..N_CHUNKS).map(|_| OnceCell::new()).collect(), make }
    }

    /// Returns the element, making it first if need be.
    ///
    /// # Panics
    /// If `index` is not below [`CAPACITY`].
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &T {
        let chunk = match self.chunks[index / CHUNK].get() {
            Some(chunk) => chunk,
            None => self.make_chunk(index / CHUNK),
        };
        &chunk[index % CHUNK]
    }

    #[cold]
    fn make_chunk(&self, chunk: usize) -> &[T] {
        let first = chunk * CHUNK;
        self.chunks[chunk].get_or_init(|| (first..first + CHUNK).map(self.make).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_know_their_index_and_stay_where_they_are() {
        let arena = Arena::new(|index| index);
        let first: *const usize = arena.get(0);
        for index in [0, 63, 255, 256, 100_000, CAPACITY - 1] {
            assert_eq!(*arena.get(index), index);
        }
        assert!(std::ptr::eq(first, arena.get(0)));
    }
}
