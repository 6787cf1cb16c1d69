//! The SMP machine as plain data: memory, CPUs with TLBs and walk caches, interrupts, speculative walks.
//!
//! [`Hardware`] is a value: it can be cloned, compared and hashed. Whoever drives it asks [`Hardware::enabled`] what
//! can happen next, picks one [`Act`], and applies it with [`Hardware::step`], [`Hardware::interrupt`] or
//! [`Hardware::speculate`]. Each either has its effect or names the [`Violation`] that it would be. Nothing here knows
//! the protocol: what the library's words mean is the library's business.
//!
//! The geometry is that of [`Tiny`]: two levels of two entries.
//!
//! **What is modelled.** Each CPU has one TLB entry for each page and one cached table pointer for each root entry.
//! While a root is loaded its walker may at any time read an entry of the root into the walk cache, and read a leaf
//! into the TLB, through the cached pointer or from the root; so a walk may be cut in half at any place, and a lazy CPU
//! walks too. Kicks stay pending until they are taken, and merge.
//!
//! **What is not.** Memory is sequentially consistent, and the orders of memory operations are not looked at. TLBs have
//! no tags and no global entries. Permissions and dirty bits are stored but not acted on. Entries that are not present
//! are not cached.

mod act;
mod cpu;
mod frame;
mod hardware;
mod operation;
mod violation;
mod walk;

pub use act::{Act, Walk, WalkFrom};
pub use cpu::{Cpu, Translation};
pub use hardware::{Config, Hardware};
pub use operation::{Location, Operation, WordId};
pub use violation::Violation;

use shootdown::{EntryFormat, arch::tiny::Tiny};

/// CPUs there is room for.
pub const MAX_CPUS: usize = 3;

/// Frames of memory. An entry of the tiny format could name 16; fewer make smaller states.
pub const FRAMES: usize = 8;

/// Entries in a table.
pub const ENTRIES: usize = Tiny::ENTRIES;

/// Pages that a root translates.
pub const PAGES: usize = ENTRIES * ENTRIES;

/// Interrupts that can be on top of each other on one CPU.
pub const MAX_DEPTH: usize = 2;
