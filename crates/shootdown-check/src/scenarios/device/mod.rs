//! Devices and guests that keep translations, or copies of them, of tables that CPUs change (P2 of the law).
//!
//! A device is a CPU that takes no part: it has a root loaded, a TLB and a walker, and performs what is in its queue, one command
//! after the other, while it reads and writes memory on its own.

pub(super) mod attach;
pub(super) mod dma;
pub(super) mod domain;
pub(super) mod guest;
pub(super) mod queue;
mod script;
pub(super) mod unmap;
