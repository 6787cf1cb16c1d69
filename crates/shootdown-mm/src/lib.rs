//! Address spaces on top of [`shootdown`]: mappings, faults, copy-on-write, fork and exit.
//!
//! An [`AddressSpace`] knows what *should* be mapped; the page tables, through the core library, are the only place that
//! says what *is*. No operation here decides when a frame may be reused or which CPU must hear of a change: that is the
//! core's, and nothing of it is repeated.
//!
//! A [`Memory`] is what the address spaces of a kernel share: objects and their pages, the [`Storage`] they come from and go
//! to, and the reverse map, which says who maps them. A page that can be stored to is marked dirty, so a store to a clean one
//! must fault: a shared page of an object is mapped read-only until its first store.
//!
//! Contents are the kernel's: nothing here zeroes a frame or copies one.
//!
//! Lock order: the layout of an address space (a parent's before its child's), the storage, the reverse map, page tables (a
//! parent's before its child's), the pages of objects. Kernel mappings have nothing to do with these: their ranges, then the
//! kernel's page tables.
#![no_std]

extern crate alloc;

mod address_space;
mod age;
mod areas;
mod fault;
mod fork;
mod habits;
mod hole;
mod kernel_mappings;
mod memory;
mod protect;
mod reclaim;
mod remap;
mod share;
mod storage;
mod unmap;
mod vma;
mod write_back;

pub use address_space::{AddressSpace, Program};
pub use age::Contents;
pub use fault::{FaultError, Resolution};
pub use habits::{Exit, Habits, LargeTables, LastSharer};
pub use hole::HoleError;
pub use kernel_mappings::{KernelMappingError, KernelMappings};
pub use memory::Memory;
pub use remap::Keep;
pub use storage::{NoStorage, ObjectId, ObjectPage, Storage, StorageError};
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
