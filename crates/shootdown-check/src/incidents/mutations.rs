//! Steps of the protocols that a checker must notice to be missing: each is taken away, and an invariant must break.

use shootdown::Fix;

use super::{
    Incident,
    State::{Holds, NotApplicable, Shown},
    incident,
};

/// The mutations.
pub(super) const MUTATIONS: &[Incident] = &[
    incident("M1", "Frames are freed before the flush", Shown("unmap_2cpu", Fix::FlushBeforeFree)),
    incident(
        "M2",
        "Walk caches are not flushed when a table is freed",
        Shown("unmap_tables_2cpu", Fix::DropWalkCaches),
    ),
    incident(
        "M3",
        "Without memory for a batch, frames are freed at once",
        Shown("refused_batch", Fix::FlushWithoutRoom),
    ),
    incident("M4", "A lazy CPU is skipped when a table is freed", Shown("lazy_table", Fix::TellLazyOfTables)),
    incident("M5", "A lazy CPU is skipped when a table is unshared", Shown("unshare_lazy", Fix::FlushUnsharedAsFreed)),
    incident("M6", "Nobody looks whether a CPU is switching", Shown("switch_back_2cpu", Fix::ShowSwitching)),
    incident(
        "M7",
        "A CPU reads the generation before it says that it is switching",
        Shown("switch_back_2cpu", Fix::ShowSwitching),
    ),
    incident(
        "M8",
        "A partial flush counts as all flushes up to its generation",
        Shown("mutual_shootdown", Fix::DropAllWhenBehind),
    ),
    incident("M9", "Gathers do not notice each other", Shown("two_gathers", Fix::FlushForOthers)),
    incident(
        "M10",
        "The flush forced by another gather forgets that tables were freed",
        Shown("two_gathers_table", Fix::KeepTablesInMind),
    ),
    incident("M11", "Nobody looks for the flushes that reclaim owes", Shown("reclaim", Fix::PayForReclaim)),
    incident("M12", "A barrier counts for others' invalidations", Shown("broadcast_reclaim", Fix::BroadcastForReclaim)),
    incident("M13", "The reverse mapping is removed before the flush", Shown("delayed_rmap_3cpu", Fix::DelayRmap)),
    incident("M14", "A move drops the lock before the flush", Shown("relocate_2cpu", Fix::FlushBeforeUnlock)),
    incident(
        "M15",
        "Unsharing does not wait for lockless walkers",
        Shown("unshare_walk_broadcast", Fix::QuiesceBeforeReuse),
    ),
    incident(
        "M16",
        "The last sharer waits for its own walkers only",
        Shown("unshare_walk_third", Fix::QuiesceForAllSharers),
    ),
    incident("M17", "Unsharing is settled after its lock is dropped", Holds("unshare_race")),
    incident(
        "M18",
        "Unsharing is recorded as a change of leaves",
        Shown("unshare_broadcast", Fix::FlushUnsharedAsFreed),
    ),
    incident("M19", "A driver's mapping is unlinked before the flush", Shown("uncounted_area", Fix::FlushAtAreaEnd)),
    incident("M20", "An early flush forgets the driver's pages", Shown("uncounted_area_midway", Fix::FlushAtAreaEnd)),
    incident(
        "M21",
        "A gather skips its flush although the address space still runs",
        Shown("reaper", Fix::AskForUsers),
    ),
    incident(
        "M22",
        "Two CPUs wait with interrupts masked and serve nothing",
        Shown("mutual_calls_3cpu", Fix::ServeWhileWaiting),
    ),
    incident("M23", "An interrupt is lost and nobody polls", Shown("lost_edge", Fix::PollOnExit)),
    incident("M24", "The same, and a third CPU relies on the first", Shown("silenced_sender_3cpu", Fix::PollOnExit)),
    incident(
        "M25",
        "An interrupt sends between another's queueing and its kick",
        Shown("calling_handler", Fix::MaskWhilePosting),
    ),
    incident(
        "M26",
        "A request without a wait lies on its sender's stack",
        NotApplicable("requests are copied to slots that never go away"),
    ),
    incident("M27", "A CPU goes offline with requests in its queue", Shown("departing", Fix::AnswerOnDeparture)),
    incident("M28", "A CPU comes back with its TLB as it was", Shown("arriving", Fix::WipeOnArrival)),
    incident("M29", "A roll-over hands out a tag that is running", Shown("tag_roll_over", Fix::LeaveBeforeRollOver)),
    incident(
        "M30",
        "A second roll-over forgets the tags that were reserved",
        NotApplicable("none is: a CPU that rolls over leaves the tag it runs under"),
    ),
    incident(
        "M31",
        "Alpha: a new tag that was revoked is kept",
        NotApplicable("tags are not revoked: a CPU looks at the generation before it loads one"),
    ),
    incident("M32", "A CPU's use of an address space shows without a barrier", Holds("switch_2cpu")),
    incident("M33", "Alpha: a lazy CPU invalidates under its own tag", Holds("tag_numbers_lazy")),
    incident(
        "M34",
        "A kernel slot is filled after a root was copied",
        Shown("kernel_grow_creation", Fix::FillRootsBeforeUse),
    ),
    incident("M35", "A kernel address is freed before its flush", Shown("kernel_reuse_older", Fix::FlushBeforeReuse)),
    incident("M36", "A purge looks at free blocks only", Shown("kernel_block_full", Fix::LookInFullBlocks)),
    incident("M37", "A device is not told that it may do more", Shown("device_upgrade", Fix::TellOfPermissions)),
    incident("M38", "A wait that was queued counts as one that is over", Shown("device_sync_3cpu", Fix::WaitForSync)),
    incident("M39", "A huge leaf is replaced by a table in one step", Shown("split", Fix::BreakBeforeMake)),
    incident(
        "M40",
        "Each of many unsharings waits for walkers by itself",
        Shown("unshare_two_tables", Fix::QuiesceOnce),
    ),
];
