//! Races that kernels have had, most of them Linux.

use shootdown::Fix;

use super::{
    Incident,
    State::{Holds, NotApplicable, NotYet, Shown},
    incident,
};

/// The races.
pub(super) const RACES: &[Incident] = &[
    // Unmapping and freeing.
    incident(
        "R-FREE",
        "A frame is reused while another CPU still writes to it through its TLB: the base bug",
        Shown("unmap_2cpu", Fix::FlushBeforeFree),
    ),
    incident(
        "R-TBL",
        "A page table is freed, when no memory for a batch is left, before walk caches let go of it",
        Shown("unmap_tables_2cpu", Fix::DropWalkCaches),
    ),
    incident(
        "R-PAE",
        "Root entries that the CPU loaded with the root itself outlive an invalidation by address (1de14c3c5cbc)",
        NotYet("an architecture whose root entries are cached so"),
    ),
    incident(
        "R-LAZY1",
        "A lazy CPU is skipped and its walker goes on reading a freed table (b956575bed91)",
        Shown("lazy_table", Fix::TellLazyOfTables),
    ),
    incident(
        "R-LAZY2",
        "A lazy CPU is skipped when a shared table is let go of, not freed",
        Shown("unshare_lazy", Fix::FlushUnsharedAsFreed),
    ),
    incident(
        "R-LAZY3",
        "Skipping lazy CPUs was reverted because freeing was not yet in order (52a2af400c10)",
        Holds("lazy"),
    ),
    incident(
        "R-SWITCH1",
        "A flusher skips a CPU that is on its way back to the address space (fea4e317f9e7)",
        Shown("switch_back_2cpu", Fix::ShowSwitching),
    ),
    incident(
        "R-SWITCH2",
        "A CPU reads the generation first and says that it is switching afterwards (83b0177a6c48)",
        Shown("switch_back_2cpu", Fix::ShowSwitching),
    ),
    incident(
        "R-SWITCH3",
        "A flusher combines an old lazy mark with a new address space, or the reverse",
        Holds("lazy_arrival"),
    ),
    incident(
        "R-GEN",
        "A later, partial flush is run first and makes the earlier, full one look done",
        Shown("mutual_shootdown", Fix::DropAllWhenBehind),
    ),
    incident("R-TRIM", "Somebody else clears a CPU's residency bit while that CPU sets it", Holds("leave_2cpu")),
    incident(
        "R-PCID",
        "A kernel mapping is flushed under the current tag only and survives under others",
        Shown("kernel_flush", Fix::ForgetOtherTags),
    ),
    incident(
        "R-ASID-ROLL",
        "After a roll-over two address spaces run with the same tag",
        Shown("tag_roll_over", Fix::CheckTagRound),
    ),
    // Flushes that are put off.
    incident(
        "R-MADV",
        "A second unmapper finds the entry gone, and returns before the first has flushed (99baac21e458)",
        Shown("two_gathers", Fix::FlushForOthers),
    ),
    incident(
        "R-NESTED-TABLES",
        "The flush forced by a second gather forgets that tables were freed (7a30df49f63a)",
        Shown("two_gathers_table", Fix::KeepTablesInMind),
    ),
    incident(
        "R-RECLAIM",
        "mprotect returns while reclaim still owes the flush (3ea277194daa)",
        Shown("reclaim", Fix::PayForReclaim),
    ),
    incident(
        "R-RECLAIM-RELOCK",
        "The flush owed by reclaim is checked, then the lock dropped and taken again",
        Shown("reclaim_between_locks", Fix::LookForDebtLast),
    ),
    incident(
        "R-RECLAIM-DSB",
        "A barrier completes only its own CPU's broadcast invalidations (4b634918384c)",
        Shown("broadcast_reclaim", Fix::BroadcastForReclaim),
    ),
    incident("R-TLBUBC-NEST", "Reclaim within reclaim resets the mark that a flush is owed", Holds("reclaim_nested")),
    incident(
        "R-NUMA",
        "An entry that was made inaccessible, and not flushed, is taken for uncached (20841405940e)",
        Shown("migration_3cpu", Fix::AskWhatIsPending),
    ),
    incident(
        "R-MIGVMA",
        "Page-table locks are dropped between clearing and flushing (60bae7370896)",
        Shown("collected_2cpu", Fix::FlushForOthers),
    ),
    incident(
        "R-UFFD",
        "A page is copied while a stale entry still lets it be written (6ce64428d620)",
        Shown("copy_on_write_3cpu", Fix::FlushBeforeCopy),
    ),
    incident(
        "R-KSM",
        "An entry that is read-only in memory is taken as proof that nobody writes",
        Shown("merge_3cpu", Fix::AskWhatIsPending),
    ),
    incident(
        "R-SOFTDIRTY",
        "A gather without a recorded range finishes without a flush (912efa17e512)",
        Shown("protect_2cpu", Fix::RecordChanges),
    ),
    incident(
        "R-RMAP",
        "A page is written back and called clean while a stale entry lets it be written (5df397dec7c4)",
        Shown("delayed_rmap_3cpu", Fix::DelayRmap),
    ),
    // Moving translations.
    incident(
        "R-MREMAP",
        "An entry is moved and the old address flushed after the locks are dropped (CVE-2018-18281)",
        Shown("relocate_2cpu", Fix::FlushBeforeUnlock),
    ),
    incident(
        "R-MREMAP-PUD",
        "A whole table is moved under somebody who looks for a page by the reverse map (CVE-2022-41222)",
        Shown("relocate_looked_for", Fix::HoldRmapToMove),
    ),
    incident(
        "R-MREMAP-RETRACT",
        "A table is retracted while it is being moved (CVE-2024-50066)",
        Shown("relocate_table_gone", Fix::LookAgainToMove),
    ),
    incident(
        "R-EXEC-STACK",
        "An overlapping move lands on entries that are not empty",
        NotApplicable("mapping over a present entry is an error"),
    ),
    // Lockless walkers.
    incident(
        "R-GUP-FREE",
        "A lockless walker is inside a table that is freed",
        Shown("walk_broadcast", Fix::QuiesceBeforeFree),
    ),
    incident(
        "R-THP1",
        "A lockless walker takes a page whose table was collapsed meanwhile (70cbc3cc78a9)",
        Shown("retract_walk", Fix::LookAgainAtTable),
    ),
    incident(
        "R-THP2",
        "A collapsed table is put to another use under a lockless walker (2ba99c5e0881)",
        Shown("collapse_walk", Fix::QuiesceBeforeReuse),
    ),
    incident(
        "R-THP3",
        "A table is retracted with some of the locks only (8d3c106e19e8, f268f6cf875f)",
        Holds("retract_fault"),
    ),
    incident(
        "R-THPCOW",
        "Mapping counts are changed one by one under somebody who asks whether a page is exclusive (CVE-2020-29368)",
        NotApplicable("a large page is split only while nobody else has it"),
    ),
    incident(
        "R-FORKPIN",
        "A page is pinned without a lock while fork makes it shared (57efa1fe5957)",
        Shown("walk_forked_page", Fix::SayWhenForking),
    ),
    incident("R-PAESPLIT", "An entry of two words is read in halves", Shown("walk_two_words", Fix::MaskWhileWalking)),
    incident(
        "R-NMI",
        "An interrupt touches user memory in the middle of a switch",
        NotYet("handlers that touch user memory"),
    ),
    // Shared tables.
    incident(
        "R-HT1",
        "A shared table is let go of and nothing is flushed (CVE-2021-4002)",
        Shown("unshare", Fix::RecordUnshared),
    ),
    incident(
        "R-HT2",
        "A reference count is taken for the number of sharers (CVE-2024-57883, CVE-2026-23100)",
        Holds("unshare_race"),
    ),
    incident(
        "R-HT3",
        "A table is unshared before a split takes its locks, and shared again (CVE-2025-38084)",
        Holds("unshare_split"),
    ),
    incident(
        "R-HT4",
        "A lockless walker is inside a table that is unshared (CVE-2025-38085)",
        Shown("unshare_walk_broadcast", Fix::QuiesceBeforeReuse),
    ),
    incident("R-HT5", "One broadcast for every unshared table", Shown("unshare_two_tables", Fix::QuiesceOnce)),
    incident(
        "R-HT6",
        "Only the last sharer waits for walkers, and only for its own",
        Shown("unshare_walk_third", Fix::QuiesceForAllSharers),
    ),
    incident(
        "R-HT7",
        "Unsharing is flushed as if only leaves had changed (c2ff4764e03e)",
        Shown("unshare_broadcast", Fix::FlushUnsharedAsFreed),
    ),
    incident("R-HT8", "The flush after unsharing comes after the lock is dropped", Holds("unshare_race")),
    incident(
        "R-HT9",
        "Sharing loses a race and takes its count back without a flush",
        Shown("share_race", Fix::GiveBackOffer),
    ),
    // Drivers and lifetimes.
    incident(
        "R-PFN",
        "A driver finds no mapping left and frees, before the flush (CVE-2022-39188)",
        Shown("uncounted_area", Fix::FlushAtAreaEnd),
    ),
    incident(
        "R-PFN2",
        "An early flush forgets that a driver's pages are in the gather",
        Shown("uncounted_area_midway", Fix::FlushAtAreaEnd),
    ),
    incident(
        "R-STACKROT",
        "A node of the mapping tree outlives its grace period (CVE-2023-3269)",
        NotApplicable("no RCU; mappings are behind a mutex"),
    ),
    incident(
        "R-PTDUMP",
        "A walker of kernel tables meets one that is being freed",
        Shown("kernel_large_broadcast", Fix::QuiesceBeforeFree),
    ),
    // Kernel mappings.
    incident(
        "R-VM1",
        "A kernel address is handed out before every root reaches it",
        Shown("kernel_grow", Fix::FillRootsBeforeUse),
    ),
    incident(
        "R-VM2",
        "A counter says that a root is complete when another's new slot is not in it",
        Holds("kernel_grow_creation"),
    ),
    incident(
        "R-VM3",
        "The fault handler that completes a root looks at the wrong one",
        NotApplicable("no handler of faults completes roots"),
    ),
    incident(
        "R-VM4",
        "A kernel address is reused before the flush",
        Shown("kernel_reuse_older", Fix::FlushBeforeReuse),
    ),
    incident(
        "R-VB",
        "A purge looks for what to flush in the list of what is free (fc1e0d980037)",
        Shown("kernel_block_full", Fix::LookInFullBlocks),
    ),
    incident(
        "R-VPURGE",
        "Two purges at a time: one takes what the other has not flushed yet for flushed (after CVE-2026-46093)",
        Shown("kernel_block_drains", Fix::CleanAfterFlush),
    ),
    incident("R-IOSVA", "An IOMMU walks a freed kernel table", Shown("device_kernel_table", Fix::TellDevicesOfKernel)),
    // Interrupts between CPUs.
    incident(
        "R-IPI1",
        "Two CPUs call each other with interrupts masked and wait forever",
        Shown("mutual_calls", Fix::ServeWhileWaiting),
    ),
    incident(
        "R-IPI2",
        "A CPU waits for one that waits for its lock with interrupts masked",
        Shown("lock_and_call", Fix::ServeWhileWaiting),
    ),
    incident(
        "R-IPI3",
        "The interrupt is lost and the queue never empty again, so nobody sends another",
        Shown("silenced_sender_3cpu", Fix::PollOnExit),
    ),
    incident(
        "R-IPI4",
        "An interrupt calls the CPU that the interrupted code was about to interrupt",
        Shown("calling_handler", Fix::MaskWhilePosting),
    ),
    incident(
        "R-IPI5",
        "A request's storage is reused before it has run",
        NotApplicable("requests are copied to slots that never go away"),
    ),
    incident("R-IPI6", "A CPU goes offline with requests in its queue", Shown("departing", Fix::AnswerOnDeparture)),
    incident(
        "R-IPI7",
        "Two senders on one queue: a request runs twice or never (e6cd1e07a185, 6dc19899958e)",
        Shown("two_senders", Fix::AtomicDrain),
    ),
    incident("R-IPI8", "Who need not be told is decided first, and changes before the request is sent", Holds("lazy")),
    incident(
        "R-IPI9",
        "All callers share a lock: a handler of the CPU that has it wants it too, or a caller does without",
        Holds("calling_handler"),
    ),
    // Alpha.
    incident("R-AL1", "Marvel drops an interrupt that comes at the highest level", Shown("lost_edge", Fix::PollOnExit)),
    incident("R-AL2", "Alpha's senders wait deaf for each other", Shown("alpha_operations", Fix::ServeWhileWaiting)),
    incident("R-AL3", "A CPU uses an address space before others can see that it does", Holds("switch_2cpu")),
    incident(
        "R-AL4",
        "A flush comes between choosing the tag and loading it",
        Shown("tag_numbers", Fix::MaskWhileSwitching),
    ),
    incident(
        "R-AL5",
        "A tag that was just taken is revoked and nobody takes another",
        NotApplicable("tags are not revoked: a CPU looks at the generation before it loads one"),
    ),
    incident(
        "R-AL6",
        "Few users of an address space are taken for few CPUs with it",
        NotApplicable("residency alone decides who is told"),
    ),
    incident("R-AL7", "A lazy CPU invalidates under its own tag", Holds("tag_numbers_lazy")),
    incident(
        "R-AL8",
        "Retiring a tag later is not enough when a page moves now (CVE-2026-43258)",
        Shown("tag_numbers", Fix::CatchUp),
    ),
    incident(
        "R-AL9",
        "A table is freed at once, and what the self-map remembers of it stays",
        Shown("unmap_tables_2cpu", Fix::DropWalkCaches),
    ),
    // Further rules.
    incident(
        "R-OOMFULL",
        "A gather for the whole address space skips its flush while it still runs (687cb0884a71)",
        Shown("reaper", Fix::AskForUsers),
    ),
    incident(
        "R-THPDONT",
        "An entry that is absent for a moment is taken for none (ced108037c2a)",
        NotYet("operations that look without the lock"),
    ),
    incident(
        "R-SPLIT383",
        "Two sizes of one page are in TLBs at once (AMD erratum 383, Arm break-before-make)",
        Shown("split", Fix::BreakBeforeMake),
    ),
    incident(
        "R-ADLEAK",
        "Hardware sets a bit in an entry that was just cleared",
        NotApplicable("formats tell absent entries by their valid bit; clearing is one exchange"),
    ),
    incident(
        "R-TLBICOMPLETE",
        "A completed invalidation leaves a store in flight (arm64 errata)",
        NotYet("errata of invalidation"),
    ),
    incident(
        "R-INVLPGGLOBAL",
        "Invalidation by address misses global entries (Alder Lake microcode)",
        NotYet("global entries"),
    ),
    incident(
        "R-SPURIOUS",
        "A fault whose entry is fine by now is taken for an error",
        NotYet("fault handlers in the explorer"),
    ),
    incident(
        "R-YOUNG",
        "A cleared accessed bit without a flush is taken as proof that nothing is cached",
        NotApplicable("accessed bits decide nothing"),
    ),
    incident(
        "R-FOLDING",
        "One TLB entry stands for 16 and only one of them is invalidated",
        NotYet("hints of contiguity"),
    ),
    incident(
        "R-SAMEPAGE",
        "A test that gives the same frame back to the same page cannot see a missed flush",
        NotApplicable("the machine remembers which translation is stale, not only where it leads"),
    ),
    incident("R-HOTPLUG", "A CPU comes back with the TLB it left with", Shown("arriving", Fix::WipeOnArrival)),
    incident(
        "R-KTHREADMM",
        "A kernel thread uses an address space that has no users",
        NotApplicable("residency alone decides who is told"),
    ),
    incident(
        "R-MEMBARRIER-LAZY",
        "An expensive step is elided and with it the barrier it was",
        NotYet("barriers in scenarios of their own"),
    ),
    incident(
        "R-IOMMUSEQ",
        "That a wait was queued by somebody else is taken for its end",
        Shown("device_sync_3cpu", Fix::WaitForSync),
    ),
    incident("R-ASIDBOOT", "A tag outlives its CPU's reset", Shown("arriving", Fix::WipeOnArrival)),
    incident(
        "R-PAGEWALK",
        "A walker decides by one load of an entry and descends by another (CVE-2026-31456)",
        Holds("walk"),
    ),
    incident(
        "R-HOTREMOVE",
        "Frames are freed one by one and flushed together",
        NotApplicable("no flush is skipped where a frame is freed"),
    ),
];
