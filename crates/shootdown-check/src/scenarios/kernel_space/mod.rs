//! Kernel space: mappings that every root reaches, and addresses that are used again (R-VM1, R-VM4, M34, M35).
//!
//! No CPU runs user code here: what it remembers of an address that nobody uses does no harm until somebody does.

pub(super) mod block;
pub(super) mod grow;
pub(super) mod large;
pub(super) mod map;
pub(super) mod reuse;
pub(super) mod script;
