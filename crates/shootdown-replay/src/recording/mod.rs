//! Reading recordings: the text form, its events, and what can be wrong with a file.

pub(crate) mod error;
pub(crate) mod event;
mod fields;
mod input;
mod known_tasks;
mod lines;
mod parse;
pub(crate) mod reader;
pub(crate) mod syscall;
