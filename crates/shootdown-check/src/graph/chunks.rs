//! A list that grows without moving: what is allocated is never much more than what is used, also while it grows.

use std::mem::size_of;

const CHUNK: usize = 1 << 12;

/// The list.
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T: Copy> Chunks<T> {
    pub(super) const fn new() -> Self {
        Chunks(Vec::new())
    }

    pub(super) fn push(&mut self, item: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(item),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.0.push(chunk);
            }
        }
    }

    pub(super) fn get(&self, idx: usize) -> T {
        self.0[idx / CHUNK][idx % CHUNK]
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.0.iter().flatten().copied()
    }

    /// Bytes that are allocated.
    pub(super) fn n_bytes(&self) -> usize {
        self.0.len() * CHUNK * size_of::<T>() + self.0.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_it_was_put_and_little_is_allocated_ahead() {
        let mut list = Chunks::new();
        let n_items = 3 * CHUNK + 1;
        (0..n_items).for_each(|item| list.push(item));
        assert_eq!(list.len(), n_items);
        assert!((0..n_items).all(|idx| list.get(idx) == idx) && list.iter().eq(0..n_items));
        assert!(list.n_bytes() < (n_items + CHUNK) * size_of::<usize>() + 100);
    }
}
