//! Why a call fails, by Linux's numbers.

use shootdown_mm::{FaultError, OutOfMemory};

/// What a program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i64);

impl Errno {
    pub(crate) const NO_ENTRY: Errno = Errno(2);
    pub(crate) const BAD_FILE: Errno = Errno(9);
    pub(crate) const NO_CHILD: Errno = Errno(10);
    pub(crate) const AGAIN: Errno = Errno(11);
    pub(crate) const NO_MEMORY: Errno = Errno(12);
    pub(crate) const FAULT: Errno = Errno(14);
    pub(crate) const INVALID: Errno = Errno(22);
    pub(crate) const NO_CALL: Errno = Errno(38);
}

impl From<OutOfMemory> for Errno {
    fn from(_: OutOfMemory) -> Errno {
        Errno::NO_MEMORY
    }
}

impl From<FaultError> for Errno {
    fn from(error: FaultError) -> Errno {
        match error {
            FaultError::OutOfMemory => Errno::NO_MEMORY,
            _ => Errno::FAULT,
        }
    }
}
