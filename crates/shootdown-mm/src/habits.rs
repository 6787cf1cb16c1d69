//! What a kernel does although the law does not ask for it.

use shootdown::{Strength, WhenLooser};

/// Choices that cost flushes or spare faults, and break nothing either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// How strong the flush of the parent is at a fork. Leaves are enough; [`Strength::Walk`] tells lazy CPUs, too.
    pub fork: Strength,
    /// How strong the flushes are when pages move. Leaves are enough.
    pub relocation: Strength,
    /// What `protect` does about TLBs that remember less than it permits.
    pub looser: WhenLooser,
    /// Whether an address space flushes when it ends.
    pub exit: Exit,
    /// What happens when a private page is written that nobody shares any longer.
    pub last_sharer: LastSharer,
    /// Whose the tables are that map large pages of an object.
    pub large_tables: LargeTables,
}

/// What an address space without users does about TLBs when it is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It flushes as any unmap does (Linux on x86).
    Flushes,
    /// It flushes only for its tables (Linux on arm64).
    Quietly,
}

/// What the last user of a page that was shared does when it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSharer {
    /// Makes the page writable where it is.
    KeepsPage,
    /// Copies it like everybody before.
    Copies,
}

/// Whose the tables are that map large pages of an object without storage, where several address spaces map the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeTables {
    /// A fault makes one, unless this address space has it already.
    Own,
    /// A fault takes in what another address space has (Linux, of huge-page file systems), whatever the habits of that are.
    #[doc(alias = "want_pmd_share")]
    Shared,
    /// The same, and those that follow it in the area, up to so many at a time: for programs that use most of what they map.
    SharedAhead {
        /// How many, with the first.
        n_tables: u16,
    },
}

impl LargeTables {
    /// How many tables a fault takes in.
    pub(crate) const fn n_taken_in(self) -> u16 {
        match self {
            LargeTables::Own => 0,
            LargeTables::Shared => 1,
            LargeTables::SharedAhead { n_tables } => n_tables,
        }
    }
}

impl Habits {
    /// As little as the law asks for.
    pub const LAWFUL: Habits = Habits {
        fork: Strength::Leaf,
        relocation: Strength::Leaf,
        looser: WhenLooser::Fault,
        exit: Exit::Quietly,
        last_sharer: LastSharer::KeepsPage,
        large_tables: LargeTables::Own,
    };
}
