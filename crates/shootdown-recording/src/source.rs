//! Where the events of a recording come from.

use crate::{
    error::{At, Problem},
    event::Event,
};

/// A file of some form, as the events it holds.
pub(crate) trait Source: Send {
    /// Returns the next event, or `None` at the end. It is not called again after an error.
    fn next_event(&mut self) -> Result<Option<Event>, Problem>;

    /// Where the reader has come to.
    fn at(&self) -> At;

    /// How many bytes of the file, before decompression, have been used up.
    fn position_bytes(&self) -> u64;
}
