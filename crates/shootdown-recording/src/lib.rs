//! Recorded workloads: what each CPU and task of a machine did that concerns its TLBs, whichever tool saw it.
//!
//! A [`Recording`] streams the [`Event`]s of a file: syscalls, page faults, context switches, and the kernel's own flushes
//! as the truth to compare with.
//!
//! ```no_run
//! use shootdown_recording::{EventKind, Recording};
//!
//! # fn main() -> Result<(), shootdown_recording::ReadError> {
//! let mut n_faults = 0;
//! for event in Recording::open("recordings/gcc.tlbt.zst")? {
//!     n_faults += u64::from(matches!(event?.kind, EventKind::Fault { .. }));
//! }
//! println!("{n_faults} page faults");
//! # Ok(())
//! # }
//! ```
//!
//! Reading never trusts its input: every malformed byte is a [`ReadError`] that names the file, the place in it and what was
//! expected there.

mod columns;
mod error;
mod event;
mod header;
mod import;
mod input;
mod known_tasks;
mod lines;
mod reader;
mod source;
mod syscall;
mod text;

pub use columns::ColumnWriter;
pub use error::{At, Place, Problem, ReadError};
pub use event::{
    Actor, CallFunction, Event, EventKind, FaultAccess, FlushReason, Mode, PreviousState, RecordedCpu, TaskId,
};
pub use header::{Detail, Header};
pub use import::{Interpretation, Root, Tracepoint};
pub use reader::Recording;
pub use syscall::Syscall;
pub use text::TextWriter;
