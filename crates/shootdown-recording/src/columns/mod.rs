//! The compact form: a column for each part of the events, compressed.

mod bytes;
mod clock;
mod layout;
mod predict;
mod read;
mod step;
mod totals;
mod varint;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use layout::FIRST_LINE;
pub(crate) use read::Columns;
pub use write::ColumnWriter;
