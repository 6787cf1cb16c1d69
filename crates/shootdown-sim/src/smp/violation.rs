//! What must never happen.

use std::fmt;

use shootdown::{CpuId, Pfn, Vpn};

/// Something the machine did that breaks the law of unhook → flush → free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A data frame was given back while a CPU that runs user code still had a translation to it.
    StaleAtFree {
        /// The CPU.
        cpu: CpuId,
        /// The page translated.
        page: Vpn,
        /// The frame.
        frame: Pfn,
    },
    /// User code went on, or touched the page, with a translation to a frame that was given back.
    StaleInUse {
        /// The CPU.
        cpu: CpuId,
        /// The page translated.
        page: Vpn,
        /// The frame.
        frame: Pfn,
    },
    /// An operation returned while a CPU that runs user code, or its walker, could still reach a page in a way that
    /// the operation had taken away.
    StaleAfterReturn {
        /// The CPU.
        cpu: CpuId,
        /// The page translated.
        page: Vpn,
    },
    /// User code went on, or touched the page, with a translation that an operation had promised to be gone.
    RevokedInUse {
        /// The CPU.
        cpu: CpuId,
        /// The page translated.
        page: Vpn,
    },
    /// A CPU loaded an address space under a tag that has translations of another one.
    ForeignTag {
        /// The CPU.
        cpu: CpuId,
        /// The root that it loaded.
        root: Pfn,
    },
    /// A table was given back while a CPU's root or walk cache still pointed at it.
    WalkerInFreedTable {
        /// The CPU.
        cpu: CpuId,
        /// The table.
        table: Pfn,
    },
    /// A walker read a frame that is no table.
    WalkedNoTable {
        /// The CPU.
        cpu: CpuId,
        /// The frame.
        frame: Pfn,
    },
    /// A walker found a translation to a frame that is not a data frame, or a large one that begins at an odd frame.
    MappedNoData {
        /// The CPU.
        cpu: CpuId,
        /// The page translated.
        page: Vpn,
        /// The frame.
        frame: Pfn,
    },
    /// A TLB took in a translation while it had one of another size for the same page, on a machine where that is an error.
    TwoSizes {
        /// The CPU.
        cpu: CpuId,
        /// The page translated.
        page: Vpn,
    },
    /// Code went to an entry of a frame that is no table, or a store to it came late.
    EntryOfNoTable {
        /// The CPU.
        cpu: CpuId,
        /// The frame.
        frame: Pfn,
    },
    /// User code has stored in a frame, and nobody who could write it back will ever know.
    LostStore {
        /// The frame.
        frame: Pfn,
    },
    /// At the end, nothing leads to a frame that was mapped, and it was not given back.
    Leaked {
        /// The frame.
        frame: Pfn,
    },
    /// A frame was given back that is free.
    DoubleFree {
        /// The frame.
        frame: Pfn,
    },
    /// A table was given back as data, data as a table, or one frame after another that are no pair as a large one.
    WrongFree {
        /// The frame.
        frame: Pfn,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::StaleAtFree { cpu, page, frame } => {
                write!(f, "frame {} is freed while CPU {} still translates page {} to it", frame.0, cpu.0, page.0)
            }
            Violation::StaleInUse { cpu, page, frame } => {
                write!(f, "CPU {} uses a stale translation of page {} to frame {}", cpu.0, page.0, frame.0)
            }
            Violation::StaleAfterReturn { cpu, page } => {
                write!(
                    f,
                    "an operation has returned while CPU {} can still use page {} as it was before",
                    cpu.0, page.0
                )
            }
            Violation::RevokedInUse { cpu, page } => {
                write!(f, "CPU {} uses a translation of page {} that was promised to be gone", cpu.0, page.0)
            }
            Violation::ForeignTag { cpu, root } => {
                write!(
                    f,
                    "CPU {} loads root {} under a tag that has another address space's translations",
                    cpu.0, root.0
                )
            }
            Violation::WalkerInFreedTable { cpu, table } => {
                write!(f, "table {} is freed and the walker of CPU {} still points at it", table.0, cpu.0)
            }
            Violation::WalkedNoTable { cpu, frame } => {
                write!(f, "the walker of CPU {} reads frame {}, which is no table", cpu.0, frame.0)
            }
            Violation::MappedNoData { cpu, page, frame } => {
                write!(f, "CPU {} finds page {} mapped to frame {}, which holds no data", cpu.0, page.0, frame.0)
            }
            Violation::TwoSizes { cpu, page } => {
                write!(f, "CPU {} has translations of two sizes for page {}", cpu.0, page.0)
            }
            Violation::EntryOfNoTable { cpu, frame } => {
                write!(f, "CPU {} goes to an entry of frame {}, which is no table", cpu.0, frame.0)
            }
            Violation::LostStore { frame } => {
                write!(f, "what user code stored in frame {} is lost: nobody knows that it is dirty", frame.0)
            }
            Violation::Leaked { frame } => {
                write!(f, "frame {} is leaked: nothing leads to it and it was not freed", frame.0)
            }
            Violation::DoubleFree { frame } => write!(f, "frame {} is freed twice", frame.0),
            Violation::WrongFree { frame } => write!(f, "frame {} is freed as what it is not", frame.0),
        }
    }
}

impl std::error::Error for Violation {}
