//! Counting: which cause an event belongs to, what the kernel did by its own account, and the report of both sides.

pub(crate) mod by_cause;
pub(crate) mod cause;
pub(crate) mod cause_tracker;
pub(crate) mod compared;
pub(crate) mod cost;
pub(crate) mod cpu_time;
pub(crate) mod dma;
pub(crate) mod offenders;
pub(crate) mod report;
pub(crate) mod residual;
pub(crate) mod timeline;
pub(crate) mod truth;
