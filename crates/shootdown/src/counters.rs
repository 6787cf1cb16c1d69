//! The events the library counts. Counting is a hook: it costs nothing unless the machine does something with it.

/// Something that happened, told to [`Machine::count`](crate::Machine::count).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// A gather was begun.
    Gather,
    /// A gather could not get a batch page and flushed instead.
    BatchRefused,
    /// A flush was requested for an address space.
    Flush,
    /// The issuing CPU had the address space in use and invalidated its own TLB: one *flush operation*.
    FlushLocal,
    /// The flush was begun on all CPUs by hardware: nobody was interrupted.
    Broadcast,
    /// A gather found another one under way, and flushed everything for it.
    FlushForced,
    /// A gather of an address space that nobody uses any more told no TLB of pages.
    FlushSpared,
    /// The flush, on whatever CPU, dropped everything instead of single pages.
    FlushEverything,
    /// A request was posted to another CPU.
    RemoteRequest,
    /// An interrupt was raised for one other CPU.
    Kick,
    /// A request found others in its target's inbox, so that no interrupt was raised for it.
    KickCoalesced,
    /// An interrupt for a call arrived.
    KickReceived,
    /// It found nothing: somebody else had served the inbox before.
    KickUseless,
    /// An interrupt was raised again for an answer that was overdue.
    KickAgain,
    /// Another interrupt's end found a call in the inbox.
    RescuedCall,
    /// Another interrupt's end found a notice to reschedule.
    RescuedReschedule,
    /// Another interrupt's end found a notice to stop.
    RescuedStop,
    /// A kernel's own call was begun, or a rendezvous.
    Call,
    /// A wait looked, found nothing, and went on.
    WaitRound,
    /// A CPU was not interrupted: it is lazy and will look at the generation before it uses the address space again.
    SkippedLazy,
    /// A CPU was not interrupted: it has loaded something else, and only its residency bit is left.
    SkippedNotLoaded,
    /// A request found its CPU already at the wanted generation.
    SkippedGeneration,
    /// A table was taken in that another address space has.
    TableShared,
    /// A table was left to others who have it.
    TableUnshared,
    /// It was left to one.
    TableExclusive,
    /// Lockless walks were waited for.
    Quiescence,
    /// A request was posted to another CPU for that.
    QuiescenceRequest,
    /// They were not, for a table that was left, since several others have it.
    QuiescenceNotLast,
    /// They were not, for a table that was left, since it goes together with another one.
    QuiescenceCoalesced,
    /// They were not, since a flush had interrupted everybody who could walk.
    QuiescenceImplied,
    /// They are, by somebody who goes on meanwhile: an epoch was begun.
    QuiescenceDeferred,
    /// Pages of kernel space were mapped.
    KernelMapped,
    /// A secondary TLB was told that something has changed.
    SecondaryTold,
    /// A page left its gather after the flush.
    PageReleased,
    /// A page-table page left its gather after the flush.
    TableReleased,
}

impl Counter {
    /// All of them, in order.
    pub const ALL: [Counter; 35] = [
        Counter::Gather,
        Counter::BatchRefused,
        Counter::Flush,
        Counter::FlushLocal,
        Counter::Broadcast,
        Counter::FlushForced,
        Counter::FlushSpared,
        Counter::FlushEverything,
        Counter::RemoteRequest,
        Counter::Kick,
        Counter::KickCoalesced,
        Counter::KickReceived,
        Counter::KickUseless,
        Counter::KickAgain,
        Counter::RescuedCall,
        Counter::RescuedReschedule,
        Counter::RescuedStop,
        Counter::Call,
        Counter::WaitRound,
        Counter::SkippedLazy,
        Counter::SkippedNotLoaded,
        Counter::SkippedGeneration,
        Counter::TableShared,
        Counter::TableUnshared,
        Counter::TableExclusive,
        Counter::Quiescence,
        Counter::QuiescenceRequest,
        Counter::QuiescenceNotLast,
        Counter::QuiescenceCoalesced,
        Counter::QuiescenceImplied,
        Counter::QuiescenceDeferred,
        Counter::KernelMapped,
        Counter::SecondaryTold,
        Counter::PageReleased,
        Counter::TableReleased,
    ];

    /// How many counters there are.
    pub const COUNT: usize = Counter::ALL.len();

    /// Returns the name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Counter::Gather => "gathers",
            Counter::BatchRefused => "batches-refused",
            Counter::Flush => "flush-requests",
            Counter::Broadcast => "broadcasts",
            Counter::FlushForced => "forced-flushes",
            Counter::FlushSpared => "spared-flushes",
            Counter::FlushLocal => "flushes",
            Counter::FlushEverything => "full-flushes",
            Counter::RemoteRequest => "remote-requests",
            Counter::Kick => "kicks",
            Counter::KickCoalesced => "kicks-coalesced",
            Counter::KickReceived => "kicks-received",
            Counter::KickUseless => "kicks-useless",
            Counter::KickAgain => "kicks-again",
            Counter::RescuedCall => "rescued-calls",
            Counter::RescuedReschedule => "rescued-reschedules",
            Counter::RescuedStop => "rescued-stops",
            Counter::Call => "calls",
            Counter::WaitRound => "wait-rounds",
            Counter::SkippedLazy => "skipped-lazy",
            Counter::SkippedNotLoaded => "skipped-not-loaded",
            Counter::SkippedGeneration => "skipped-generation",
            Counter::TableShared => "tables-shared",
            Counter::TableUnshared => "tables-unshared",
            Counter::TableExclusive => "tables-exclusive",
            Counter::Quiescence => "quiescences",
            Counter::QuiescenceRequest => "quiescence-requests",
            Counter::QuiescenceNotLast => "quiescences-not-last",
            Counter::QuiescenceCoalesced => "quiescences-coalesced",
            Counter::QuiescenceImplied => "quiescences-implied",
            Counter::QuiescenceDeferred => "quiescences-deferred",
            Counter::KernelMapped => "kernel-mappings",
            Counter::SecondaryTold => "secondary-tlbs-told",
            Counter::PageReleased => "pages-released",
            Counter::TableReleased => "tables-released",
        }
    }
}
