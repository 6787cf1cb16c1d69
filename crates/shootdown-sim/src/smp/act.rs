//! What can happen next on the machine.

use shootdown::{CpuId, Vpn};

/// One thing that happens, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// The CPU performs its pending operation.
    Step {
        /// The CPU.
        cpu: CpuId,
        /// Which of the operation's outcomes, see [`Operation::n_outcomes`](super::Operation::n_outcomes).
        outcome: u8,
    },
    /// The CPU takes its pending kick.
    Interrupt {
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
}

/// A step of a speculative page-table walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Walk {
    /// Reads a root entry and caches the pointer in it.
    ToCache {
        /// The root entry.
        index: usize,
    },
    /// Reads the leaf of a page into the TLB.
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

impl Act {
    /// Returns the CPU it happens on.
    #[must_use]
    pub const fn cpu(self) -> CpuId {
        match self {
            Act::Step { cpu, .. } | Act::Interrupt { cpu } | Act::Walk { cpu, .. } => cpu,
        }
    }
}
