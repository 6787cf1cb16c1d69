//! Frames of memory, as far as translations care.

use std::hash::{Hash, Hasher};

use super::ENTRIES;

/// What a frame is in use as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is in use as.
    pub(super) kind: FrameKind,
    /// Its entries, if it is a table.
    pub(super) entries: [u8; ENTRIES],
    /// Ghost: some entry has led here since it was taken.
    pub(super) was_mapped: bool,
    /// Ghost: user code has stored here since it was last written back.
    pub(super) is_written: bool,
    /// Ghost: its owner knows that it must be written back.
    pub(super) is_noted_dirty: bool,
}

impl Hash for Frame {
    /// One word: every state is hashed.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        const { assert!(ENTRIES <= 4) };
        let Frame { kind, entries, was_mapped, is_written, is_noted_dirty } = self;
        let entries = entries.iter().fold(0, |bits, entry| bits << 8 | u64::from(*entry));
        let ghosts = [was_mapped, is_written, is_noted_dirty].into_iter();
        let ghosts = ghosts.fold(0, |bits, ghost| bits << 1 | u64::from(*ghost));
        hasher.write_u64(entries << 8 | ghosts << 2 | *kind as u64);
    }
}
