//! Models of how kernels use a kernel address again: an unmap flushes nothing, since nobody goes to an address that he has
//! given back, and whoever is given it next must not find there what was before.
//!
//! So an address waits until all CPUs have forgotten it, and whatever says that they have must be true of each address.

pub(super) mod block;
pub(super) mod purge;
pub(super) mod reuse;
mod script;
