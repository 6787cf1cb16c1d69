//! Holds the SMP machine to what manuals and published models allow and forbid.
//!
//! What a scenario proves of the library it proves on this machine, so these tests are what it all stands on. Each runs
//! a program of a few operations in every way and looks at what it can come to. `memory` is about loads and stores,
//! `translation` about walkers and TLBs, `large` about leaves of two sizes, `absent` about pages that are remembered to be
//! absent, `broadcast` about invalidations for all CPUs, `freeing` about what the machine calls a violation.
//!
//! Section numbers of the SDM (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A) are those of
//! revision 75.

mod absent;
mod broadcast;
mod explorer;
mod freeing;
mod large;
mod memory;
mod translation;
