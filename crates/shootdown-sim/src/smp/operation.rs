//! What a CPU can ask of the machine: one variant for each operation that library or scenario code performs.

use std::sync::atomic::Ordering::{self, *};

use shootdown::{EntryAt, Invalidate, Level, Modify, Pfn, TableFrame, Vpn, VpnRange};

use super::config::{Config, MemoryModel};

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

/// What user code does to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// An operation of a CPU. Its result is a number; 0 where there is nothing to tell.
///
/// Memory operations carry the order they were asked for. The hardware may give them a stronger one, see
/// [`MemoryModel`].
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
    /// Orders memory operations.
    Fence(Ordering),
    /// Reads a word that the CPU owns.
    OwnGet(WordId),
    /// Writes a word that the CPU owns.
    OwnSet(WordId, u64),
    /// Drops translations, and has done so at once.
    Invalidate(Invalidate),
    /// Begins to drop translations on all CPUs, under the tag that is given or under every one. Takes effect at once
    /// (outcome 0), or not before this CPU completes (outcome 1).
    Broadcast(Option<u8>, Invalidate),
    /// Waits for what this CPU has begun to drop: on all CPUs it takes effect now, if it has not yet.
    Complete,
    /// Loads a root table, or none; drops all translations and cached pointers.
    LoadRoot(Option<TableFrame>),
    /// Loads a root table under a tag; drops what is remembered under it, or keeps it.
    LoadTagged {
        /// The root.
        root: TableFrame,
        /// The tag.
        tag: u8,
        /// Keeps it.
        keeps: bool,
    },
    /// Masks interrupts; the result is 1 if they were masked before.
    Mask,
    /// Sets the interrupt mask: on for 1, off for 0.
    Restore(u64),
    /// Interrupts the CPUs whose bits are set.
    Kick(u64),
    /// Asks whether a wait has lasted too long; the result is 1 if it has.
    AskClock,
    /// Takes a zeroed frame as a table; the result is its number plus one, or 0.
    AllocTable,
    /// Gives a table back.
    FreeTable(TableFrame),
    /// Takes what a leaf of this level maps as data: a frame, or frames that follow each other from an aligned number on.
    /// The result is the first number plus one, or 0.
    AllocFrame(Level),
    /// Gives the data frames back that a leaf of this level maps, from this one on.
    FreeFrame(Pfn, Level),
    /// Asks for scratch memory; the result is 1 if it was given.
    AllocBatch,
    /// User code touches a page; the result is 1, or 0 for a fault, which is no violation.
    Access(Vpn, Access),
    /// Chooses one of so many things to do next, at most 8; the result is its number, from 0.
    Choose(u8),
    /// Ghost: the owner of a data frame learns that it must be written back.
    NoteDirty(Pfn),
    /// Ghost: what user code has stored in a data frame is written back.
    WriteBack(Pfn),
    /// Ghost: what user code has stored in a data frame is copied to another one.
    Copy {
        /// The one that is read.
        from: Pfn,
        /// The one that is written.
        to: Pfn,
    },
    /// Ghost: an operation on these pages of the loaded address space has returned. From now on no user code goes to them
    /// in a way that the tables, as this CPU sees them, do not allow.
    Promise(VpnRange),
    /// User code stops on this CPU until [`Operation::ResumeUser`]: stale translations may stay until then.
    StopUser,
    /// User code may run again: no stale translation may be left.
    ResumeUser,
    /// Returns from the interrupt that was taken last.
    ReturnFromInterrupt,
    /// Has come to its end and only takes interrupts. Never performed.
    Idle,
}

/// What has to be true of a CPU's store buffer before the CPU can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anything.
    Nothing,
    /// Room for one more.
    Room,
    /// All stores have reached memory.
    Drained,
    /// All stores to this place and before a barrier have.
    DrainedAt(Location),
    /// All that take part in the total order of `SeqCst` have.
    DrainedInTotalOrder,
}

impl Operation {
    /// Tells whether nobody else can see the difference between performing this and not: then it needs no scheduling
    /// point, and goes together with the step before it.
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(
            self,
            Operation::OwnGet(_)
                | Operation::OwnSet(..)
                | Operation::StopUser
                | Operation::ResumeUser
                | Operation::NoteDirty(_)
                | Operation::Promise(_)
        )
    }

    /// Tells whether walkers may find something else after it than before.
    pub(super) const fn concerns_walkers(self) -> bool {
        match self {
            Operation::Store(at, ..) | Operation::Modify(at, ..) | Operation::Update(at, ..) => {
                matches!(at, Location::Entry(_))
            }
            Operation::Invalidate(_)
            | Operation::Broadcast(..)
            | Operation::LoadRoot(_)
            | Operation::LoadTagged { .. }
            | Operation::FreeTable(_)
            | Operation::FreeFrame(..)
            | Operation::Access(..) => true,
            _ => false,
        }
    }

    /// What this operation waits for.
    ///
    /// Kicks wait, by the contract of [`Machine`](shootdown::Machine): who takes one sees the stores before it. A broadcast
    /// does not, on any machine: to complete is what waits.
    pub(super) fn needs(self, config: &Config) -> Needs {
        match (self, config.memory) {
            (_, MemoryModel::Sc) => Needs::Nothing,
            (Operation::Load(_, SeqCst), _) if config.is_late() => Needs::DrainedInTotalOrder,
            (Operation::Store(_, _, SeqCst), _) if config.is_late() => Needs::Room,
            (Operation::Store(_, _, SeqCst) | Operation::Fence(SeqCst), _) => Needs::Drained,
            (Operation::Store(..), _) => Needs::Room,
            (Operation::Modify(..) | Operation::Update(..), MemoryModel::Tso) => Needs::Drained,
            (Operation::Modify(at, _, order) | Operation::Update(at, _, order), MemoryModel::Pso) => {
                if releases(order) { Needs::Drained } else { Needs::DrainedAt(at) }
            }
            (Operation::Fence(order), MemoryModel::Pso) if releases(order) => Needs::Room,
            (
                Operation::Complete
                | Operation::Kick(_)
                // The allocator takes locks: whoever has the frame next finds what was done with it before.
                | Operation::AllocTable
                | Operation::FreeTable(_)
                // May have to set a dirty bit.
                | Operation::Access(_, Access::Write),
                _,
            ) => Needs::Drained,
            (
                Operation::Invalidate(_)
                | Operation::LoadRoot(_)
                | Operation::LoadTagged { .. }
                | Operation::ReturnFromInterrupt,
                _,
            ) if config.serializes =>
            {
                Needs::Drained
            }
            _ => Needs::Nothing,
        }
    }
}

pub(super) fn releases(order: Ordering) -> bool {
    matches!(order, Release | AcqRel | SeqCst)
}
