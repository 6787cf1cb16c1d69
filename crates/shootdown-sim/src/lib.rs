//! Simulated machines that run the shootdown library.
//!
//! [`sequential`] is a machine on which one CPU acts at a time, for replaying recordings. [`smp`] is plain data and a pure
//! step function, for exploring interleavings. Neither holds a second implementation of any protocol.

pub mod sequential;
pub mod smp;
