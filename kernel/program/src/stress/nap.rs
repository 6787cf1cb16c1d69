//! Sleeping, so that CPUs have nothing to do for a while and keep the address space all the same.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::calls;

/// Where threads of a process sleep until another one rings.
pub(crate) struct Beds {
    n_awake: AtomicU64,
    n_rung: AtomicU32,
}

impl Beds {
    /// Before there are threads: so many.
    pub(crate) fn begin(&self, n_threads: u64) {
        self.n_awake.store(n_threads, Relaxed);
    }

    /// Sleeps until somebody rings, unless nobody else is awake.
    pub(crate) fn nap(&self) {
        // Before it is known that somebody else is awake, who rings after he has ceased to be.
        let n_rung = self.n_rung.load(SeqCst);
        let lie_down = |n_awake: u64| (n_awake > 1).then(|| n_awake - 1);
        if self.n_awake.fetch_update(SeqCst, SeqCst, lie_down).is_ok() {
            calls::wait_while(&self.n_rung, n_rung);
            self.n_awake.fetch_add(1, SeqCst);
        }
    }

    /// Rings.
    pub(crate) fn wake_all(&self) {
        self.n_rung.fetch_add(1, SeqCst);
        calls::wake_all(&self.n_rung);
    }

    /// Is awake no more, and will not be again.
    pub(crate) fn leave(&self) {
        self.n_awake.fetch_sub(1, SeqCst);
        self.wake_all();
    }
}
