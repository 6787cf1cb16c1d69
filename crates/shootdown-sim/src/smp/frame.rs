//! Frames of memory, as far as translations care.

use super::ENTRIES;

/// What a frame is in use as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum FrameKind {
    /// Nothing.
    #[default]
    Free,
    /// A page of user data.
    Data,
    /// A page-table page.
    Table,
}

/// One frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    /// What it is in use as.
    pub(super) kind: FrameKind,
    /// Its entries, if it is a table.
    pub(super) entries: [u8; ENTRIES],
}
