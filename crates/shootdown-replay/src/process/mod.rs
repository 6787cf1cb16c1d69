//! Playing: recorded events as operations of simulated processes on simulated CPUs.

mod calls;
pub(crate) mod device;
mod faults;
pub(crate) mod hardware;
mod place;
pub(crate) mod placement;
pub(crate) mod profile;
mod regions;
pub(crate) mod simulation;
mod touch;
pub(crate) mod unplayable;
