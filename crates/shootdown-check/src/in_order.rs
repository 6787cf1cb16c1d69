//! Work for several threads whose results come in order.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

/// Does `work` for each item, on so many threads, and hands on the results in the order of the items.
pub(crate) fn run<T: Sync, R: Send>(
    items: &[T],
    n_threads: usize,
    work: impl Fn(&T) -> R + Sync,
    mut each: impl FnMut(R),
) {
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..n_threads {
            let (next, work, done) = (&next, &work, done.clone());
            scope.spawn(move || {
                while let Some((idx, item)) = take(next, items) {
                    // Nobody listens any more if `each` has panicked.
                    if done.send((idx, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut early = BTreeMap::new();
        let mut n_handed_on = 0;
        for (idx, result) in results {
            early.insert(idx, result);
            while let Some(result) = early.remove(&n_handed_on) {
                each(result);
                n_handed_on += 1;
            }
        }
    });
}

fn take<'i, T>(next: &AtomicUsize, items: &'i [T]) -> Option<(usize, &'i T)> {
    let idx = next.fetch_add(1, Relaxed);
    Some((idx, items.get(idx)?))
}
