//! Replays recorded workloads on simulated machines and accounts for their TLB flushes, beside the kernel's own counts.
//!
//! [`replay`] plays a [`Recording`] through `shootdown-mm` address spaces on the sequential machine of `shootdown-sim` and
//! returns a [`Report`].
//!
//! [`Recording`]: shootdown_recording::Recording
//!
//! A [`Recording`] streams the events of a recorded workload: syscalls, page faults,
//! context switches, and the kernel's own flushes as the truth to compare with. A [`CauseTracker`] says which
//! syscall, exit or fault an event belongs to, and a [`RecordedCounter`] adds up what the kernel did, by [`Cause`].
//!
//! ```no_run
//! use shootdown_recording::Recording;
//! use shootdown_replay::{CauseTracker, RecordedCounter};
//!
//! # fn main() -> Result<(), shootdown_recording::ReadError> {
//! let mut tracker = CauseTracker::default();
//! let mut counter = RecordedCounter::default();
//! for event in Recording::open("recordings/gcc.tlbt.zst")? {
//!     let event = event?;
//!     let cause = tracker.observe(&event);
//!     counter.observe(&event, cause);
//! }
//! println!("{} flushes", counter.counts().flushes.total());
//! # Ok(())
//! # }
//! ```
//!

mod account;
mod process;
mod replay;

pub use account::{
    by_cause::ByCause,
    cause::Cause,
    cause_tracker::CauseTracker,
    compared::Compared,
    cost::{CostError, CostModel, CostPart, CostProblem, CostReport, Price},
    dma::DeviceReport,
    offenders::{Grouping, Offender},
    report::{Report, SCHEMA, Violation},
    residual::Residual,
    timeline::{CpuTimeline, Timeline},
    truth::{RecordedCounter, RecordedCounts},
};
pub use process::{device::Device, hardware::Hardware, placement::Placement, profile::Profile};
pub use replay::{Options, ReplayError, replay};
