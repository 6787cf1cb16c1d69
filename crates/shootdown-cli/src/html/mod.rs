//! Reports as one page that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! [`PageFile`] is the file. Every other module here lays out one kind of thing; what the numbers are is `rows.rs`'s.

mod causes;
mod comparison;
mod cost;
mod file;
mod offenders;
mod page;
mod residual;
mod stale;
mod table;
mod timeline;

use shootdown_replay::Grouping;

pub(crate) use file::PageFile;

/// Whom the page names with what they cause.
pub(crate) const OFFENDERS: [Grouping; 3] = [Grouping::Process, Grouping::Call, Grouping::Range];
