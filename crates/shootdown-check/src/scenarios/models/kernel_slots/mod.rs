//! Models of how kernels make every root reach the kernel's pages: each root has a copy of the entries of an init root, so an
//! entry that is filled later must come to all of them, and before somebody uses an address under it there.
//!
//! Each way fails where its file says so. What needs none of them has every slot filled before the first copy, and removes
//! none.

pub(super) mod counter;
pub(super) mod error_path;
pub(super) mod fault;
pub(super) mod removal;
mod script;
pub(super) mod walk;
