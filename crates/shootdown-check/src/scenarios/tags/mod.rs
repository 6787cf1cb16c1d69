//! Address-space tags: what a CPU remembers of address spaces that are not loaded.

pub(super) mod arriving;
pub(super) mod kernel_flush;
pub(super) mod returning;
pub(super) mod roll_over;
mod script;
