//! What it costs to make a root table with the kernel's slots in it: a page that is zeroed, and a copy of each slot.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::memory::{self, PAGE_SIZE};

/// Makes roots, some at a time.
pub(crate) trait Maker {
    /// Returns how many it has made.
    fn make(&mut self) -> usize;

    /// Takes them back. Is not timed.
    fn unmake(&mut self);
}

/// Times so many roots, or a few more, and scales.
pub(crate) fn time(maker: &mut impl Maker, n_times: u64) -> Duration {
    let (mut n_made, mut time) = (0, Duration::ZERO);
    while n_made < n_times {
        let begin = Instant::now();
        n_made += maker.make() as u64;
        time += begin.elapsed();
        maker.unmake();
    }
    Duration::from_nanos((time.as_nanos() as u64).saturating_mul(n_times) / n_made)
}

/// The same and nothing else: zeroed pages, and stores to them.
pub(crate) struct ByHand {
    own: usize,
    n_slots: u64,
    roots: Vec<usize>,
}

impl ByHand {
    pub(crate) fn new(n_slots: u64) -> Self {
        ByHand { own: memory::take_zeroed(), n_slots, roots: Vec::with_capacity(64) }
    }
}

fn entry(table: usize, index: u64) -> &'static AtomicU64 {
    assert!(index < (PAGE_SIZE / 8) as u64);
    // SAFETY: a table is a page of atomics that is there for ever, and the index is within it.
    unsafe { &*memory::pointer::<AtomicU64>(table).add(index as usize) }
}

impl Maker for ByHand {
    fn make(&mut self) -> usize {
        for _ in 0..self.roots.capacity() {
            let root = memory::take_zeroed();
            for index in 256..256 + self.n_slots {
                entry(root, index).store(entry(self.own, index).load(Relaxed), Relaxed);
            }
            self.roots.push(black_box(root));
        }
        self.roots.len()
    }

    fn unmake(&mut self) {
        self.roots.drain(..).for_each(memory::give_back);
    }
}
