//! Address spaces on top of [`shootdown`]: mappings, faults, copy-on-write, fork and exit.
//!
//! An [`AddressSpace`] knows what *should* be mapped; the page tables, through the core library, are the only place that
//! says what *is*. No operation here decides when a frame may be reused or which CPU must hear of a change: that is the
//! core's, and nothing of it is repeated.
//!
//! Lock order: the layout of an address space (a parent's before its child's), then page tables (likewise), then the
//! objects in [`Memory`].
#![no_std]

extern crate alloc;

mod address_space;
mod age;
mod fault;
mod fork;
mod habits;
mod memory;
mod protect;
mod remap;
mod sync;
mod unmap;
mod vma;

pub use address_space::{AddressSpace, Program};
pub use age::Contents;
pub use fault::{FaultError, Resolution};
pub use habits::{Exit, Habits, LastSharer};
pub use memory::{Memory, ObjectId};
pub use remap::Keep;
pub use vma::{Access, Backing, PageSize, Protection, Sharing, Vma};

/// There was not enough memory; what was asked for is undone or partly done as the operation says, and nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for OutOfMemory {}

impl From<shootdown::NoFrame> for OutOfMemory {
    fn from(_: shootdown::NoFrame) -> Self {
        OutOfMemory
    }
}
