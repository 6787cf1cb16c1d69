//! What the sequential machine needs to know of an architecture beyond its entry format.

use std::cell::Cell;

use shootdown::{
    DefaultPolicy, EntryFormat, Policy, TableFrame,
    arch::{
        alpha::{self, Alpha, AlphaPolicy},
        x86_64::X86_64,
    },
};

/// An architecture that the sequential machine can be built for.
pub trait Architecture: EntryFormat {
    /// Bounds on the library's work.
    type Policy: Policy;
    /// The entries of one table. A type of its own so that a table is an array, whose length the compiler knows.
    type Entries: AsRef<[Cell<u64>]>;

    /// Makes the entries of an empty table.
    fn empty_table() -> Self::Entries;

    /// Returns the index and the value of the entry that every root begins with, if there is one.
    fn self_map(root: TableFrame) -> Option<(usize, u64)> {
        let _ = root;
        None
    }
}

impl Architecture for X86_64 {
    type Policy = DefaultPolicy;
    type Entries = [Cell<u64>; X86_64::ENTRIES];

    fn empty_table() -> Self::Entries {
        [const { Cell::new(0) }; X86_64::ENTRIES]
    }
}

impl Architecture for Alpha {
    type Policy = AlphaPolicy;
    type Entries = [Cell<u64>; Alpha::ENTRIES];

    fn empty_table() -> Self::Entries {
        [const { Cell::new(0) }; Alpha::ENTRIES]
    }

    fn self_map(root: TableFrame) -> Option<(usize, u64)> {
        Some((alpha::SELF_MAP_SLOT, alpha::self_map(root)))
    }
}
