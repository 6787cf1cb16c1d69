//! A machine on which one CPU acts at a time. While it waits, the machine runs the handlers of the others.
//!
//! Built for replaying recordings: words are plain memory, page tables are frames of 512 real x86-64 entries, data frames
//! have no contents. Beside it runs an oracle, [`StaleAccess`], which remembers what each CPU's TLB *may* still hold and
//! compares that with memory at every point where the difference would be a bug.

mod arena;
mod frames;
mod machine;
mod remembered;

pub use frames::HUGE_LEVEL;
pub use machine::{Masks, Sequential, SequentialWord};
pub use remembered::{StaleAccess, StaleKind};
