//! Playing: recorded events as operations of simulated processes on simulated CPUs.

mod calls;
mod faults;
mod place;
pub(crate) mod placement;
pub(crate) mod profile;
pub(crate) mod simulation;
