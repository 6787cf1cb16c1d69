//! Entry formats of the architectures. No instruction is named here: these are data, tested on any host.

pub mod alpha;
pub mod tiny;
pub mod x86_64;
