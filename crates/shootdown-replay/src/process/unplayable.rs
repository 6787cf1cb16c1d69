//! Why an event cannot be played.

use shootdown_mm::OutOfMemory;

use crate::process::regions::NoRoom;

/// What a machine lacks for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unplayable {
    /// Frames.
    OutOfMemory,
    /// Room for this recorded address.
    NoRoom { address: u64 },
}

impl From<OutOfMemory> for Unplayable {
    fn from(_: OutOfMemory) -> Self {
        Unplayable::OutOfMemory
    }
}

impl From<NoRoom> for Unplayable {
    fn from(NoRoom { address }: NoRoom) -> Self {
        Unplayable::NoRoom { address }
    }
}
