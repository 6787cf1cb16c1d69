//! Page tables: the pages they are made of, finding and placing translations in them.
//!
//! `descriptor` owns the life of a table page, `custody` its end, and `sharers` counts who else has it; `tables` finds and maps
//! under the page-table lock; `leaves` goes through a range. Taking translations *out* is not here but in
//! [`gather`](crate::gather), since what comes out is still in somebody's TLB.

mod custody;
mod descriptor;
mod leaves;
mod sharers;
mod tables;

pub use custody::QuiescentTable;
pub(crate) use custody::UnlinkedTable;
pub use descriptor::{Descriptor, reserve};
pub use leaves::Leaves;
pub(crate) use leaves::Stretch;
pub use tables::{Leaf, MapError, MapErrorKind, Tables, TablesGuard};
