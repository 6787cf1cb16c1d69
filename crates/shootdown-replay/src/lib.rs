//! Reads recorded workloads and accounts for the TLB flushes the kernel did in them.
//!
//! A [`Recording`] streams the [`Event`]s of a `.tlbt` file (plain or zstd-compressed): syscalls, page faults,
//! context switches, and the kernel's own flushes as the truth to compare with. A [`CauseTracker`] says which
//! syscall, exit or fault an event belongs to, and a [`RecordedCounter`] adds up what the kernel did, by [`Cause`].
//!
//! ```no_run
//! use shootdown_replay::{CauseTracker, RecordedCounter, Recording};
//!
//! # fn main() -> Result<(), shootdown_replay::ReadError> {
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
//! Reading never trusts its input: every malformed byte is a [`ReadError`] that names the file, the line and what was
//! expected there.

mod by_cause;
mod calls;
mod cause;
mod cause_tracker;
mod error;
mod event;
mod faults;
mod fields;
mod input;
mod known_tasks;
mod lines;
mod parse;
mod placement;
mod profile;
mod recording;
mod replay;
mod report;
mod simulation;
mod syscall;
mod truth;

pub use by_cause::ByCause;
pub use cause::Cause;
pub use cause_tracker::CauseTracker;
pub use error::{Place, Problem, ReadError};
pub use event::{
    Actor, CallFunction, Event, EventKind, FaultAccess, FlushReason, Mode, PreviousState, RecordedCpu, TaskId,
};
pub use placement::Placement;
pub use profile::Profile;
pub use recording::Recording;
pub use replay::{Options, ReplayError, replay};
pub use report::{Compared, Report, SCHEMA, Violation};
pub use syscall::Syscall;
pub use truth::{RecordedCounter, RecordedCounts};
