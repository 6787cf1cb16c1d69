//! The kinds of machines there are, as far as a gather can tell.

use std::{cell::Cell, marker::PhantomData};

use shootdown::{
    Attributes, Entry, EntryFormat, Level, Pfn, Policy, TableCustody, TableFrame, VpnRange, arch::x86_64::X86_64,
    policy::batches_of,
};
use shootdown_sim::sequential::Architecture;

/// x86-64's page tables on a machine that is different otherwise.
pub(crate) struct Like<P>(PhantomData<P>);

impl<P: 'static> EntryFormat for Like<P> {
    const LEVELS: u8 = X86_64::LEVELS;
    const INDEX_BITS: u32 = X86_64::INDEX_BITS;
    const PAGE_SHIFT: u32 = X86_64::PAGE_SHIFT;
    const HIGHEST_LEAF: Level = X86_64::HIGHEST_LEAF;
    const REACH: VpnRange = X86_64::REACH;

    fn leaf(frame: Pfn, level: Level, attributes: Attributes) -> u64 {
        X86_64::leaf(frame, level, attributes)
    }

    fn table(table: TableFrame) -> u64 {
        X86_64::table(table)
    }

    fn decode(raw: u64, level: Level) -> Entry {
        X86_64::decode(raw, level)
    }

    fn attributes(raw: u64) -> Attributes {
        X86_64::attributes(raw)
    }

    fn with_attributes(raw: u64, attributes: Attributes) -> u64 {
        X86_64::with_attributes(raw, attributes)
    }

    fn needs_flush(old: u64, new: u64) -> bool {
        X86_64::needs_flush(old, new)
    }
}

impl<P: Policy> Architecture for Like<P> {
    type Policy = P;
    type Entries = [Cell<u64>; X86_64::ENTRIES];

    fn empty_table() -> Self::Entries {
        [const { Cell::new(0) }; X86_64::ENTRIES]
    }
}

/// Defines a policy that differs in a few things.
macro_rules! policy {
    ($(#[$doc:meta])* $name:ident { $($item:item)* }) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Policy for $name {
            $($item)*
        }
    };
}

policy! {
    /// Everything is dropped at every flush.
    NoRanges {
        const FLUSH_CEILING: u64 = 0;
    }
}
policy! {
    /// Pages of one size at a time.
    OnePageSize {
        const ONE_PAGE_SIZE: bool = true;
    }
}
policy! {
    /// Tables have a batch of their own.
    OwnTables {
        const TABLES: TableCustody = TableCustody::OwnBatch;
    }
}
policy! {
    /// And are freed later.
    DeferredTables {
        const TABLES: TableCustody = TableCustody::Deferred;
    }
}
policy! {
    /// Each area is flushed by itself, and it costs by size to free a page.
    AreaByArea {
        const MERGES_AREAS: bool = false;
        const RELEASE_COUNTS_PAGES: bool = true;
    }
}
policy! {
    /// One CPU runs.
    OneCpu {
        const DELAYS_RMAP: bool = false;
    }
}
policy! {
    /// To clear an entry is to flush it, everywhere.
    ClearingFlushes {
        const CLEARING_FLUSHES: bool = true;
        const TABLES: TableCustody = TableCustody::OwnBatch;
    }
}

/// Page tables of any size, of two levels.
pub(crate) struct Sized<const PAGE_SHIFT: u32, P>(PhantomData<P>);

const PRESENT: u64 = 1;
const LEAF: u64 = 2;
const WRITABLE: u64 = 4;
const FRAME_SHIFT: u32 = 4;

impl<const SHIFT: u32, P: 'static> EntryFormat for Sized<SHIFT, P> {
    const LEVELS: u8 = 2;
    const INDEX_BITS: u32 = SHIFT - 3;
    const PAGE_SHIFT: u32 = SHIFT;
    const HIGHEST_LEAF: Level = Level::LEAF;

    fn leaf(frame: Pfn, _: Level, attributes: Attributes) -> u64 {
        Self::with_attributes(frame.0 << FRAME_SHIFT | LEAF | PRESENT, attributes)
    }

    fn table(table: TableFrame) -> u64 {
        table.0.0 << FRAME_SHIFT | PRESENT
    }

    fn decode(raw: u64, _: Level) -> Entry {
        let frame = Pfn(raw >> FRAME_SHIFT);
        match (raw & PRESENT, raw & LEAF) {
            (0, _) => Entry::Absent,
            (_, 0) => Entry::Table(TableFrame(frame)),
            _ => Entry::Leaf(frame),
        }
    }

    fn attributes(raw: u64) -> Attributes {
        Attributes { writable: raw & WRITABLE != 0, ..Attributes::USER_READ }
    }

    fn with_attributes(raw: u64, attributes: Attributes) -> u64 {
        raw & !WRITABLE | if attributes.writable { WRITABLE } else { 0 }
    }

    fn needs_flush(old: u64, new: u64) -> bool {
        old != new
    }
}

impl<const SHIFT: u32, P: Policy> Architecture for Sized<SHIFT, P> {
    type Policy = P;
    type Entries = Box<[Cell<u64>]>;

    fn empty_table() -> Self::Entries {
        (0..Self::ENTRIES).map(|_| Cell::new(0)).collect()
    }
}

/// As many batches as bound the work to about 10,000 pages, where one has room for so many.
pub(crate) struct BatchesOf<const N_SLOTS: usize>;

impl<const N_SLOTS: usize> Policy for BatchesOf<N_SLOTS> {
    const GATHER_BATCHES: usize = batches_of(N_SLOTS);
    const TABLES: TableCustody = TableCustody::OwnBatch;
}
