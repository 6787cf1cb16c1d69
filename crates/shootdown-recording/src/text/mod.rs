//! The form for people: one event a line.

mod fields;
mod parse;
mod read;
mod write;

pub(crate) use fields::digits;
pub(crate) use parse::task;
pub(crate) use read::{FIRST_LINE, Text};
pub use write::TextWriter;
