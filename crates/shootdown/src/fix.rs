//! The steps of the protocol that exist because of a known class of bug, each with a name.
//!
//! Library code asks [`Machine::keeps`](crate::Machine::keeps) before each such step. Real machines answer `true`, a
//! constant, and the question vanishes; the checker answers `false` for one of them and must then find the bug.

/// A step that can be left out on a simulated machine, to show that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fix {
    /// A frame goes back to its owner only after the flush of the translation that reached it.
    ///
    /// Without: the frame is reused while a TLB still reaches it; a stale store lands in somebody else's page. The
    /// base bug of the field; Linux batches pages in `mmu_gather` for nothing else.
    FlushBeforeFree,
    /// The issuer of a remote flush waits until every target has run it, or the hardware that broadcasts it has.
    ///
    /// Without: the frame is reused while the request is still on its way. Quark frees pages after kicking virtual
    /// CPUs without waiting for them (its issues 375, 387, 442, 639).
    WaitForAcks,
    /// A flush reaches every CPU that may hold the translation, not only the issuer.
    ///
    /// Without: the other CPUs keep the old translation for as long as they like.
    FlushRemote,
    /// A CPU that switches to an address space says so before it reads the generation.
    ///
    /// Without, where residency bits stay behind: a flusher takes it for a CPU that has loaded something else, and the
    /// CPU has read the generation already, so neither sees the other (Linux fea4e317f9e7, of 2025).
    ShowSwitching,
    /// Interrupts stay masked from the first slot that is filled to the kick.
    ///
    /// Without: a handler in between calls the same target, finds its inbox no longer empty, kicks nobody, and waits for an
    /// interrupt that the code below it has not raised. Linux asks for preemption off and interrupts on around
    /// `smp_call_function`, and calls from handlers are forbidden there.
    MaskWhilePosting,
    /// An inbox is emptied in one step.
    ///
    /// Without: a sender that posts between the look and the clearing is forgotten, and since it found the inbox in use it
    /// has not kicked either. A lost call hangs its sender for ever.
    AtomicDrain,
    /// Whoever waits serves its own inbox meanwhile.
    ///
    /// Without: two CPUs that flush with interrupts masked wait for each other (the Alpha hangs of 2026; asterinas issue
    /// 1602).
    ServeWhileWaiting,
    /// Every interrupt looks into the inbox at its end, before deferred work.
    ///
    /// Without, where an interrupt for a call may be lost: the call hangs its sender for ever, and every later sender too,
    /// since they find the inbox in use (the Alpha patches of 2026, 2/3: fifteen years of hangs).
    PollOnExit,
    /// Who waits for an answer for too long raises the interrupt again.
    ///
    /// Without, where an interrupt for a call may be lost and no other comes: the same.
    KickAgain,
    /// A sender looks after it has posted whether its target still takes part.
    ///
    /// Without: a CPU that departed just before never answers.
    LookAgainAfterPosting,
    /// A CPU that departs answers what was posted until then.
    ///
    /// Without: a request whose interrupt came too late stays in the inbox, and its sender waits for ever (Linux flushes
    /// the queue of a dying CPU in `smpcfd_dying_cpu` for that).
    AnswerOnDeparture,
    /// An entry is cleared and read in one step.
    ///
    /// Without: the dirty bit that another CPU's walker sets in between is lost, and with it a store to the page.
    AtomicUnhook,
    /// When a table is freed, cached pointers to it are invalidated too, and not only translations.
    ///
    /// Without: a walker goes on reading a frame that is no table any more (Linux c2ff4764e03e, for shared tables).
    DropWalkCaches,
    /// A gather that gets no memory flushes before it lets go of what it holds.
    ///
    /// Without: pages and tables are freed that TLBs and walk caches still have. The path is seldom taken, and was wrong
    /// wherever nobody had tried it.
    FlushWithoutRoom,
    /// Whoever changes an entry says so to the gather in the same step.
    ///
    /// Without: a gather that nothing was recorded in has nothing to flush, and CPUs go on writing to what was made
    /// read-only (Linux 912efa17e512, of 2020: soft-dirty tracking).
    RecordChanges,
    /// Nothing but an address space without users is taken apart without flushes.
    ///
    /// Without: its threads go on using pages that were freed (Linux 687cb0884a71, of 2017: the memory reaper).
    AskForUsers,
    /// Translations of a driver's frames are flushed before their area may go.
    ///
    /// Without: the driver, which looks for areas and not for translations, finds none and frees (CVE-2022-39188).
    FlushAtAreaEnd,
    /// A gather that finds another one under way flushes everything.
    ///
    /// Without: it finds an entry absent that the other has cleared and not flushed, flushes nothing, and returns while
    /// other CPUs still use the page (Linux 99baac21e458, of 2017).
    FlushForOthers,
    /// A gather that finishes while reclaim owes the address space a flush flushes everything.
    ///
    /// Without: it finds an entry absent that reclaim has cleared and not flushed, and returns while other CPUs still use
    /// the page (Linux 3ea277194daa, of 2017).
    PayForReclaim,
    /// A gather that finishes while reclaim owes the address space a flush that hardware broadcasts begins one of its own.
    ///
    /// Without: it completes what its own CPU has begun, which says nothing of what reclaim has begun on another one, and
    /// returns while CPUs still use the page (Linux 4b634918384c, of 2025: a `DSB` on arm64).
    BroadcastForReclaim,
    /// Reclaim counts an entry as owed when it has cleared it, and not before.
    ///
    /// Without: somebody's flush that comes between counts for it, and the next one who finds the entry absent flushes
    /// nothing. The explorer asked for it.
    CountAfterClearing,
    /// Reclaim flushes before it writes a page out that a TLB may still let be written.
    ///
    /// Without: a store that is made after the page was written out is lost.
    FlushBeforeWrite,
    /// A flush for another gather does not forget that tables were unhooked.
    ///
    /// Without: tables are freed that walk caches still point at (Linux 7a30df49f63a, of 2019).
    KeepTablesInMind,
    /// A lazy CPU hears of freed tables.
    ///
    /// Without: it uses no translation, but its walker follows a cached pointer by itself (Linux b956575bed91).
    TellLazyOfTables,
    /// A CPU that comes back from lazy mode, or to a tag, looks at the generation and drops what it missed.
    ///
    /// Without: it goes on with translations that flushes left it alone with. Half of the bargain that makes lazy mode
    /// and tags legal; the other half is `lazy/shootdown` and `activate/shootdown`.
    CatchUp,
    /// Interrupts stay masked while a CPU switches to another address space.
    ///
    /// Without, where tags are in use: a flush that comes between the choice of a tag and its loading finds the address
    /// space not loaded, and what the tag has is used after it (Alpha's `asn_lock` and the check after the switch).
    MaskWhileSwitching,
    /// When tags run out, everything is dropped before they are given again.
    ///
    /// Without: an address space inherits what another one left under its number.
    DropAllAtRollOver,
    /// When tags run out, the one in use is no longer loaded while everything is dropped.
    ///
    /// Without: the walker fills the TLB under it once more before another one is loaded, and whoever is given it in the
    /// new round inherits that. Arm reserves the tags that run for this; here the explorer asked for it.
    LeaveBeforeRollOver,
    /// A tag of an earlier round is none.
    ///
    /// Without: two address spaces run under one number (the roll-overs of arm, arm64 and riscv; R-ASID-ROLL).
    CheckTagRound,
    /// A flush of what all address spaces share reaches what a CPU remembers under tags that are not loaded.
    ///
    /// Without: the next one to be loaded still has the old kernel mapping (Linux `invalidate_other`).
    ForgetOtherTags,
    /// A CPU that arrives empties its TLB.
    ///
    /// Without: what it remembers from before it departed is used again, under tags that were given anew (Linux
    /// `initialize_tlbstate_and_flush`; KVM's ASIDs over CPU hotplug).
    WipeOnArrival,
    /// A CPU that has missed a request drops everything, and not only what the newest request names.
    ///
    /// Without: requests that arrive out of order leave what the missed one was about (the comment in Linux's
    /// `flush_tlb_func`).
    DropAllWhenBehind,
    /// What was unhooked dirty leaves the reverse map after its flush.
    ///
    /// Without: who writes the page back finds no mapping to make read-only, and calls the page clean while stale
    /// translations still let stores through, which are lost (Linux 5df397dec7c4, of 2022).
    DelayRmap,
    /// Who moves translations flushes before it releases the page-table lock.
    ///
    /// Without: somebody finds a page at its new address, takes it away there, flushes that address and frees the page,
    /// while TLBs still lead to it from the old one (CVE-2018-18281).
    FlushBeforeUnlock,
    /// Who moves translations holds the reverse maps that lead to them.
    ///
    /// Without: somebody looks for the mappings of a page at its new address before the move and at its old one after it,
    /// finds none, and frees a page that is mapped (the reverse-map locks of Linux's `move_page_tables`; CVE-2022-41222).
    HoldRmapToMove,
    /// Who moves a table looks again, under the lock under which he moves it, whether it is still there.
    ///
    /// Without: the table was freed in between, and walkers are led to what is none (CVE-2024-50066).
    LookAgainToMove,
    /// The contents of a page are copied after the flush, also where its entry forbids stores.
    ///
    /// Without: what made the entry read-only has not flushed yet, and a store that comes after the copy is lost (Linux
    /// 6ce64428d620, of 2021: write protection for user-space fault handlers).
    FlushBeforeCopy,
    /// Who does not flush since an entry already forbids what he wants to be forbidden asks whether a flush is pending.
    ///
    /// Without: who made it so has not flushed yet, and stores go on while the page is copied or compared (Linux
    /// 20841405940e, of 2013: migration under NUMA hinting; KSM's `write_protect_page`).
    AskWhatIsPending,
    /// A gather looks what reclaim owes after the last time that it has the page-table lock, and not when it begins.
    ///
    /// Without: reclaim takes a page away between two holds of the lock, and whoever finds the entry absent flushes nothing
    /// (Linux, of 2025: "close theoretical race where stale TLB entries could linger").
    LookForDebtLast,
    /// Interrupts stay masked during a walk that takes no lock.
    ///
    /// Without: the CPU answers the flush in the middle of it, and reads on in a table that was freed (what Linux's GUP-fast
    /// relies on where a flush is an interrupt).
    MaskWhileWalking,
    /// Tables are freed after lockless walks have ended, where the flush has interrupted nobody.
    ///
    /// Without: a walk reads on in a table that was freed (the reason for `MMU_GATHER_RCU_TABLE_FREE`).
    QuiesceBeforeFree,
    /// A walk that is announced is announced before the first entry is read.
    ///
    /// Without: the walk is not seen by who has cleared the entry, and the walker does not see it cleared.
    FenceBeforeWalking,
    /// Who has pinned a page that he found without a lock looks at its entry once more.
    ///
    /// Without: the page was unmapped before it was pinned, and is somebody else's by now (the second look of Linux's
    /// GUP-fast).
    LookAgainWhenPinned,
    /// A fork says that it is under way, and who has pinned a page meanwhile lets it go.
    ///
    /// Without: fork finds the page unpinned and shares it, and the next store to it makes a copy that whoever has pinned it
    /// does not see (Linux 57efa1fe5957, of 2020).
    SayWhenForking,
    /// What an unshared table translated is recorded, and flushed before the file map is released.
    ///
    /// Without: CPUs go on using a table that belongs to somebody else alone by now (CVE-2021-4002).
    RecordUnshared,
    /// An unshared table is flushed as a freed one is: with the walk caches, and on lazy CPUs.
    ///
    /// Without: a walk begins at a cached pointer to a table that is somebody else's alone, or free (Linux c2ff4764e03e, of
    /// 2026, on arm64; on x86 a lazy CPU, an open question).
    FlushUnsharedAsFreed,
    /// Walks have ended before a table is put to another use: one that was shared, or one whose pages became a large one.
    ///
    /// Without: a walk that began before goes on in what was put there since, and finds somebody else's pages
    /// (CVE-2025-38085; Linux 2ba99c5e0881, of 2022).
    QuiesceBeforeReuse,
    /// The last one to leave a shared table waits for walks of all who ever shared it.
    ///
    /// Without: those who have left it before did not wait, since they were not the last, and nobody does it for them.
    QuiesceForAllSharers,
    /// What is owed for a table that was left is owed until the file map is released, whatever was flushed in between.
    ///
    /// Without: a flush for want of room, which ends no walk, is taken for the end of the matter.
    OweUntilSettled,
    /// A flush is a proof that walks have ended only if it was an interrupt.
    ///
    /// Without: hardware that broadcasts flushes lets walks go on in a table that is somebody else's by now.
    ProveByInterrupt,
    /// Walks are waited for once for all tables that were left under one hold of the file map.
    ///
    /// Without: one round of interrupts for each table; an exit that leaves 64 tables makes 64 (Linux, until 6.12.74 of
    /// 2026).
    QuiesceOnce,
    /// Walks are not waited for as long as others share the table.
    ///
    /// Without: a round of interrupts that is of no use, since nobody may reuse the table yet.
    QuiesceForLastOnly,
    /// A table that was offered and could not be taken in is given back.
    ///
    /// Without: the count of those who share it stays too high, and nobody is ever the last to leave.
    GiveBackOffer,
    /// Who has pinned a page that he found without a lock looks whether its table is still there, and not only its entry.
    ///
    /// Without: the table was taken out as it was, with the entry in it, and the page is somebody else's by now (Linux
    /// 70cbc3cc78a9, of 2022).
    LookAgainAtTable,
    /// A large page is taken out and flushed before small ones are put in its place.
    ///
    /// Without: a TLB has translations of two sizes for one page at a time (AMD erratum 383; Arm's break-before-make).
    BreakBeforeMake,
    /// A kernel address is free when a flush is complete that was begun after it was unmapped.
    ///
    /// Without: it is mapped again while CPUs remember what was there before.
    FlushBeforeReuse,
    /// New slots of kernel space are in every root before an address in them is handed out.
    ///
    /// Without: a CPU that runs on a root which lacks the slot has a fault where the kernel has none (what Alpha, x86-32 and
    /// arm32 had handlers, walks over all roots, and counters for).
    FillRootsBeforeUse,
    /// Who maps something for the kernel waits until his walker finds it.
    ///
    /// Without: this CPU's own next access has a fault, and in the kernel nobody tries again (the `dsb` of arm64's
    /// `set_pte`).
    FenceAfterKernelMap,
    /// Where CPUs remember that nothing is mapped somewhere, and cannot look again, who maps something for the kernel tells all
    /// of them.
    ///
    /// Without: a CPU that has remembered it has a fault at an address that is in use (`flush_cache_vmap` of RISC-V; Linux
    /// 503638e0babf).
    TellOfKernelMap,
    /// Where CPUs remember that nothing is mapped somewhere, the handler of a fault in the kernel makes its CPU forget, and
    /// tries again, if something is.
    ///
    /// Without: the same.
    LookAgainAtFault,
    /// Who makes sure that no CPU remembers anything that was unmapped looks in every block that something was unmapped in.
    ///
    /// Without: blocks without room are overlooked, and what was unmapped in them is still in use (Linux fc1e0d980037, of 2023).
    LookInFullBlocks,
    /// What was unmapped counts as flushed when the flush is complete.
    ///
    /// Without: another one who asks for the same meanwhile finds nothing to flush, and goes on too early (as in
    /// CVE-2026-46093, two purges at a time).
    CleanAfterFlush,
    /// A flush tells secondary TLBs what CPUs are told.
    ///
    /// Without: a device goes on to use a page that is somebody else's.
    TellDevices,
    /// Who gives rights to a page tells secondary TLBs.
    ///
    /// Without: a device that remembers that it may not faults for ever, since nobody else makes it look again (Linux
    /// 6bbd42e2df8f, of 2023).
    TellOfPermissions,
    /// A flush of kernel addresses tells all secondary TLBs, which walk tables that have the kernel's part in them.
    ///
    /// Without: a device reads a kernel page table that was freed (the IOMMU side of `vfree`, of 2025).
    TellDevicesOfKernel,
    /// Whoever ends an address space ends all devices' use of it before its pages are freed.
    ///
    /// Without: an exit, which flushes no TLB for pages, frees them under a device (what `mmu_notifier_release` is for).
    EndDevices,
    /// Who takes a listener out waits until nobody tells it anything.
    ///
    /// Without: it is called when it is gone.
    WaitForTellers,
    /// Who finds that somebody has queued a wait for the device waits for that one.
    ///
    /// Without: what is queued counts as done (AMD's IOMMU driver, `need_sync`).
    WaitForSync,
    /// Who fills a copy of page tables looks whether a change has begun since he looked the page up.
    ///
    /// Without: what he has found is put back after everybody has dropped it.
    LookAtTicket,
    /// Who has pinned a page to have it written to marks it when that is done.
    ///
    /// Without: what a device has stored since somebody wrote the page back is never written back (what
    /// `unpin_user_pages_dirty_lock` is for).
    MarkWhenUnpinned,
    /// Who ends an address space, and finds a CPU that seems to use it, meets that CPU and looks again: it may be on its way
    /// from lazy mode to another address space, which looks like use until it has arrived.
    ///
    /// Without: an address space that nobody uses counts as used.
    MeetLeavers,
}

impl Fix {
    /// All of them.
    pub const ALL: [Fix; 71] = [
        Fix::FlushBeforeFree,
        Fix::WaitForAcks,
        Fix::FlushRemote,
        Fix::ShowSwitching,
        Fix::MaskWhilePosting,
        Fix::AtomicDrain,
        Fix::ServeWhileWaiting,
        Fix::PollOnExit,
        Fix::KickAgain,
        Fix::LookAgainAfterPosting,
        Fix::AnswerOnDeparture,
        Fix::AtomicUnhook,
        Fix::DropWalkCaches,
        Fix::FlushWithoutRoom,
        Fix::RecordChanges,
        Fix::AskForUsers,
        Fix::FlushAtAreaEnd,
        Fix::FlushForOthers,
        Fix::PayForReclaim,
        Fix::BroadcastForReclaim,
        Fix::CountAfterClearing,
        Fix::FlushBeforeWrite,
        Fix::KeepTablesInMind,
        Fix::TellLazyOfTables,
        Fix::CatchUp,
        Fix::MaskWhileSwitching,
        Fix::DropAllAtRollOver,
        Fix::LeaveBeforeRollOver,
        Fix::CheckTagRound,
        Fix::ForgetOtherTags,
        Fix::WipeOnArrival,
        Fix::DropAllWhenBehind,
        Fix::DelayRmap,
        Fix::FlushBeforeUnlock,
        Fix::HoldRmapToMove,
        Fix::LookAgainToMove,
        Fix::FlushBeforeCopy,
        Fix::AskWhatIsPending,
        Fix::LookForDebtLast,
        Fix::MaskWhileWalking,
        Fix::QuiesceBeforeFree,
        Fix::FenceBeforeWalking,
        Fix::LookAgainWhenPinned,
        Fix::SayWhenForking,
        Fix::RecordUnshared,
        Fix::FlushUnsharedAsFreed,
        Fix::QuiesceBeforeReuse,
        Fix::QuiesceForAllSharers,
        Fix::OweUntilSettled,
        Fix::ProveByInterrupt,
        Fix::QuiesceOnce,
        Fix::QuiesceForLastOnly,
        Fix::GiveBackOffer,
        Fix::LookAgainAtTable,
        Fix::BreakBeforeMake,
        Fix::FlushBeforeReuse,
        Fix::FillRootsBeforeUse,
        Fix::FenceAfterKernelMap,
        Fix::TellOfKernelMap,
        Fix::LookAgainAtFault,
        Fix::LookInFullBlocks,
        Fix::CleanAfterFlush,
        Fix::TellDevices,
        Fix::TellOfPermissions,
        Fix::TellDevicesOfKernel,
        Fix::EndDevices,
        Fix::WaitForTellers,
        Fix::WaitForSync,
        Fix::LookAtTicket,
        Fix::MarkWhenUnpinned,
        Fix::MeetLeavers,
    ];

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Fix::FlushBeforeFree => "flush-before-free",
            Fix::WaitForAcks => "wait-for-acks",
            Fix::FlushRemote => "flush-remote",
            Fix::ShowSwitching => "show-switching",
            Fix::MaskWhilePosting => "mask-while-posting",
            Fix::AtomicDrain => "atomic-drain",
            Fix::ServeWhileWaiting => "serve-while-waiting",
            Fix::PollOnExit => "poll-on-exit",
            Fix::KickAgain => "kick-again",
            Fix::LookAgainAfterPosting => "look-again-after-posting",
            Fix::AnswerOnDeparture => "answer-on-departure",
            Fix::AtomicUnhook => "atomic-unhook",
            Fix::DropWalkCaches => "drop-walk-caches",
            Fix::FlushWithoutRoom => "flush-without-room",
            Fix::RecordChanges => "record-changes",
            Fix::AskForUsers => "ask-for-users",
            Fix::FlushAtAreaEnd => "flush-at-area-end",
            Fix::FlushForOthers => "flush-for-others",
            Fix::PayForReclaim => "pay-for-reclaim",
            Fix::BroadcastForReclaim => "broadcast-for-reclaim",
            Fix::CountAfterClearing => "count-after-clearing",
            Fix::FlushBeforeWrite => "flush-before-write",
            Fix::KeepTablesInMind => "keep-tables-in-mind",
            Fix::TellLazyOfTables => "tell-lazy-of-tables",
            Fix::CatchUp => "catch-up",
            Fix::MaskWhileSwitching => "mask-while-switching",
            Fix::DropAllAtRollOver => "drop-all-at-roll-over",
            Fix::LeaveBeforeRollOver => "leave-before-roll-over",
            Fix::CheckTagRound => "check-tag-round",
            Fix::ForgetOtherTags => "forget-other-tags",
            Fix::WipeOnArrival => "wipe-on-arrival",
            Fix::DropAllWhenBehind => "drop-all-when-behind",
            Fix::DelayRmap => "delay-rmap",
            Fix::FlushBeforeUnlock => "flush-before-unlock",
            Fix::HoldRmapToMove => "hold-rmap-to-move",
            Fix::LookAgainToMove => "look-again-to-move",
            Fix::FlushBeforeCopy => "flush-before-copy",
            Fix::AskWhatIsPending => "ask-what-is-pending",
            Fix::LookForDebtLast => "look-for-debt-last",
            Fix::MaskWhileWalking => "mask-while-walking",
            Fix::QuiesceBeforeFree => "quiesce-before-free",
            Fix::FenceBeforeWalking => "fence-before-walking",
            Fix::LookAgainWhenPinned => "look-again-when-pinned",
            Fix::SayWhenForking => "say-when-forking",
            Fix::RecordUnshared => "record-unshared",
            Fix::FlushUnsharedAsFreed => "flush-unshared-as-freed",
            Fix::QuiesceBeforeReuse => "quiesce-before-reuse",
            Fix::QuiesceForAllSharers => "quiesce-for-all-sharers",
            Fix::OweUntilSettled => "owe-until-settled",
            Fix::ProveByInterrupt => "prove-by-interrupt",
            Fix::QuiesceOnce => "quiesce-once",
            Fix::QuiesceForLastOnly => "quiesce-for-last-only",
            Fix::GiveBackOffer => "give-back-offer",
            Fix::LookAgainAtTable => "look-again-at-table",
            Fix::BreakBeforeMake => "break-before-make",
            Fix::FlushBeforeReuse => "flush-before-reuse",
            Fix::FillRootsBeforeUse => "fill-roots-before-use",
            Fix::FenceAfterKernelMap => "fence-after-kernel-map",
            Fix::TellOfKernelMap => "tell-of-kernel-map",
            Fix::LookAgainAtFault => "look-again-at-fault",
            Fix::LookInFullBlocks => "look-in-full-blocks",
            Fix::CleanAfterFlush => "clean-after-flush",
            Fix::TellDevices => "tell-devices",
            Fix::TellOfPermissions => "tell-of-permissions",
            Fix::TellDevicesOfKernel => "tell-devices-of-kernel",
            Fix::EndDevices => "end-devices",
            Fix::WaitForTellers => "wait-for-tellers",
            Fix::WaitForSync => "wait-for-sync",
            Fix::LookAtTicket => "look-at-ticket",
            Fix::MarkWhenUnpinned => "mark-when-unpinned",
            Fix::MeetLeavers => "meet-leavers",
        }
    }

    /// Finds a fix by its [`name`](Fix::name).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Fix> {
        Fix::ALL.into_iter().find(|fix| fix.name() == name)
    }
}
