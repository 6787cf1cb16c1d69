//! What can happen next on the machine.

use shootdown::{CpuId, Vpn};

/// One thing that happens, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// The CPU performs its pending operation.
    Step {
        /// The CPU.
        cpu: CpuId,
        /// Which of the operation's outcomes, from 0.
        outcome: u8,
    },
    /// The CPU takes its pending kick.
    Interrupt {
        /// The CPU.
        cpu: CpuId,
    },
    /// The CPU takes an interrupt of its timer.
    Tick {
        /// The CPU.
        cpu: CpuId,
    },
    /// The CPU's walker does something nobody asked for.
    Walk {
        /// The CPU.
        cpu: CpuId,
        /// What it does.
        walk: Walk,
    },
    /// A store of the CPU reaches memory.
    Drain {
        /// The CPU.
        cpu: CpuId,
        /// Its place among the CPU's stores that have not, from 0 for the oldest.
        place: u8,
    },
    /// The CPU forgets something by itself.
    Evict {
        /// The CPU.
        cpu: CpuId,
        /// What it forgets.
        what: Evicted,
    },
}

/// A step of a speculative page-table walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Walk {
    /// Reads a root entry and caches the pointer in it.
    ToCache {
        /// The root entry.
        index: usize,
    },
    /// Reads the leaf of a page into the TLB, or that there is none, on a machine that remembers that.
    ToTlb {
        /// The page.
        page: Vpn,
        /// Where the walk begins.
        from: WalkFrom,
    },
}

/// Where a walk to a leaf begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WalkFrom {
    /// At the loaded root.
    Root,
    /// At the table that the walk cache points at.
    Cache,
}

/// Something that a CPU remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evicted {
    /// The translation of a page, or that it has none.
    Translation(Vpn),
    /// The pointer that was read in this root entry.
    Pointer(usize),
}

impl Act {
    /// Returns the CPU it happens on.
    #[must_use]
    pub const fn cpu(self) -> CpuId {
        match self {
            Act::Step { cpu, .. }
            | Act::Interrupt { cpu }
            | Act::Tick { cpu }
            | Act::Walk { cpu, .. }
            | Act::Drain { cpu, .. }
            | Act::Evict { cpu, .. } => cpu,
        }
    }
}
