//! Numbers and choices that a machine makes once, for all its gathers and flushes.

/// Where page-table pages wait from their unhooking to their release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableCustody {
    /// Among the pages: an ordinary frame, released after the flush.
    WithPages,
    /// In a batch of their own, released after the flush (`MMU_GATHER_TABLE_FREE`).
    OwnBatch,
    /// In a batch of their own, given to [`Machine::defer`](crate::Machine::defer) after the flush
    /// (`MMU_GATHER_RCU_TABLE_FREE`). For kernels that walk page tables without a lock.
    Deferred,
}

/// Numbers that bound the library's work, and what kind of MMU it works for. The defaults are Linux's for x86-64; a scenario
/// makes the numbers tiny.
pub trait Policy: 'static {
    /// More invalidations than this in one request become one full flush (`tlb_single_page_flush_ceiling`). 0 for machines
    /// without ranges.
    const FLUSH_CEILING: u64 = 33;
    /// Slots a gather has without asking for memory, 2 to 8 (`MMU_GATHER_BUNDLE`). One is to spare, so that what takes two
    /// always fits.
    const GATHER_SLOTS: usize = 8;
    /// Batch pages a gather takes at most, up to [`MAX_BATCHES`](crate::gather::MAX_BATCHES), see [`batches_of`]. One slot of
    /// each is to spare.
    const GATHER_BATCHES: usize = batches_of(510);
    /// How much is released between two [resched points](crate::Machine::resched) (`MAX_NR_FOLIOS_PER_FREE`).
    const RELEASE_CHUNK: u64 = 512;
    /// Whether that counts base pages, where it costs by size to free one, as with poisoning. Otherwise slots.
    const RELEASE_COUNTS_PAGES: bool = false;
    /// Where page-table pages wait.
    const TABLES: TableCustody = TableCustody::WithPages;
    /// Whether one flush must not be about pages of different sizes (`MMU_GATHER_PAGE_SIZE`). A gather then flushes between.
    const ONE_PAGE_SIZE: bool = false;
    /// Whether one flush may be about several [areas](crate::gather::Area), and the hull of their ranges
    /// (`MMU_GATHER_MERGE_VMAS`).
    const MERGES_AREAS: bool = true;
    /// Whether the machine takes a translation out of every TLB in the step that clears or changes its entry, as s390 does
    /// (`MMU_GATHER_NO_GATHER`). Then nothing is gathered but tables.
    const CLEARING_FLUSHES: bool = false;
    /// Whether what is [`Delayed`](crate::Rmap::Delayed) leaves the reverse map late, with a flush for each table. Not needed
    /// where one CPU runs: nobody writes pages back between its clearing an entry and its flush. A machine of at most one
    /// CPU, and one whose clearing flushes, never does.
    const DELAYS_RMAP: bool = true;
    /// Whether a whole level 1 table can move to another address by one entry that points at it. Not where the MMU keeps a
    /// hash of translations, since [`Machine::unhooked`](crate::Machine::unhooked) does not hear of those in it.
    const MOVES_TABLES: bool = !Self::CLEARING_FLUSHES;
    /// Tags on each CPU, up to [`MAX_SLOTS`](crate::tag::MAX_SLOTS), where they are slots (`TLB_NR_DYN_ASIDS`).
    const TAG_SLOTS: usize = 6;
    /// The highest tag where they are numbered: 255 on Alpha's EV6, 127 on EV5.
    const LAST_TAG: u16 = 255;
}

/// Returns how many batches of so many slots bound the work between two flushes to about 10,000 pages
/// (`MAX_GATHER_BATCH_COUNT`): 19 of 510, a 4 KiB page; 9, 4 and 1 of 8, 16 and 64 KiB.
#[must_use]
pub const fn batches_of(n_slots: usize) -> usize {
    10_000 / n_slots
}

/// Linux's numbers on x86-64.
#[derive(Clone, Copy, Debug)]
pub struct DefaultPolicy;

impl Policy for DefaultPolicy {}
