//! Page tables: the pages they are made of, finding and placing translations in them.
//!
//! `descriptor` owns the life of a table page; `tables` walks and maps under the page-table lock. Taking translations
//! *out* is not here but in [`gather`](crate::gather), since what comes out is still in somebody's TLB.

mod descriptor;
mod tables;

pub(crate) use descriptor::destroy;
pub use descriptor::{Descriptor, reserve};
pub use tables::{Leaf, MapError, MapErrorKind, Tables, TablesGuard};
