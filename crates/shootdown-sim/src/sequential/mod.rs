//! A machine on which one CPU acts at a time. While it waits, the machine runs the handlers of the others.
//!
//! Built for replaying recordings: words are plain memory, page tables are frames of real entries of an [`Architecture`],
//! data frames have no contents. Beside it runs an oracle, [`StaleAccess`], which remembers what each CPU's TLB *may* still hold and
//! compares that with memory at every point where the difference would be a bug.

mod architecture;
mod arena;
mod device;
mod entries;
mod frames;
mod machine;
mod remembered;

pub use architecture::Architecture;
pub use device::{Dma, IOMMU, OTHER_LISTENER, Told};
pub use frames::HUGE_LEVEL;
pub use machine::{EndOfWalks, Heard, MAX_CPUS, Masks, Sequential, SequentialWord};
pub use remembered::{Holder, StaleAccess, StaleKind, Writer};
