//! Machines whose hardware makes every CPU forget translations, without an interrupt.

pub(super) mod exit;
pub(super) mod kernel_flush;
pub(super) mod reclaim;
mod script;
pub(super) mod switching;
pub(super) mod unmap;
