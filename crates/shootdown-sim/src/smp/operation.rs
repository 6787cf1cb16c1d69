//! What a CPU can ask of the machine: one variant for each operation that library or scenario code performs.

use std::sync::atomic::Ordering;

use shootdown::{EntryAt, Invalidate, Modify, Pfn, TableFrame, Vpn};

use super::hardware::Config;

/// The number of a word of library state, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WordId(pub u16);

/// What a memory operation touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A word of library state.
    Word(WordId),
    /// An entry of a page table.
    Entry(EntryAt),
}

/// An operation of a CPU. Its result is a number; 0 where there is nothing to tell.
///
/// Memory operations carry the order they were asked for. The hardware gives them the strongest; whoever checks the
/// library's orders can look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reads.
    Load(Location, Ordering),
    /// Writes.
    Store(Location, u64, Ordering),
    /// Changes in one step; the result is what was there.
    Modify(Location, Modify, Ordering),
    /// Changes in one step without a result.
    Update(Location, Modify, Ordering),
    /// Orders memory operations: nothing to do in a sequentially consistent memory.
    Fence(Ordering),
    /// Reads a word that the CPU owns.
    OwnGet(WordId),
    /// Writes a word that the CPU owns.
    OwnSet(WordId, u64),
    /// Drops translations, and has done so at once.
    Invalidate(Invalidate),
    /// Waits for invalidations: nothing to do, since they take effect at once.
    Complete,
    /// Loads a root table, or none; drops all translations and cached pointers.
    LoadRoot(Option<TableFrame>),
    /// Masks interrupts; the result is 1 if they were masked before.
    Mask,
    /// Sets the interrupt mask: on for 1, off for 0.
    Restore(u64),
    /// Interrupts the CPUs whose bits are set.
    Kick(u64),
    /// Takes a zeroed frame as a table; the result is its number plus one, or 0.
    AllocTable,
    /// Gives a table back.
    FreeTable(TableFrame),
    /// Takes a frame as data; the result is its number plus one, or 0.
    AllocFrame,
    /// Gives a data frame back.
    FreeFrame(Pfn),
    /// Asks for scratch memory; the result is 1 if it was given.
    AllocBatch,
    /// User code touches a page. A page that is not mapped faults, which is no violation.
    Access(Vpn),
    /// User code stops on this CPU until [`Operation::ResumeUser`]: stale translations may stay until then.
    StopUser,
    /// User code may run again: no stale translation may be left.
    ResumeUser,
    /// Returns from the interrupt that was taken last.
    ReturnFromInterrupt,
    /// Has come to its end and only takes interrupts. Never performed.
    Idle,
}

impl Operation {
    /// Tells whether nobody else can see the difference between performing this and not: then it needs no scheduling
    /// point, and goes together with the step before it.
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self, Operation::OwnGet(_) | Operation::OwnSet(..) | Operation::StopUser | Operation::ResumeUser)
    }

    /// Returns how many outcomes the machine can choose from; none for a CPU that is idle.
    #[must_use]
    pub const fn n_outcomes(self, config: &Config) -> u8 {
        match self {
            Operation::Idle => 0,
            // Outcome 0 gives it, outcome 1 refuses it.
            Operation::AllocBatch if config.may_refuse_batches => 2,
            _ => 1,
        }
    }
}
