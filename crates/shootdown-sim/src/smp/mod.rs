//! The SMP machine as plain data: memory, CPUs with TLBs and walk caches, interrupts, speculative walks.
//!
//! [`Hardware`] is a value: it can be cloned, compared and hashed. Whoever drives it asks [`Hardware::enabled`] what
//! can happen next, picks one [`Act`], and applies it with [`Hardware::step`], [`Hardware::interrupt`],
//! [`Hardware::tick`] or [`Hardware::happen`]. Each either has its effect or names the [`Violation`] that it would be.
//! Nothing here knows the protocol: what the library's words mean is the library's business.
//!
//! The geometry is that of [`Tiny`]: two levels of two entries. What differs between architectures is in [`Config`].
//! `tests/litmus` holds the machine to what manuals and published models allow and forbid.
//!
//! **Memory.** Loads are performed in program order. Stores reach memory at once, in order, or in order for each place
//! ([`MemoryModel`]); words and entries alike. Changes in one step are at once, or those of words late ([`Config`]). Owned words, user data and the ghosts' accounts are not buffered.
//!
//! **Translations.** Each CPU has one TLB entry of each size for each page and one cached table pointer for each root
//! entry. A leaf of the root is large: it maps its two pages to two frames that follow each other.
//! While a root is loaded its walker may at any time read an entry of the root into the walk cache, and read a leaf
//! into the TLB, through the cached pointer or from the root; so a walk may be cut in half at any place, and a lazy CPU
//! walks too. Where the machine remembers it, the TLB entry of a page may also say that a walk has found nothing there.
//! Each of these is something that happens, or the machine keeps account of all that may have happened
//! ([`TlbModel`]). A store through a clean entry sets the dirty bit in memory, or faults.
//!
//! **Interrupts.** Kicks stay pending until they are taken, and merge. A timer may tick whenever interrupts are open.
//!
//! **What is not modelled.** Loads that overtake loads. Global entries. That nothing is at a page is remembered for each
//! page by itself, and any invalidation of the page drops it, also where the walk ended at the root: on RISC-V, what is known
//! of an entry that becomes a pointer may outlive an `SFENCE.VMA` of one address. An invalidation of a CPU's own TLB takes
//! effect at once, and not later; one that is broadcast at once or when the CPU that has begun it completes, on all CPUs
//! at the same time.

mod access;
mod act;
mod broadcast;
mod config;
mod cpu;
mod frame;
mod ghost;
mod hardware;
mod operation;
mod pack;
mod store_buffer;
mod tlb;
mod violation;
mod walk;
mod words;

pub use act::{Act, Evicted, Walk, WalkFrom};
pub use config::{Config, MemoryModel, TlbModel};
pub use cpu::Cpu;
pub use hardware::Hardware;
pub use operation::{Access, Location, Operation, WordId};
pub use pack::{read_number, write_number};
pub use tlb::{Standing, Translation};
pub use violation::Violation;

use shootdown::{EntryFormat, arch::tiny::Tiny};

/// CPUs there is room for.
pub const MAX_CPUS: usize = 8;

/// Frames of memory. An entry of the tiny format could name one more, so that there is a translation to no frame.
pub const FRAMES: usize = 7;

/// Entries in a table.
pub const ENTRIES: usize = Tiny::ENTRIES;

/// Pages that a root translates.
pub const PAGES: usize = ENTRIES * ENTRIES;

/// Stores, and barriers between them, that one CPU can have on their way to memory. A CPU that has no room waits.
pub const MAX_STORES: usize = 4;

/// Address-space tags of each CPU.
pub const TAGS: usize = 3;

/// Interrupts that can be on top of each other on one CPU. With so many it takes no more.
pub const MAX_DEPTH: usize = 2;
