//! Correct and fast TLB coherence for any kernel.
//!
//! When a CPU removes a mapping, other CPUs may go on using it until their TLBs forget it. A kernel must not reuse the
//! page, the page table or the address until none can. This crate is that step, for kernels, hypervisors and
//! unikernels: **unhook → flush → free**, in this order and on every path.
//!
//! A kernel implements one trait, [`Machine`], and gets:
//!
//! * [`Space`]: an address space with its page tables, residency mask and generation; [`Space::switch_to`],
//!   [`residency::enter_lazy`] and [`Space::flush`];
//! * [`Gather`]: batched unmap that keeps custody of frames until their flush is complete;
//! * [`call`]: cross-CPU calls that cannot deadlock each other, and the one way to wait;
//! * page tables over an [`EntryFormat`]: [`TablesGuard`], [`Leaf`], [`Descriptor`];
//! * [`walk`]: finding and pinning pages without a lock, and how others see that ended;
//! * [`kspace`]: what every address space has of the kernel, and addresses that are not used again too early;
//! * [`share`]: page tables that several address spaces have at once.
//!
//! The crate has no allocator, no statics, no atomics of its own and no clock. All state that CPUs share lives in machine
//! words reached through the trait, which is what lets an explorer run this very code through every interleaving.
#![no_std]
#![deny(unsafe_code)]

mod addr;
pub mod arch;
pub mod call;
mod counters;
mod cpu;
mod fix;
mod flush;
mod format;
mod frame;
pub mod gather;
mod invalidations;
pub mod kspace;
pub mod lock;
mod machine;
mod mutex;
pub mod notify;
pub mod page;
pub mod policy;
pub mod reclaim;
pub mod residency;
mod retire;
pub mod share;
mod stale;
pub mod table;
pub mod tag;
pub mod walk;
mod word;

pub use addr::{EntryAt, Level, Pfn, PhysAddr, SpaceId, TableFrame, VirtAddr, Vpn, VpnRange};
pub use counters::Counter;
pub use cpu::{CpuGeometry, CpuId, CpuSet, UpTo, ZeroedWords};
pub use fix::Fix;
pub use flush::flush_kernel;
pub use format::{Attributes, Entry, EntryFormat};
pub use frame::{Frame, FrameRun, FrameSink, NoFrame};
pub use gather::{Gather, Rmap, Unhooked, WhenLooser};
pub use machine::{At, Invalidate, Machine, Masked, Modify, Small, Strength};
pub use mutex::{Mutex, MutexGuard, OneMemory};
pub use page::{Frames, PageState};
pub use policy::{DefaultPolicy, Policy, TableCustody};
pub use reclaim::Reclaim;
pub use residency::{Departure, PerCpu, Space};
pub use retire::{InUse, Retired};
pub use stale::{Hint, LevelSet, Stale};
pub use table::{Descriptor, Leaf, Leaves, MapError, MapErrorKind, TablesGuard};
pub use tag::{Tag, Tagging};
pub use word::{Own, Shared, Word};
