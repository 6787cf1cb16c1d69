//! What a scenario must come by at least once, or it shows nothing.
//!
//! A script that never gets into the situation it is about passes, and proves that nothing went wrong in a place where
//! nothing could.

use std::cell::Cell;

use shootdown::Counter;

/// Something that must happen in some interleaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A CPU remembers a translation that the tables no longer have.
    Stale,
    /// The library counts this: it takes the branch that does.
    Counted(Counter),
}

impl Reach {
    /// Returns a few words for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reach::Stale => "a stale translation",
            Reach::Counted(counter) => counter.name(),
        }
    }
}

thread_local! {
    // Counters that library code on this thread has counted, a bit each. While a scenario is explored, code runs on one
    // thread only, the one that began the search, whatever others do; and it is run only when the search comes by.
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

const _: () = assert!(Counter::COUNT <= u64::BITS as usize);

/// Hears that the library has counted something.
pub(crate) fn note(counter: Counter) {
    COUNTED.set(COUNTED.get() | 1 << counter as u32);
}

/// What is still to be reached.
#[derive(Default)]
pub(crate) struct Missing(Vec<Reach>);

impl Missing {
    /// Begins to look for all of `reaches`.
    pub(crate) fn new(reaches: &[Reach]) -> Self {
        COUNTED.set(0);
        Missing(reaches.to_vec())
    }

    /// Tells whether nobody has found a stale translation yet that is looked for.
    pub(crate) fn looks_for_stale(&self) -> bool {
        self.0.contains(&Reach::Stale)
    }

    /// Hears that somebody has.
    pub(crate) fn note_stale(&mut self) {
        self.0.retain(|reach| *reach != Reach::Stale);
    }

    /// Returns what was not reached.
    pub(crate) fn finish(mut self) -> Vec<Reach> {
        let counted = COUNTED.get();
        self.0.retain(|reach| !matches!(reach, Reach::Counted(counter) if counted & 1 << *counter as u32 != 0));
        self.0
    }
}
